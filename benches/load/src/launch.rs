//! Starting programs that must not outlive this one.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::{convert::Infallible, env};

use clap::Args;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::{Pid, getppid};

use crate::{Result, clock};

/// The command line of `__exec`.
#[derive(Args)]
pub(crate) struct Launch {
    /// The only CPU to run on.
    #[arg(long)]
    cpu: Option<usize>,
    /// Who asked for it.
    #[arg(long)]
    parent: i32,
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

/// Marks the line that says when a program was started, for [`exec`] writes it to the stderr of that program.
pub(crate) const EXEC_AT: &str = "exec at ";

/// A command that runs `command` on `cpu` and dies with this process. Start it from the main thread: it dies with the
/// thread, to be exact.
pub(crate) fn command(command: &[OsString], cpu: Option<usize>) -> Result<Command> {
    let mut wrapped = Command::new(env::current_exe()?);
    wrapped.arg("__exec").arg("--parent").arg(std::process::id().to_string());
    if let Some(cpu) = cpu {
        wrapped.arg("--cpu").arg(cpu.to_string());
    }
    wrapped.arg("--").args(command).stdin(Stdio::null());
    Ok(wrapped)
}

/// Becomes the command. What is set here stays: the kernel keeps it through an exec.
#[expect(clippy::print_stderr, reason = "the parent reads when the program was started")]
pub(crate) fn exec(launch: &Launch) -> Result<Infallible> {
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    if getppid().as_raw() != launch.parent {
        return Err("whoever asked for this is gone".into());
    }
    if let Some(cpu) = launch.cpu {
        let mut set = CpuSet::new();
        set.set(cpu)?;
        sched_setaffinity(Pid::from_raw(0), &set)?;
    }
    let [program, arguments @ ..] = &*launch.command else { return Err("no command".into()) };
    let mut command = Command::new(program);
    command.args(arguments);
    eprintln!("{EXEC_AT}{}", clock::monotonic()?.as_nanos());
    Err(format!("cannot run `{}`: {}", program.display(), command.exec()).into())
}

/// The first two CPUs there are to run on: one for the server, one for the client. `None` if there is but one.
pub(crate) fn two_cpus() -> Result<Option<(usize, usize)>> {
    let set = sched_getaffinity(Pid::from_raw(0))?;
    let mut cpus = (0..CpuSet::count()).filter(|cpu| set.is_set(*cpu).unwrap_or(false));
    Ok(cpus.next().zip(cpus.next()))
}

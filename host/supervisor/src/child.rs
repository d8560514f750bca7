//! Starting this program again in one of its other roles.

use core::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use command_fds::{CommandFdExt, FdMapping};
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::channel::SocketChannel;
use crate::descriptors::duplicate_above;
use crate::output::Output;
use crate::process::Process;
use crate::upgrade::{Descriptors, Passed};

/// First argument of a process that is a worker.
pub const WORKER_ROLE: &str = "__worker";

/// First argument of a process that is a builder.
pub const BUILDER_ROLE: &str = "__builder";

/// The variable of ours that children keep: it is for their panics. What a guest sees travels through the channel.
const PANICS: &str = "RUST_BACKTRACE";

/// Every error of wasmtime's would walk the stack where that is set, and a guest can make as many errors as it likes.
const ERRORS: &str = "RUST_LIB_BACKTRACE";

const OWN_EXECUTABLE: &CStr = c"/proc/self/exe";

/// Above every number that a child's descriptors are mapped to: an executable with one of those would be
/// overwritten before it is executed.
const ABOVE_MAPPED: i32 = 16;

/// This very program, also after the file it came from was replaced or deleted.
#[derive(Debug)]
pub(crate) struct Executable(OwnedFd);

/// A process in another role.
#[derive(Debug)]
pub(crate) struct Child<Tx, Rx> {
    pub(crate) process: Process,
    pub(crate) channel: SocketChannel<Tx, Rx>,
    pub(crate) stdout: Output,
    pub(crate) stderr: Output,
}

impl Executable {
    /// Finds ourselves.
    pub(crate) fn open() -> io::Result<Self> {
        let executable = open(OWN_EXECUTABLE, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?;
        Ok(Self(duplicate_above(executable, ABOVE_MAPPED)?))
    }

    /// What somebody else needs to start children of it.
    pub(crate) fn pass(&self, descriptors: &mut Descriptors) -> io::Result<Passed> {
        Ok(descriptors.put(self.0.try_clone()?))
    }

    /// The program that somebody else started children of.
    pub(crate) fn take(passed: Passed, descriptors: &mut Descriptors) -> io::Result<Self> {
        Ok(Self(duplicate_above(descriptors.take(passed)?, ABOVE_MAPPED)?))
    }

    /// Starts a child with `descriptors` at the numbers beside them, a channel at 0, log pipes at 1 and 2, and nothing
    /// else.
    ///
    /// To be called on the main thread: children ask the kernel to die with the thread that forked them.
    pub(crate) fn spawn<Tx: Serialize, Rx: DeserializeOwned>(
        &self,
        role: &'static str,
        descriptors: impl IntoIterator<Item = (OwnedFd, i32)>,
    ) -> io::Result<Child<Tx, Rx>> {
        let (channel, theirs) = SocketChannel::pair()?;
        let mut command = Command::new(format!("/proc/self/fd/{}", self.0.as_raw_fd()));
        command
            .arg0("wasmcluster")
            .arg(role)
            .env_clear()
            .envs(std::env::var_os(PANICS).map(|value| (PANICS, value)))
            .env(ERRORS, "0")
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A terminal's Ctrl-C goes to the whole group: only the supervisor should hear it.
            .process_group(0);
        let mappings = descriptors.into_iter().map(|(parent_fd, child_fd)| FdMapping { parent_fd, child_fd });
        command.fd_mappings(mappings.collect()).map_err(io::Error::other)?;
        let (process, started) = Process::start(&mut command)?;
        let missing = || io::Error::other("the child has no such stream");
        let stdout = Output::new(started.stdout.ok_or_else(missing)?.into())?;
        let stderr = Output::new(started.stderr.ok_or_else(missing)?.into())?;
        Ok(Child { process, channel, stdout, stderr })
    }
}

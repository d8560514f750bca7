//! One child process: its end is waited for once, and until then its pid is its own.
//!
//! A child is known by its pid alone, so that it makes no difference whether this program started it or the one that was
//! here before an upgrade: both are its parent.

use std::io;
use std::process::{Child as Started, Command};

use nix::errno::Errno;
use nix::sys::signal::{Signal as NixSignal, kill};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::Pid;
use tokio::runtime::Handle;
use tokio::signal::unix::{Signal, SignalKind, signal};
use wasmcluster_core::cluster::Exit;

/// A child that was not yet reaped, or was by us. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Process {
    pid: Pid,
    /// None once it was reaped, or is somebody else's to reap.
    unreaped: Option<Unreaped>,
}

#[derive(Debug)]
struct Unreaped {
    pid: Pid,
    /// Tells that some child has ended.
    ended: Signal,
}

impl Process {
    /// Starts one. What the standard library keeps of it are its streams.
    pub(crate) fn start(command: &mut Command) -> io::Result<(Self, Started)> {
        let ended = signal(SignalKind::child())?;
        let started = command.spawn()?;
        let pid = pid(started.id())?;
        Ok((Self { pid, unreaped: Some(Unreaped { pid, ended }) }, started))
    }

    /// One that is our child already. Nobody else may wait for it.
    pub(crate) fn inherited(number: u32) -> io::Result<Self> {
        let pid = pid(number)?;
        Ok(Self { pid, unreaped: Some(Unreaped { pid, ended: signal(SignalKind::child())? }) })
    }

    /// One that was our child, and was reaped.
    pub(crate) fn reaped(number: u32) -> io::Result<Self> {
        Ok(Self { pid: pid(number)?, unreaped: None })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid.as_raw().unsigned_abs()
    }

    /// Waits for its end, and reaps it. Cancel safe; to be called until it has returned once.
    pub(crate) async fn wait(&mut self) -> Exit {
        let Some(unreaped) = &mut self.unreaped else { return Exit::Unknown };
        let exit = unreaped.wait().await;
        self.unreaped = None;
        exit
    }

    /// Sends SIGKILL. One that was reaped is left alone: its pid may be somebody else's.
    pub(crate) fn kill(&self) {
        if let Some(unreaped) = &self.unreaped {
            unreaped.kill();
        }
    }

    /// Leaves it to whoever waits for it from here on.
    pub(crate) fn release(mut self) {
        self.unreaped = None;
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let Some(mut unreaped) = self.unreaped.take() else { return };
        unreaped.kill();
        // Without a runtime everything ends, and whoever is our parent reaps what is left.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move { unreaped.wait().await });
        }
    }
}

impl Unreaped {
    async fn wait(&mut self) -> Exit {
        loop {
            if let Some(exit) = reap(self.pid) {
                return exit;
            }
            // We listen since before it was looked at, so an end in between is told.
            if self.ended.recv().await.is_none() {
                return Exit::Unknown;
            }
        }
    }

    fn kill(&self) {
        // A program that is only shown what it may take over is no parent of it. Nobody else can get the pid of a child of
        // ours that was not reaped.
        let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        if waitid(Id::Pid(self.pid), look).is_ok() {
            // It may have ended already, and then nothing is left to do.
            let _ = kill(self.pid, NixSignal::SIGKILL);
        }
    }
}

/// How a child ended; none if it has not.
fn reap(pid: Pid) -> Option<Exit> {
    loop {
        return match waitpid(pid, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(_, code)) => Some(Exit::Code(code)),
            Ok(WaitStatus::Signaled(_, signal, _)) => Some(Exit::Signal(signal as i32)),
            Ok(_) => None,
            Err(Errno::EINTR) => continue,
            // It is no child of ours, or ended by a signal without a name.
            Err(_) => Some(Exit::Unknown),
        };
    }
}

fn pid(number: u32) -> io::Result<Pid> {
    i32::try_from(number).map(Pid::from_raw).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::process::Stdio;

    use super::*;

    fn run<T>(test: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(test)
    }

    fn shell(script: &str) -> Process {
        Process::start(Command::new("/bin/sh").args(["-c", script])).expect("a shell").0
    }

    #[test]
    fn each_end_is_told_as_it_was() {
        run(async {
            let (mut code, mut signal) = (shell("exit 7"), shell("kill -TERM $$"));
            assert_eq!(code.wait().await, Exit::Code(7));
            assert_eq!(signal.wait().await, Exit::Signal(15));
            assert_eq!(code.wait().await, Exit::Unknown, "it was told before");
        });
    }

    #[test]
    fn one_that_waits_is_killed() {
        run(async {
            let mut process = shell("exec sleep 600");
            process.kill();
            assert_eq!(process.wait().await, Exit::Signal(9));
        });
    }

    #[test]
    fn one_that_is_no_child_of_ours_is_left_alone() {
        run(async {
            // Its parent is the shell.
            let mut shell = Command::new("/bin/sh");
            shell.args(["-c", "sleep 600 & echo $!; read line; kill $!"]);
            let shell = shell.stdin(Stdio::piped()).stdout(Stdio::piped());
            let (mut parent, mut streams) = Process::start(shell).expect("a shell");
            let mut line = String::new();
            let mut stdout = BufReader::new(streams.stdout.take().expect("a pipe"));
            stdout.read_line(&mut line).expect("a line");
            let grandchild = line.trim().parse().expect("a pid");
            drop(Process::inherited(grandchild).expect("a signal"));
            assert!(kill(pid(grandchild).expect("a pid"), None).is_ok());
            drop(streams.stdin.take());
            parent.wait().await;
        });
    }

    #[test]
    fn one_that_was_left_to_another_is_reaped_by_that() {
        run(async {
            let first = shell("exit 3");
            let mut second = Process::inherited(first.pid()).expect("a signal");
            first.release();
            assert_eq!(second.wait().await, Exit::Code(3));
        });
    }

    #[test]
    fn one_that_is_dropped_is_killed_and_reaped() {
        run(async {
            let process = shell("exec sleep 600");
            let pid = process.pid;
            drop(process);
            while kill(pid, None).is_ok() {
                tokio::task::yield_now().await;
            }
        });
    }
}

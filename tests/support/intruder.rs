//! Somebody who runs code in a worker: makes it do system calls that its own code does not.

use std::fs::File;
use std::os::unix::fs::FileExt;

use nix::errno::Errno;
use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use syscalls::Sysno;

use super::eventually;

/// What became of a call.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It returned this: an error, if it is negative.
    Returned(i64),
    /// The process was sent this signal for it.
    Ended(Signal),
}

/// In a process that waits for events, until dropped. To be used by one thread.
pub(crate) struct Intruder {
    pid: Pid,
}

/// `syscall`, as the last of the bytes before where a process goes on that waits in one.
const SYSCALL: [u8; 2] = [0x0f, 0x05];

impl Intruder {
    /// Waits until it does nothing.
    pub(crate) fn into(pid: u32) -> Self {
        Self::while_in(Sysno::epoll_wait, pid)
    }

    /// Waits until it is in such a call.
    pub(crate) fn while_in(call: Sysno, pid: u32) -> Self {
        let pid = Pid::from_raw(i32::try_from(pid).unwrap());
        eventually("a worker that waits", || {
            ptrace::attach(pid).expect("may be traced: it descends from this process");
            let intruder = Self { pid };
            let wait = || waitpid(pid, Some(WaitPidFlag::__WALL)).unwrap();
            let mut stopped = wait();
            // One that is about to become the worker tells of that first.
            while stopped == WaitStatus::Stopped(pid, Signal::SIGTRAP) {
                ptrace::cont(pid, None).unwrap();
                stopped = wait();
            }
            assert_eq!(stopped, WaitStatus::Stopped(pid, Signal::SIGSTOP));
            let waits_in = ptrace::getregs(pid).unwrap().orig_rax;
            (waits_in == u64::try_from(call.id()).unwrap()).then_some(intruder)
        })
    }

    /// Has the call that it waits in fail, as no kernel would have it.
    pub(crate) fn fail(self, errno: Errno) {
        let mut after = ptrace::getregs(self.pid).unwrap();
        after.rax = i64::from(-(errno as i32)).cast_unsigned();
        // Or the kernel would restart it.
        after.orig_rax = u64::MAX;
        ptrace::setregs(self.pid, after).unwrap();
    }

    /// Makes one call. `data` is put into the process's memory; an argument of `None` is its address.
    pub(crate) fn call(&self, call: Sysno, data: &[u8], arguments: &[Option<u64>]) -> Outcome {
        let memory = File::options().read(true).write(true).open(format!("/proc/{}/mem", self.pid)).unwrap();
        let before = ptrace::getregs(self.pid).unwrap();
        let instruction = before.rip - 2;
        let mut found = [0; 2];
        memory.read_exact_at(&mut found, instruction).unwrap();
        assert_eq!(found, SYSCALL);
        // Below what the code it interrupts may use of the stack.
        let place = before.rsp - 4096;
        memory.write_all_at(data, place).unwrap();

        let mut arguments = arguments.iter().map(|argument| argument.unwrap_or(place));
        let mut next = || arguments.next().unwrap_or(0);
        let mut during = before;
        (during.rdi, during.rsi, during.rdx) = (next(), next(), next());
        (during.r10, during.r8, during.r9) = (next(), next(), next());
        (during.rip, during.rax) = (instruction, u64::try_from(call.id()).unwrap());
        // Or the kernel would take it for the call that was interrupted, and restart that.
        during.orig_rax = u64::MAX;
        ptrace::setregs(self.pid, during).unwrap();
        ptrace::step(self.pid, None).unwrap();
        match waitpid(self.pid, Some(WaitPidFlag::__WALL)).unwrap() {
            WaitStatus::Stopped(_, Signal::SIGTRAP) => {
                let returned = ptrace::getregs(self.pid).unwrap().rax;
                ptrace::setregs(self.pid, before).unwrap();
                Outcome::Returned(returned.cast_signed())
            }
            WaitStatus::Stopped(_, signal) => {
                // On with it, as without anybody looking; but the step is ours, and so is the signal for it.
                ptrace::cont(self.pid, signal).unwrap();
                if let WaitStatus::Stopped(..) = waitpid(self.pid, Some(WaitPidFlag::__WALL)).unwrap() {
                    ptrace::detach(self.pid, None).unwrap();
                }
                Outcome::Ended(signal)
            }
            other => panic!("{other:?}"),
        }
    }
}

impl Drop for Intruder {
    fn drop(&mut self) {
        // It may be gone.
        let _ = ptrace::detach(self.pid, None);
    }
}

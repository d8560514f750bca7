//! What a worker says of a system call that is not its own, before it ends by it.

#![expect(unsafe_code, reason = "a signal handler, and what the kernel tells it")]

use core::fmt::{self, Write};
use core::mem::offset_of;
use std::os::fd::BorrowedFd;

use nix::libc::{c_int, c_void, siginfo_t};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, raise, sigaction, signal};
use syscalls::Sysno;

/// The beginning of `siginfo_t`, as it is for SIGSYS.
#[repr(C)]
struct Info {
    signal: c_int,
    error: c_int,
    code: c_int,
    address: *mut c_void,
    call: c_int,
}

/// From now on, a call that the filter traps is named in the log.
pub(super) fn report() -> Result<(), String> {
    let action = SigAction::new(SigHandler::SigAction(name), SaFlags::SA_SIGINFO, SigSet::empty());
    // SAFETY: nobody else handles this signal, and the handler does nothing that is not async-signal-safe: it reads what it
    // is given, formats it on its stack, and makes system calls. It touches no lock and allocates nothing.
    unsafe { sigaction(Signal::SIGSYS, &action) }.map(|_| ()).map_err(|error| error.to_string())
}

extern "C" fn name(_: c_int, info: *mut siginfo_t, _: *mut c_void) {
    // SAFETY: the kernel gives a handler with SA_SIGINFO a `siginfo_t`, and for SIGSYS by seccomp this is where the call's
    // number is. The offset is within its 128 bytes.
    let call = unsafe { info.byte_add(offset_of!(Info, call)).cast::<c_int>().read() };
    let mut line = Line { bytes: [0; 160], length: 0 };
    let name = usize::try_from(call).ok().and_then(Sysno::new).map_or("unknown", |call| call.name());
    let _ = writeln!(line, "worker ended by its sandbox: the system call `{name}` ({call}) is not for it");
    // SAFETY: the supervisor gave us descriptor 2, and nobody closes it.
    let stderr = unsafe { BorrowedFd::borrow_raw(2) };
    let _ = nix::unistd::write(stderr, &line.bytes[..line.length]);
    // SAFETY: the default action takes no code of ours. The signal is blocked until this handler returns, and then ends the
    // process before another instruction of it.
    let _ = unsafe { signal(Signal::SIGSYS, SigHandler::SigDfl) };
    let _ = raise(Signal::SIGSYS);
}

/// Text without an allocation. What does not fit is left out.
struct Line {
    bytes: [u8; 160],
    length: usize,
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = &mut self.bytes[self.length..];
        let fits = text.len().min(room.len());
        room[..fits].copy_from_slice(&text.as_bytes()[..fits]);
        self.length += fits;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_a_call_is_where_the_kernel_puts_it() {
        assert_eq!(offset_of!(Info, call), 24);
        assert!(size_of::<Info>() <= size_of::<siginfo_t>());
    }

    #[test]
    fn a_line_that_is_too_long_is_cut() {
        let mut line = Line { bytes: [0; 160], length: 0 };
        assert!(write!(line, "{:0>200}", 1).is_ok());
        assert_eq!(line.length, 160);
    }
}

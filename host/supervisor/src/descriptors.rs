//! The two things about descriptors that the standard library has no word for.
#![expect(unsafe_code, reason = "close_range(2) and fcntl(2) have no safe wrapper for what is done here")]

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

/// Marks everything but the standard streams to be closed in children.
///
/// Whatever the process that started us left open is none of a worker's business: a guest's worker inherits what it
/// is given by name and nothing else.
pub(crate) fn keep_from_children() -> io::Result<()> {
    // SAFETY: the call reads its three integers and touches no memory. It closes nothing: descriptors owned elsewhere
    // in this process stay as valid as they were.
    let result =
        unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// A duplicate whose number is at least `least`.
pub(crate) fn duplicate_above(descriptor: impl AsFd, least: i32) -> io::Result<OwnedFd> {
    let duplicate = fcntl(descriptor.as_fd(), FcntlArg::F_DUPFD_CLOEXEC(least))?;
    debug_assert!(duplicate >= least, "{} became {duplicate}", descriptor.as_fd().as_raw_fd());
    // SAFETY: the kernel made this descriptor for us just now, so nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(duplicate) })
}

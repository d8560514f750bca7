//! The four things about descriptors that neither the standard library nor another one has a word for.
#![expect(unsafe_code, reason = "these system calls have no safe wrapper for what is done here")]

use std::io;
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

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

/// Takes ownership of a descriptor that the program before this one has left open. To be called once for each number,
/// before anything else is opened.
///
/// # Errors
/// Fails for a standard stream, and where nothing is open.
pub(crate) fn own(number: RawFd) -> io::Result<OwnedFd> {
    if number <= libc::STDERR_FILENO {
        return Err(io::Error::other("a standard stream cannot be left to anybody"));
    }
    // SAFETY: the call reads its two integers and touches no memory.
    let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
    if flags < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it is open, and was before anything in this program was opened: nobody here owns it yet.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// A duplicate whose number is at least `least`.
pub(crate) fn duplicate_above(descriptor: impl AsFd, least: i32) -> io::Result<OwnedFd> {
    let duplicate = fcntl(descriptor.as_fd(), FcntlArg::F_DUPFD_CLOEXEC(least))?;
    debug_assert!(duplicate >= least, "{} became {duplicate}", descriptor.as_fd().as_raw_fd());
    // SAFETY: the kernel made this descriptor for us just now, so nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(duplicate) })
}

/// How many connections wait in the queue of a listener for somebody to accept them.
pub(crate) fn waiting(listener: impl AsFd) -> io::Result<u32> {
    let mut info = MaybeUninit::<libc::tcp_info>::zeroed();
    let mut length = libc::socklen_t::try_from(size_of::<libc::tcp_info>()).unwrap_or(0);
    // SAFETY: the kernel writes at most `length` bytes, which is what there is room for, and the new length. The descriptor
    // is borrowed, so it is open.
    let result = unsafe {
        let fd = listener.as_fd().as_raw_fd();
        libc::getsockopt(fd, libc::IPPROTO_TCP, libc::TCP_INFO, info.as_mut_ptr().cast(), &raw mut length)
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: these are integers, and were zero before the kernel wrote some of them.
    let info = unsafe { info.assume_init() };
    // A connection has other uses for this number.
    Ok(info.tcpi_unacked)
}

//! Components that are kept beside the history, so that a rollback finds them when everything else about them is gone.
//!
//! A file is named by the digest of its content. That is compared before each use, so nothing here has to survive the
//! loss of power.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, renameat};
use nix::sys::stat::{Mode, fstatat};
use nix::unistd::{UnlinkatFlags, unlinkat};
use wasmcluster_core::message::component_file;

/// Writes a component down, unless it is there.
///
/// # Errors
/// Fails when the disk does. What was there before stays.
pub(super) fn keep(directory: &OwnedFd, digest: &str, bytes: &[u8]) -> io::Result<()> {
    let name = component_file(digest);
    // One that was damaged keeps its length at best, and is found out when it is needed.
    match fstatat(directory, name.as_str(), AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(stat) if stat.st_size.unsigned_abs() == bytes.len() as u64 => return Ok(()),
        Ok(_) | Err(Errno::ENOENT) => {}
        Err(errno) => return Err(errno.into()),
    }
    let new = format!("new-{}", std::process::id());
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
    let mut file = File::from(openat(directory, new.as_str(), flags, Mode::S_IRUSR | Mode::S_IWUSR)?);
    let written = file.write_all(bytes);
    let renamed = written.and_then(|()| Ok(renameat(directory, new.as_str(), directory, name.as_str())?));
    if renamed.is_err() {
        // What cannot be removed is cleared away when the next supervisor starts.
        let _ = unlinkat(directory, new.as_str(), UnlinkatFlags::NoRemoveDir);
    }
    renamed
}

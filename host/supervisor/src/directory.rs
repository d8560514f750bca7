//! Directories that must be ours and nobody else's.
//!
//! Each is judged and used through one descriptor, so that it cannot be exchanged in between; and a path through a
//! descriptor is always short enough for a socket.

use std::fs::DirBuilder;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::{Mode, fstat};
use nix::unistd::geteuid;

pub(crate) const DIRECTORY: OFlag =
    OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

/// Why a directory is not to be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Distrust {
    /// It could not be opened, or not be looked at.
    #[error("{0}")]
    Unusable(io::Error),
    /// It leads to a place that somebody else may have chosen.
    #[error("it is a symbolic link, or no directory")]
    NoDirectory,
    /// It is somebody else's.
    #[error("it belongs to user {0}, not to us")]
    NotOurs(u32),
    /// Others can come in.
    #[error("it is open to others (mode {0:03o})")]
    OpenToOthers(u32),
}

impl From<Errno> for Distrust {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::ELOOP | Errno::ENOTDIR => Self::NoDirectory,
            errno => Self::Unusable(errno.into()),
        }
    }
}

/// Creates what is missing of a path, for us alone.
pub(crate) fn create(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Opens a directory that is ours and nobody else's.
pub(crate) fn open_ours(path: &Path) -> Result<OwnedFd, Distrust> {
    // Without a slash at its end, after which the kernel would follow a link all the same.
    let bare: PathBuf = path.components().collect();
    let directory = open(&bare, DIRECTORY, Mode::empty())?;
    judge(&directory)?;
    Ok(directory)
}

/// Fails unless a directory is ours and nobody else's.
pub(crate) fn judge(directory: impl AsFd) -> Result<(), Distrust> {
    let stat = fstat(directory)?;
    if stat.st_uid != geteuid().as_raw() {
        return Err(Distrust::NotOurs(stat.st_uid));
    }
    match stat.st_mode & 0o777 {
        0o700 => Ok(()),
        mode => Err(Distrust::OpenToOthers(mode)),
    }
}

/// A path that leads to an open directory, whatever has become of its name.
pub(crate) fn through(directory: impl AsFd) -> PathBuf {
    format!("/proc/self/fd/{}", directory.as_fd().as_raw_fd()).into()
}

//! The directory of compiled artifacts.
//!
//! Mapping an artifact runs it as native code, so whoever can write here owns us: the directory must be ours and
//! nobody else's to write. It is judged, and used, through one descriptor, so that it cannot be exchanged in between.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, SealFlag, fcntl, open, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};
use nix::unistd::geteuid;
use rustix::fs::MemfdFlags;

use crate::memory::file_in_memory;

/// Why the cache cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// It could not be created or opened.
    #[error("failed to open the cache directory `{}`: {source}", .path.display())]
    Open {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is somewhere else, and where may change with a link that we do not look at again.
    #[error("the cache directory `{}` is a symbolic link", .path.display())]
    Link {
        /// The link.
        path: PathBuf,
    },
    /// Another user could put native code there.
    #[error("the cache directory `{}` belongs to user {owner}, not to us", .path.display())]
    NotOurs {
        /// The directory.
        path: PathBuf,
        /// Its owner.
        owner: u32,
    },
    /// Other users could put native code there.
    #[error("the cache directory `{}` can be written by others (mode {mode:03o})", .path.display())]
    WritableByOthers {
        /// The directory.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The builder could not read or write it.
    #[error("the cache directory `{}` cannot be used: {message}", .path.display())]
    Unusable {
        /// The directory.
        path: PathBuf,
        /// What the builder said.
        message: String,
    },
    /// What the builder just wrote is not there, or not as it left it.
    #[error("the artifact `{artifact}` in the cache directory `{}` cannot be trusted: {reason}", .path.display())]
    Artifact {
        /// The directory.
        path: PathBuf,
        /// Name of the file.
        artifact: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl CacheError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Open { .. } | Self::NotOurs { .. } | Self::Unusable { .. } => {
                Some("choose a directory that this user can write with `--cache-dir`".into())
            }
            Self::Link { .. } => Some("name the directory that it leads to with `--cache-dir`".into()),
            Self::WritableByOthers { path, .. } => Some(format!(
                "compiled code is run as it is found there: `chmod go-w {}`, or choose another with `--cache-dir`",
                path.display()
            )),
            Self::Artifact { .. } => Some("delete the file; it will be compiled again".into()),
        }
    }
}

/// A cache directory that passed inspection.
#[derive(Debug)]
pub(crate) struct Cache {
    path: PathBuf,
    directory: OwnedFd,
}

impl Cache {
    /// Opens the directory, creating it where it is missing.
    pub(crate) fn open(path: &Path) -> Result<Self, CacheError> {
        // With a slash or a dot behind its name, a link would be followed whatever the flags say.
        let place: PathBuf = path.components().collect();
        let failed = |source| match place.is_symlink() {
            true => CacheError::Link { path: path.to_owned() },
            false => CacheError::Open { path: path.to_owned(), source },
        };
        DirBuilder::new().recursive(true).mode(0o700).create(&place).map_err(failed)?;
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let directory = open(&place, flags, Mode::empty()).map_err(|errno| failed(errno.into()))?;
        let stat = fstat(&directory).map_err(|errno| failed(errno.into()))?;
        if stat.st_uid != geteuid().as_raw() {
            return Err(CacheError::NotOurs { path: path.to_owned(), owner: stat.st_uid });
        }
        if writable_by_others(&stat) {
            return Err(CacheError::WritableByOthers { path: path.to_owned(), mode: stat.st_mode & 0o777 });
        }
        Ok(Self { path: path.to_owned(), directory })
    }

    /// The one that was in use before, whatever has become of its path.
    pub(crate) fn take(path: &Path, directory: OwnedFd) -> Self {
        Self { path: path.to_owned(), directory }
    }

    /// The directory, for the builder.
    pub(crate) fn directory(&self) -> io::Result<OwnedFd> {
        self.directory.try_clone()
    }

    /// What is in an artifact now, for the workers: whatever becomes of its file, they run this.
    pub(crate) fn artifact(&self, name: &str) -> Result<OwnedFd, CacheError> {
        let wrong = |reason: String| CacheError::Artifact {
            path: self.path.clone(),
            artifact: name.to_owned(),
            reason,
        };
        if name.is_empty() || name.starts_with('.') || name.contains('/') {
            return Err(wrong("not the name of an artifact".into()));
        }
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
        let opened = openat(self.directory.as_fd(), name, flags, Mode::empty());
        let file = opened.map_err(|errno| match errno {
            Errno::ELOOP => wrong("it is a symbolic link".into()),
            errno => wrong(io::Error::from(errno).to_string()),
        })?;
        let stat = fstat(&file).map_err(|errno| wrong(io::Error::from(errno).to_string()))?;
        if stat.st_mode & SFlag::S_IFMT.bits() != SFlag::S_IFREG.bits() {
            return Err(wrong("it is not a file".into()));
        }
        if stat.st_uid != geteuid().as_raw() || writable_by_others(&stat) {
            return Err(wrong("other users could have written it".into()));
        }
        sealed(&mut File::from(file), name).map_err(|error| wrong(error.to_string()))
    }

    /// What the builder said about it.
    pub(crate) fn unusable(&self, message: String) -> CacheError {
        CacheError::Unusable { path: self.path.clone(), message }
    }
}

/// A copy in memory that nobody can change any more. Workers map it: a file that is written to, or becomes shorter, would
/// change their code, or end them at the next page that is not there.
fn sealed(file: &mut File, name: &str) -> io::Result<OwnedFd> {
    let mut copy = file_in_memory(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    io::copy(file, &mut copy)?;
    let seals =
        SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
    fcntl(&copy, FcntlArg::F_ADD_SEALS(seals))?;
    Ok(copy.into())
}

fn writable_by_others(stat: &FileStat) -> bool {
    stat.st_mode & 0o022 != 0
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    /// A directory that goes away with the test.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(test: &str) -> Self {
            Self(std::env::temp_dir().join(format!("wasmcluster-cache-{test}-{}", std::process::id())))
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn mode(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).expect("ours");
    }

    #[test]
    fn is_created_for_us_alone() {
        let scratch = Scratch::new("create");
        Cache::open(&scratch.0.join("deep/cache")).expect("creatable");
        let created = fs::metadata(scratch.0.join("deep/cache")).expect("there");
        assert_eq!(created.permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn is_refused_when_others_may_write() {
        let scratch = Scratch::new("writable");
        fs::create_dir_all(&scratch.0).expect("creatable");
        mode(&scratch.0, 0o775);
        assert!(matches!(Cache::open(&scratch.0), Err(CacheError::WritableByOthers { mode: 0o775, .. })));
        mode(&scratch.0, 0o755);
        Cache::open(&scratch.0).expect("readable by others is fine");
    }

    #[test]
    fn is_refused_when_it_is_a_file() {
        let scratch = Scratch::new("file");
        fs::write(&scratch.0, "").expect("writable");
        assert!(matches!(Cache::open(&scratch.0), Err(CacheError::Open { .. })));
        fs::remove_file(&scratch.0).expect("ours");
    }

    #[test]
    fn artifacts_are_files_of_ours() {
        let scratch = Scratch::new("artifact");
        let cache = Cache::open(&scratch.0).expect("creatable");
        fs::write(scratch.0.join("good"), "code").expect("writable");
        fs::write(scratch.0.join("loose"), "code").expect("writable");
        mode(&scratch.0.join("good"), 0o600);
        mode(&scratch.0.join("loose"), 0o666);
        symlink("good", scratch.0.join("link")).expect("writable");
        fs::create_dir(scratch.0.join("directory")).expect("writable");
        cache.artifact("good").expect("ours");
        for name in ["loose", "link", "directory", "missing", "", ".", "..", "../good", "/etc/passwd"] {
            assert!(matches!(cache.artifact(name), Err(CacheError::Artifact { .. })), "{name:?}");
        }
    }
}

//! Where apps that run are found by their names: a directory for each, with its control socket in it.
//!
//! Whoever can write here could stand in for an app, so every directory must be ours and closed to everybody else.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, openat};
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use nix::sys::stat::{FchmodatFlags, Mode, fchmodat, fstat, fstatat, mkdirat};
use nix::unistd::{UnlinkatFlags, geteuid, unlinkat};
use serde::{Deserialize, Serialize};
use wasmcluster_core::control::AppName;

use crate::directory::{self, DIRECTORY, Distrust, through};
use crate::upgrade::{Descriptors, Passed};

const SOCKET: &str = "control.sock";

/// The owner of what was passed on: no process of ours has this pid.
const NOBODY: u32 = 0;

/// How many names like a taken one are tried, and how often a directory may disappear under our hands.
const ATTEMPTS: u32 = 1000;

/// What an app wants to be called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Naming {
    /// This, or nothing.
    Exactly(AppName),
    /// This, or where that is taken the first of `demo-2`, `demo-3` and so on that is free.
    Like(AppName),
}

/// Why an app can have no place in the run directory.
#[derive(Debug, thiserror::Error)]
pub enum RunDirError {
    /// It could not be created or opened.
    #[error("failed to open the run directory `{}`: {source}", .path.display())]
    Open {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It leads to a place that somebody else may have chosen.
    #[error("the run directory `{}` is a symbolic link, or no directory", .path.display())]
    NoDirectory {
        /// The directory.
        path: PathBuf,
    },
    /// Another user could stand in for our apps.
    #[error("the run directory `{}` belongs to user {owner}, not to us", .path.display())]
    NotOurs {
        /// The directory.
        path: PathBuf,
        /// Its owner.
        owner: u32,
    },
    /// Other users can come in.
    #[error("the run directory `{}` is open to others (mode {mode:03o})", .path.display())]
    OpenToOthers {
        /// The directory.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// An app that runs has the name.
    #[error("an app with the name `{name}` is running{}", .pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default())]
    NameTaken {
        /// The name.
        name: AppName,
        /// Its supervisor; unknown while that starts.
        pid: Option<i32>,
    },
}

impl RunDirError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Open { .. } | Self::NoDirectory { .. } | Self::NotOurs { .. } => {
                "choose a directory of this user's own with `--run-dir`".into()
            }
            Self::OpenToOthers { path, .. } => format!(
                "whoever comes in could stand in for an app: `chmod 700 {}`, or choose another with `--run-dir`",
                path.display()
            ),
            Self::NameTaken { name, .. } => {
                format!("choose another with `--name`, or stop it: `wasmcluster stop --app {name}`")
            }
        }
    }
}

/// Where apps of this user are found when nobody says otherwise: in `$XDG_RUNTIME_DIR`, or in `/tmp` where there is
/// none.
///
/// The variable often survives a change of user, so a directory that is not ours is none.
#[must_use]
pub fn default_run_dir() -> PathBuf {
    let user = geteuid().as_raw();
    let xdg = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute());
    let ours = |path: &PathBuf| fs::metadata(path).is_ok_and(|found| found.is_dir() && found.uid() == user);
    match xdg.filter(ours) {
        Some(xdg) => xdg.join("wasmcluster"),
        None => PathBuf::from(format!("/tmp/wasmcluster-{user}")),
    }
}

/// A run directory that passed inspection.
#[derive(Debug)]
pub(crate) struct RunDir {
    path: PathBuf,
    directory: OwnedFd,
}

impl RunDir {
    /// Opens the directory, creating it where it is missing.
    pub(crate) fn create(path: &Path) -> Result<Self, RunDirError> {
        let failed = |source| RunDirError::Open { path: path.to_owned(), source };
        directory::create(path).map_err(failed)?;
        let missing = || failed(io::ErrorKind::NotFound.into());
        Self::open(path)?.ok_or_else(missing)
    }

    /// Opens the directory; none if it is not there.
    pub(crate) fn open(path: &Path) -> Result<Option<Self>, RunDirError> {
        match directory::open_ours(path) {
            Ok(directory) => Ok(Some(Self { path: path.to_owned(), directory })),
            Err(Distrust::Unusable(error)) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(distrust) => Err(distrusted(path, distrust)),
        }
    }

    /// The names that have a directory here, in order. That does not mean that their apps run.
    pub(crate) fn names(&self) -> Result<Vec<AppName>, RunDirError> {
        let failed = |source| RunDirError::Open { path: self.path.clone(), source };
        let entries = fs::read_dir(through(&self.directory)).map_err(failed)?;
        let mut names: Vec<AppName> =
            entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
        names.sort();
        Ok(names)
    }

    /// Connects to the supervisor of an app. None if there is none: a socket without a listener is what a supervisor
    /// leaves that was killed.
    pub(crate) fn connect(&self, name: &AppName) -> Result<Option<UnixStream>, RunDirError> {
        let path = self.path.join(name.as_str());
        let directory = match openat(&self.directory, name.as_str(), DIRECTORY, Mode::empty()) {
            Ok(directory) => directory,
            Err(Errno::ENOENT) => return Ok(None),
            Err(errno) => return Err(refused(&path, errno)),
        };
        inspect(&directory, &path)?;
        match UnixStream::connect(through(&directory).join(SOCKET)) {
            Ok(stream) => Ok(Some(stream)),
            Err(error) if is_nobody_there(&error) => Ok(None),
            Err(source) => Err(RunDirError::Open { path: path.join(SOCKET), source }),
        }
    }

    /// Takes a name for as long as the result lives.
    pub(crate) fn claim(self, naming: &Naming) -> Result<AppDir, RunDirError> {
        let (wanted, names) = match naming {
            Naming::Exactly(name) => (name, 1),
            Naming::Like(name) => (name, ATTEMPTS),
        };
        for number in 1..=names {
            let name = if number == 1 { wanted.clone() } else { wanted.numbered(number) };
            if let Some(directory) = self.try_claim(&name)? {
                return Ok(AppDir { parent: self, directory, name, owner: std::process::id() });
            }
        }
        let pid = self.connect(wanted).ok().flatten().and_then(|stream| pid(&stream));
        Err(RunDirError::NameTaken { name: wanted.clone(), pid })
    }

    /// The directory of a name, locked; none if another supervisor has it.
    ///
    /// The lock is on the directory itself and is held for life: it goes away with its owner however that ends, so
    /// whoever gets it may take over what is in there.
    fn try_claim(&self, name: &AppName) -> Result<Option<File>, RunDirError> {
        let (name, path) = (name.as_str(), self.path.join(name.as_str()));
        for _ in 0..ATTEMPTS {
            match mkdirat(&self.directory, name, Mode::S_IRWXU) {
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(errno) => return Err(refused(&path, errno)),
            }
            let directory = match openat(&self.directory, name, DIRECTORY, Mode::empty()) {
                Ok(directory) => directory,
                // Its owner has just left.
                Err(Errno::ENOENT) => continue,
                Err(errno) => return Err(refused(&path, errno)),
            };
            inspect(&directory, &path)?;
            let directory = File::from(directory);
            match directory.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(source)) => return Err(RunDirError::Open { path, source }),
            }
            if self.still_has(name, &directory) {
                return Ok(Some(directory));
            }
        }
        Err(refused(&path, Errno::ENOENT))
    }

    /// Whether `directory` is what is found under `name`: its last owner may have removed it while we waited our turn.
    fn still_has(&self, name: &str, directory: &File) -> bool {
        let found = fstatat(&self.directory, name, AtFlags::AT_SYMLINK_NOFOLLOW);
        let (Ok(found), Ok(ours)) = (found, fstat(directory)) else { return false };
        (found.st_dev, found.st_ino) == (ours.st_dev, ours.st_ino)
    }
}

/// The directory of an app whose name is ours. Dropping it removes it, and closes it: that unlocks it, if nobody else was
/// given the descriptor.
#[derive(Debug)]
pub(crate) struct AppDir {
    parent: RunDir,
    directory: File,
    name: AppName,
    /// The process that has the app. Whoever else has this was shown it, and removes nothing.
    owner: u32,
}

/// An [`AppDir`] on its way to another program.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PassedDir {
    name: AppName,
    owner: u32,
    parent: Passed,
    directory: Passed,
}

impl PassedDir {
    pub(crate) fn name(&self) -> &AppName {
        &self.name
    }
}

impl AppDir {
    /// What somebody else needs to go on with it. Until then it is left as it is: with its name, and locked.
    pub(crate) fn pass(mut self, descriptors: &mut Descriptors) -> io::Result<PassedDir> {
        let [parent, directory] = [self.parent.directory.as_fd(), self.directory.as_fd()];
        let [parent, directory] = [parent.try_clone_to_owned()?, directory.try_clone_to_owned()?];
        let (name, owner) = (self.name.clone(), std::mem::replace(&mut self.owner, NOBODY));
        Ok(PassedDir { name, owner, parent: descriptors.put(parent), directory: descriptors.put(directory) })
    }

    /// Goes on with what somebody else had in the run directory `path`.
    pub(crate) fn take(passed: PassedDir, path: &Path, descriptors: &mut Descriptors) -> io::Result<Self> {
        let PassedDir { name, owner, parent, directory } = passed;
        let parent = RunDir { path: path.to_owned(), directory: descriptors.take(parent)? };
        // It is locked already, by this very descriptor.
        Ok(Self { parent, directory: descriptors.take(directory)?.into(), name, owner })
    }

    pub(crate) fn name(&self) -> &AppName {
        &self.name
    }

    /// Listens on the control socket, in the place of one that a supervisor before us may have left.
    pub(crate) fn listen(&self) -> io::Result<UnixListener> {
        match unlinkat(self.directory.as_fd(), SOCKET, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(errno) => return Err(errno.into()),
        }
        let listener = UnixListener::bind(through(&self.directory).join(SOCKET))?;
        // Until here the directory's own mode has kept others out.
        let mode = Mode::S_IRUSR | Mode::S_IWUSR;
        fchmodat(self.directory.as_fd(), SOCKET, mode, FchmodatFlags::FollowSymlink)?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    }
}

impl Drop for AppDir {
    /// What cannot be removed is in nobody's way: the next owner of the name takes it over.
    fn drop(&mut self) {
        if self.owner != std::process::id() {
            return;
        }
        let _ = unlinkat(self.directory.as_fd(), SOCKET, UnlinkatFlags::NoRemoveDir);
        let _ = unlinkat(&self.parent.directory, self.name.as_str(), UnlinkatFlags::RemoveDir);
    }
}

/// Fails unless a directory is ours and nobody else's.
fn inspect(directory: &OwnedFd, path: &Path) -> Result<(), RunDirError> {
    directory::judge(directory).map_err(|distrust| distrusted(path, distrust))
}

fn refused(path: &Path, errno: Errno) -> RunDirError {
    distrusted(path, errno.into())
}

fn distrusted(path: &Path, distrust: Distrust) -> RunDirError {
    let path = path.to_owned();
    match distrust {
        Distrust::Unusable(source) => RunDirError::Open { path, source },
        Distrust::NoDirectory => RunDirError::NoDirectory { path },
        Distrust::NotOurs(owner) => RunDirError::NotOurs { path, owner },
        Distrust::OpenToOthers(mode) => RunDirError::OpenToOthers { path, mode },
    }
}

fn is_nobody_there(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

/// The process that listens at the other end. None when it lives in another pid namespace.
pub(crate) fn pid(stream: &UnixStream) -> Option<i32> {
    getsockopt(stream, PeerCredentials).ok().map(|peer| peer.pid()).filter(|&pid| pid > 0)
}

#[cfg(test)]
mod tests;

//! Artifacts on disk: content-addressed, compared with their digest before every use, never changed once written.
//!
//! ```text
//! KEY.json          what KEY stands for: the artifact's name, its digest, what an instance needs
//! DIGEST.cwasm      the artifact, named by its content
//! lock              held by the builder that compiles
//! new-PID           being written; whoever holds the lock may remove those of others
//! ```
//!
//! The directory is the supervisor's to open and to trust (0700, ours). Here everything goes through that descriptor,
//! and symbolic links are not followed.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, Flock, FlockArg, OFlag, openat, renameat};
use nix::sys::stat::{FileStat, Mode, UtimensatFlags, fstat, fstatat, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{UnlinkatFlags, geteuid, unlinkat};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use wasmcluster_core::message::Needs;

use super::hex;

/// What may stay in the cache, in bytes. When it is more, what was used longest ago goes.
const MAX_SIZE: u64 = 2 << 30;

/// The cache directory, and the one entry this builder is about.
pub(super) struct Cache {
    dir: OwnedFd,
    key: String,
}

/// What an entry says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) artifact: String,
    pub(super) needs: Needs,
}

/// What a look into the cache found.
pub(super) enum Found {
    Intact(Entry),
    /// An entry whose artifact is gone, is not ours, or is not what was written.
    Damaged,
    Nothing,
}

/// Proof that this process is the only one that writes.
pub(super) struct Lock(#[expect(dead_code, reason = "held, not read")] Flock<File>);

impl Cache {
    pub(super) fn new(dir: OwnedFd, key: String) -> Self {
        Self { dir, key }
    }

    /// Looks the entry up, and compares the artifact with its digest.
    pub(super) fn find(&self) -> Found {
        let text = match self.read(&self.entry_name()) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Found::Nothing,
            Err(_) => return Found::Damaged,
        };
        let Ok(entry) = serde_json::from_slice::<Entry>(&text) else { return Found::Damaged };
        match self.read(&entry.artifact) {
            Ok(artifact) if artifact_name(&artifact) == entry.artifact => {
                self.touch(&entry.artifact);
                Found::Intact(entry)
            }
            _ => Found::Damaged,
        }
    }

    /// Waits for the lock, calling `waiting` first if somebody else has it.
    ///
    /// # Errors
    /// Fails when the directory cannot be written to, or with what `waiting` fails with.
    pub(super) fn lock<E>(&self, waiting: impl FnOnce() -> Result<(), E>) -> io::Result<Result<Lock, E>> {
        let file = self.open("lock", OFlag::O_RDWR | OFlag::O_CREAT)?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Ok(Lock(lock))),
            Err((file, Errno::EWOULDBLOCK)) => {
                if let Err(error) = waiting() {
                    return Ok(Err(error));
                }
                let lock = Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| errno)?;
                Ok(Ok(Lock(lock)))
            }
            Err((_, errno)) => Err(errno.into()),
        }
    }

    /// Writes an artifact and then the entry that names it, each under another name first.
    ///
    /// # Errors
    /// Fails when the disk does. What was there before stays.
    pub(super) fn store(&self, _: &Lock, artifact: &[u8], needs: Needs) -> io::Result<Entry> {
        self.clean_up()?;
        let entry = Entry { artifact: artifact_name(artifact), needs };
        self.write(&entry.artifact, artifact)?;
        self.write(&self.entry_name(), &serde_json::to_vec(&entry)?)?;
        Ok(entry)
    }

    fn entry_name(&self) -> String {
        format!("{}.json", self.key)
    }

    fn open(&self, name: &str, flags: OFlag) -> io::Result<File> {
        let flags = flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
        Ok(File::from(openat(&self.dir, name, flags, Mode::S_IRUSR | Mode::S_IWUSR)?))
    }

    /// Reads a file that only we could have written.
    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let mut file = self.open(name, OFlag::O_RDONLY)?;
        if !is_ours(&fstat(file.as_fd())?) {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let new = format!("new-{}", std::process::id());
        let mut file = self.open(&new, OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL)?;
        let written = file.write_all(bytes).and_then(|()| file.sync_data());
        let renamed = written.and_then(|()| Ok(renameat(&self.dir, new.as_str(), &self.dir, name)?));
        if renamed.is_err() {
            self.remove(&new);
        }
        renamed
    }

    fn remove(&self, name: &str) {
        // It may be gone already, or not be ours to remove: either way there is nothing better to do.
        let _ = unlinkat(&self.dir, name, UnlinkatFlags::NoRemoveDir);
    }

    /// Marks an artifact as used now.
    fn touch(&self, name: &str) {
        let _ = utimensat(
            &self.dir,
            name,
            &TimeSpec::UTIME_NOW,
            &TimeSpec::UTIME_NOW,
            UtimensatFlags::NoFollowSymlink,
        );
    }

    /// Removes what a builder that was killed left half written, and what was used longest ago if there is too much.
    fn clean_up(&self) -> io::Result<()> {
        let mut artifacts = Vec::new();
        for entry in
            std::fs::read_dir(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&self.dir)))?
        {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name.starts_with("new-") {
                self.remove(&name);
            } else if name.ends_with(".cwasm")
                && let Ok(stat) = fstatat(&self.dir, name.as_str(), AtFlags::AT_SYMLINK_NOFOLLOW)
            {
                artifacts.push((stat.st_mtime, stat.st_size.unsigned_abs(), name));
            }
        }
        artifacts.sort();
        let mut size: u64 = artifacts.iter().map(|(_, size, _)| size).sum();
        for (_, bytes, name) in artifacts {
            if size <= MAX_SIZE {
                break;
            }
            // A worker that has it mapped keeps it; an entry that names it is found damaged, and made anew.
            self.remove(&name);
            size -= bytes;
        }
        Ok(())
    }
}

fn artifact_name(bytes: &[u8]) -> String {
    format!("{}.cwasm", hex(&Sha256::digest(bytes)))
}

/// A regular file of this user that nobody else may write.
fn is_ours(stat: &FileStat) -> bool {
    let kind = stat.st_mode & nix::libc::S_IFMT;
    kind == nix::libc::S_IFREG && stat.st_uid == geteuid().as_raw() && stat.st_mode & 0o022 == 0
}

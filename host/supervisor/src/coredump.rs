//! Core dumps of guests: what a worker writes into a pipe, kept as a file.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::unistd::pipe2;
use tokio::net::unix::pipe::Receiver;
use tokio::task::spawn_blocking;

/// So many a directory may have. A guest that traps at every request must not fill a disk, and the first ones tell most.
const MOST: usize = 16;

const EXTENSION: &str = "coredump";

/// Where the next core dump of a worker goes.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) directory: PathBuf,
    /// The name of the file, without its extension.
    pub(crate) name: String,
    /// The most that is kept, in bytes.
    pub(crate) most: u64,
}

/// A core dump that was kept.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) file: PathBuf,
    pub(crate) bytes: u64,
}

/// Why one was not.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Lost {
    #[error("`{}` has {MOST} of them already", .0.display())]
    Full(PathBuf),
    #[error("cannot write `{}`: {error}", file.display())]
    Unwritten { file: PathBuf, error: io::Error },
    #[error("it has {bytes} bytes, and {most} is the most it may have")]
    TooLarge { bytes: u64, most: u64 },
    #[error("it broke off")]
    BrokeOff,
}

impl Lost {
    pub(crate) fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Full(_) => Some("remove those that nobody needs any more"),
            Self::Unwritten { .. } => Some("check the directory that `--coredump` names"),
            Self::TooLarge { .. } | Self::BrokeOff => None,
        }
    }
}

impl Place {
    /// The end of a pipe for a worker, and what becomes of that which it writes; none if it never does.
    pub(crate) fn wait(self) -> io::Result<(OwnedFd, impl Future<Output = Option<Result<Kept, Lost>>>)> {
        let (ours, theirs) = pipe2(OFlag::O_CLOEXEC)?;
        let arriving = Receiver::from_owned_fd(ours)?;
        let kept = async move {
            arriving.readable().await.ok()?;
            let arriving = arriving.into_blocking_fd().ok()?;
            spawn_blocking(move || self.keep(File::from(arriving))).await.ok()?
        };
        Ok((theirs, kept))
    }

    fn keep(self, mut arriving: impl Read) -> Option<Result<Kept, Lost>> {
        let mut length = [0; size_of::<u64>()];
        // A worker that ends has closed it.
        arriving.read_exact(&mut length).ok()?;
        Some(self.write(arriving, u64::from_le_bytes(length)))
    }

    fn write(self, arriving: impl Read, bytes: u64) -> Result<Kept, Lost> {
        let Self { directory, name, most } = self;
        if bytes > most {
            return Err(Lost::TooLarge { bytes, most });
        }
        let file = directory.join(name).with_extension(EXTENSION);
        let unwritten = |error| Lost::Unwritten { file: file.clone(), error };
        DirBuilder::new().recursive(true).mode(0o700).create(&directory).map_err(unwritten)?;
        if count(&directory).map_err(unwritten)? >= MOST {
            return Err(Lost::Full(directory));
        }
        // What guests had in memory is for nobody else to read, and nobody else chooses the file.
        let created = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&file);
        let mut created = created.map_err(unwritten)?;
        let copied = io::copy(&mut arriving.take(bytes), &mut created);
        if copied.as_ref().is_ok_and(|copied| *copied == bytes) {
            return Ok(Kept { file, bytes });
        }
        // Half of one misleads.
        let _ = std::fs::remove_file(&file);
        Err(copied.map_or_else(unwritten, |_| Lost::BrokeOff))
    }
}

fn count(directory: &Path) -> io::Result<usize> {
    let mut dumps = 0;
    for entry in directory.read_dir()? {
        dumps += usize::from(Path::new(&entry?.file_name()).extension().is_some_and(|is| is == EXTENSION));
    }
    Ok(dumps)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keep(directory: &Path, name: &str, announced: u64, bytes: &[u8]) -> Option<Result<Kept, Lost>> {
        let arriving = [&announced.to_le_bytes(), bytes].concat();
        let place = Place { directory: directory.to_owned(), name: name.into(), most: 8 };
        place.keep(&*arriving)
    }

    #[test]
    fn only_what_is_whole_is_kept() {
        let temporary = tempfile::tempdir().expect("a directory");
        let directory = temporary.path().join("new");
        let kept = keep(&directory, "whole", 3, b"abcd").expect("it came").expect("it is whole");
        assert_eq!(std::fs::read(kept.file).expect("it is there"), b"abc");
        assert!(matches!(keep(&directory, "half", 4, b"abc"), Some(Err(Lost::BrokeOff))));
        assert!(matches!(keep(&directory, "large", 9, b"abcdefghi"), Some(Err(Lost::TooLarge { .. }))));
        assert!(matches!(keep(&directory, "whole", 3, b"def"), Some(Err(Lost::Unwritten { .. }))));
        let place = Place { directory: directory.clone(), name: "none".into(), most: 8 };
        assert!(place.keep(&b"1234567"[..]).is_none());
        assert_eq!(count(&directory).expect("readable"), 1);
        assert_eq!(directory.read_dir().expect("readable").count(), 1);
    }

    #[test]
    fn a_directory_is_not_filled() {
        let directory = tempfile::tempdir().expect("a directory");
        for number in 0..MOST {
            assert!(matches!(keep(directory.path(), &number.to_string(), 1, b"a"), Some(Ok(_))));
        }
        assert!(matches!(keep(directory.path(), "more", 1, b"a"), Some(Err(Lost::Full(_)))));
    }
}

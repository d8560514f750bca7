//! Core dumps of guests: what a worker writes into a pipe, kept as a file.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::unistd::pipe2;
use tokio::io::AsyncReadExt;
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
    #[error("an upgrade came in between")]
    Upgraded,
}

impl Lost {
    pub(crate) fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Full(_) => Some("remove those that nobody needs any more"),
            Self::Unwritten { .. } => Some("check the directory that `--coredump` names"),
            Self::TooLarge { .. } | Self::BrokeOff | Self::Upgraded => None,
        }
    }
}

/// A core dump of which the first bytes have come.
#[derive(Debug)]
pub(crate) struct Arriving {
    place: Place,
    pipe: OwnedFd,
    bytes: u64,
}

impl Arriving {
    /// Takes the rest of it.
    pub(crate) async fn keep(self) -> Result<Kept, Lost> {
        let Self { place, pipe, bytes } = self;
        spawn_blocking(move || place.write(File::from(pipe), bytes)).await.unwrap_or(Err(Lost::BrokeOff))
    }
}

impl Place {
    /// The end of a pipe for a worker, and that which it begins to write there; none if it never does.
    pub(crate) fn wait(self) -> io::Result<(OwnedFd, impl Future<Output = Option<Arriving>>)> {
        let (ours, theirs) = pipe2(OFlag::O_CLOEXEC)?;
        let mut ours = Receiver::from_owned_fd(ours)?;
        let arriving = async move {
            // A worker that ends has closed it.
            let bytes = ours.read_u64_le().await.ok()?;
            Some(Arriving { place: self, pipe: ours.into_blocking_fd().ok()?, bytes })
        };
        Ok((theirs, arriving))
    }

    fn write(self, arriving: impl io::Read, bytes: u64) -> Result<Kept, Lost> {
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
    use std::io::Write;

    use super::*;

    fn keep(directory: &Path, name: &str, announced: u64, bytes: &[u8]) -> Result<Kept, Lost> {
        Place { directory: directory.to_owned(), name: name.into(), most: 8 }.write(bytes, announced)
    }

    #[test]
    fn only_what_is_whole_is_kept() {
        let temporary = tempfile::tempdir().expect("a directory");
        let directory = temporary.path().join("new");
        let kept = keep(&directory, "whole", 3, b"abcd").expect("it is whole");
        assert_eq!(std::fs::read(kept.file).expect("it is there"), b"abc");
        assert!(matches!(keep(&directory, "half", 4, b"abc"), Err(Lost::BrokeOff)));
        assert!(matches!(keep(&directory, "large", 9, b"abcdefghi"), Err(Lost::TooLarge { .. })));
        assert!(matches!(keep(&directory, "whole", 3, b"def"), Err(Lost::Unwritten { .. })));
        assert_eq!(count(&directory).expect("readable"), 1);
        assert_eq!(directory.read_dir().expect("readable").count(), 1);
    }

    #[tokio::test]
    async fn one_arrives_when_its_length_has_come() {
        let directory = tempfile::tempdir().expect("a directory");
        let place = || Place { directory: directory.path().to_owned(), name: "it".into(), most: 8 };
        let (pipe, arriving) = place().wait().expect("a pipe");
        File::from(pipe).write_all(b"1234567").expect("there is room");
        assert!(arriving.await.is_none());

        let (pipe, arriving) = place().wait().expect("a pipe");
        let mut pipe = File::from(pipe);
        pipe.write_all(&3_u64.to_le_bytes()).expect("there is room");
        let arriving = arriving.await.expect("it has come");
        pipe.write_all(b"abc").expect("there is room");
        assert_eq!(arriving.keep().await.expect("it is whole").bytes, 3);
    }

    #[test]
    fn a_directory_is_not_filled() {
        let directory = tempfile::tempdir().expect("a directory");
        for number in 0..MOST {
            assert!(keep(directory.path(), &number.to_string(), 1, b"a").is_ok());
        }
        assert!(matches!(keep(directory.path(), "more", 1, b"a"), Err(Lost::Full(_))));
    }
}

//! Noticing that the component's file is another one.
//!
//! Its directory is watched, not the file: most tools write a new file and give it the old one's name. Others copy into
//! the file that is there, which may take a while and pause; so nothing is done before it has been left alone for a time,
//! a short one once its writer has closed it.

use core::time::Duration;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use serde::{Deserialize, Serialize};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, sleep_until};

use crate::component::Component;

/// How long a file is left alone that is complete.
const COMPLETE: Duration = Duration::from_millis(100);

/// How long one is left alone that somebody still has open for writing, or that is gone.
const UNFINISHED: Duration = Duration::from_secs(2);

/// Somebody is at work.
const WORK: AddWatchFlags = AddWatchFlags::IN_CREATE
    .union(AddWatchFlags::IN_MODIFY)
    .union(AddWatchFlags::IN_DELETE)
    .union(AddWatchFlags::IN_MOVED_FROM);

/// Somebody is done.
const DONE: AddWatchFlags = AddWatchFlags::IN_CLOSE_WRITE.union(AddWatchFlags::IN_MOVED_TO);

/// A watch on one file.
#[derive(Debug)]
pub(crate) struct Watch {
    inotify: AsyncFd<Descriptor>,
    path: PathBuf,
    file: OsString,
    due: Option<Instant>,
}

#[derive(Debug)]
struct Descriptor(Inotify);

impl AsRawFd for Descriptor {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

/// A [`Watch`] on its way to another program: whether there is something that it has not told yet, and what it saw last.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PassedWatch {
    due: bool,
    seen: Option<Identity>,
}

/// What changes when a file is replaced, or written to.
pub(crate) type Identity = [i64; 5];

/// That of a file.
pub(crate) fn identity(path: &Path) -> io::Result<Identity> {
    let found = fs::metadata(path)?;
    let whole = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    Ok([whole(found.dev()), whole(found.ino()), whole(found.size()), found.mtime(), found.mtime_nsec()])
}

impl Watch {
    /// What somebody else needs to go on with it.
    pub(crate) fn pass(self) -> PassedWatch {
        let due = self.due.is_some() || !matches!(look(&self.inotify.get_ref().0, &self.file), Look::Nothing);
        PassedWatch { due, seen: identity(&self.path).ok() }
    }

    /// Tells what has changed while nobody watched.
    pub(crate) fn go_on(&mut self, passed: &PassedWatch) {
        if passed.due || identity(&self.path).ok() != passed.seen {
            self.due = Some(Instant::now() + UNFINISHED);
        }
    }

    /// Watches from now on. None for what is no file.
    pub(crate) fn of(component: &Component) -> io::Result<Option<Self>> {
        let Component::File(path) = component else { return Ok(None) };
        let Some(file) = path.file_name() else { return Ok(None) };
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        inotify.add_watch(directory.unwrap_or(Path::new(".")), WORK | DONE)?;
        #[expect(
            deprecated,
            reason = "sound for an owned descriptor; what comes after it wants a promise about it"
        )]
        let inotify = AsyncFd::with_interest(Descriptor(inotify), Interest::READABLE)?;
        Ok(Some(Self { inotify, path: path.clone(), file: file.to_owned(), due: None }))
    }

    /// Returns when the file has changed and has been left alone since. Cancel safe.
    pub(crate) async fn changed(&mut self) {
        loop {
            let due = self.due;
            tokio::select! {
                ready = self.inotify.readable() => match ready {
                    Ok(mut ready) => match look(&ready.get_inner().0, &self.file) {
                        Look::Nothing => ready.clear_ready(),
                        Look::Others => {}
                        Look::Changed(alone) => self.due = Some(Instant::now() + alone),
                    },
                    // There is nothing left to wait for.
                    Err(_) => std::future::pending().await,
                },
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    self.due = None;
                    return;
                }
            }
        }
    }
}

/// What a look into the directory showed.
enum Look {
    /// It is as it was.
    Nothing,
    /// Something is new, and not about our file.
    Others,
    /// Our file has changed, and is to be left alone for this long.
    Changed(Duration),
}

fn look(inotify: &Inotify, file: &OsString) -> Look {
    let events = match inotify.read_events() {
        Ok(events) => events,
        Err(Errno::EINTR) => return Look::Others,
        Err(_) => return Look::Nothing,
    };
    // Where there were too many for the kernel to keep, one of them may have been about ours.
    let last = events
        .iter()
        .rev()
        .find(|event| event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) || event.name.as_ref() == Some(file));
    match last {
        None => Look::Others,
        Some(event) if event.mask.intersects(DONE) => Look::Changed(COMPLETE),
        Some(_) => Look::Changed(UNFINISHED),
    }
}

//! Noticing that the component's file is another one.
//!
//! Its directory is watched, not the file: most tools write a new file and give it the old one's name. Others copy into
//! the file that is there, which may take a while and pause; so nothing is done before it has been left alone for a time,
//! a short one once its writer has closed it. Others again have links lead to the file, and change one of those: so each
//! link on the way is watched as the file is, in its own directory.

use core::time::Duration;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent, WatchDescriptor};
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

/// Links on the way to a file that are followed, as by the kernel.
const MOST_LINKS: usize = 40;

/// A watch on one file.
#[derive(Debug)]
pub(crate) struct Watch {
    inotify: AsyncFd<Descriptor>,
    path: PathBuf,
    /// The links that lead to the file and the file itself, each with its directory's watch.
    way: Vec<(WatchDescriptor, OsString)>,
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
        let due = self.due.is_some() || !matches!(self.look(), Look::Nothing);
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
        if path.file_name().is_none() {
            return Ok(None);
        }
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        let steps = way_to(path)?.into_iter();
        let way = steps.map(|(directory, name)| Ok((inotify.add_watch(&directory, WORK | DONE)?, name)));
        let way = way.collect::<io::Result<_>>()?;
        #[expect(
            deprecated,
            reason = "sound for an owned descriptor; what comes after it wants a promise about it"
        )]
        let inotify = AsyncFd::with_interest(Descriptor(inotify), Interest::READABLE)?;
        Ok(Some(Self { inotify, path: path.clone(), way, due: None }))
    }

    /// Watches the way that leads to the file by now. Where there is none, whatever is changed about the old one may make it one.
    fn follow(&mut self) {
        let mut before = Vec::new();
        // What is made in a directory before that is watched is told by nobody, and is seen when it is looked for once more.
        for _ in 0..MOST_LINKS {
            let Ok(steps) = way_to(&self.path) else { return };
            let steps: Vec<_> = steps.into_iter().map(standing).collect();
            if steps == before {
                return;
            }
            self.watch(steps.clone());
            before = steps;
        }
    }

    fn watch(&mut self, steps: Vec<(PathBuf, OsString)>) {
        let inotify = &self.inotify.get_ref().0;
        let watched = steps
            .into_iter()
            .filter_map(|(directory, name)| Some((inotify.add_watch(&directory, WORK | DONE).ok()?, name)));
        let left = std::mem::replace(&mut self.way, watched.collect());
        for (watch, _) in left {
            if self.way.iter().all(|(kept, _)| *kept != watch) {
                // It is gone by itself if its directory is.
                let _ = inotify.rm_watch(watch);
            }
        }
    }

    /// What has happened since the last look.
    fn look(&self) -> Look {
        let events = match self.inotify.get_ref().0.read_events() {
            Ok(events) => events,
            Err(Errno::EINTR) => return Look::Others,
            Err(_) => return Look::Nothing,
        };
        let on_the_way = |event: &&InotifyEvent| {
            // Where there were too many for the kernel to keep, one of them may have been about ours.
            event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW)
                || self
                    .way
                    .iter()
                    .any(|(watch, name)| *watch == event.wd && event.name.as_ref() == Some(name))
        };
        match events.iter().rev().find(on_the_way) {
            None => Look::Others,
            Some(event) if event.mask.intersects(DONE) => Look::Changed(COMPLETE),
            Some(_) => Look::Changed(UNFINISHED),
        }
    }

    /// Returns when the file has changed and has been left alone since. Cancel safe.
    pub(crate) async fn changed(&mut self) {
        loop {
            let due = self.due;
            tokio::select! {
                ready = self.inotify.readable() => match ready {
                    Ok(mut ready) => match self.look() {
                        Look::Nothing => ready.clear_ready(),
                        Look::Others => {}
                        Look::Changed(alone) => {
                            self.due = Some(Instant::now() + alone);
                            self.follow();
                        }
                    },
                    // There is nothing left to wait for.
                    Err(_) => std::future::pending().await,
                },
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    self.due = None;
                    self.follow();
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

/// The links that lead to a file and the file itself, each as a directory and a name in it.
fn way_to(path: &Path) -> io::Result<Vec<(PathBuf, OsString)>> {
    let mut way = Vec::new();
    let mut path = std::path::absolute(path)?;
    while way.len() <= MOST_LINKS {
        let Some((link, target)) = first_link(&path) else {
            way.extend(step(&path));
            return Ok(way);
        };
        let Ok(rest) = path.strip_prefix(&link).map(Path::to_owned) else { break };
        path = link.parent().unwrap_or(Path::new("/")).join(target);
        // Joined with nothing it would end with a slash.
        if !rest.as_os_str().is_empty() {
            path.push(rest);
        }
        way.extend(step(&link));
    }
    Err(Errno::ELOOP.into())
}

/// The first part of a path that is a link, and where that leads.
fn first_link(path: &Path) -> Option<(PathBuf, PathBuf)> {
    let mut parts = path.ancestors().collect::<Vec<_>>();
    parts.reverse();
    parts.into_iter().find_map(|part| Some((part.to_owned(), fs::read_link(part).ok()?)))
}

fn step(path: &Path) -> Option<(PathBuf, OsString)> {
    Some((path.parent()?.to_owned(), path.file_name()?.to_owned()))
}

/// The same, or what has to come first where the directory is gone: the lowest of those above it that is not.
fn standing((mut directory, mut name): (PathBuf, OsString)) -> (PathBuf, OsString) {
    while !directory.is_dir() {
        let Some((above, missing)) = step(&directory) else { break };
        (directory, name) = (above, missing);
    }
    (directory, name)
}

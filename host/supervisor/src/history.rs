//! The history of an app on its disk, and the components that a rollback may need.
//!
//! ```text
//! STATE_DIR/NAME/history.json              every generation that is remembered
//! STATE_DIR/NAME/components/DIGEST.wasm    its component, written by the builder
//! ```
//!
//! A disk that fails costs the history and nothing else: it is said, and the app is served all the same. Writing is done
//! by a thread, because a disk may take its time. What was written is announced by the same thread: a command that was
//! told how its push ended can rely on finding that in the history.

use core::time::Duration;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, Flock, FlockArg, OFlag, openat, renameat};
use nix::sys::stat::{Mode, SFlag, fstat, fstatat, mkdirat};
use nix::unistd::{UnlinkatFlags, geteuid, unlinkat};
use tokio::sync::mpsc::UnboundedSender;
use wasmcluster_core::cluster::Notice;
use wasmcluster_core::control::{AppName, FromSupervisor};
use wasmcluster_core::history::{Entry, History};
use wasmcluster_core::message::component_file;
use wasmcluster_core::record::{Record, Stamp};

use crate::control::Answers;
use crate::directory::{self, DIRECTORY, Distrust, judge, through};
use crate::signals::spared;

const FILE: &str = "history.json";

const NEW: &str = "history.new";

const COMPONENTS: &str = "components";

/// Far more than any history takes. Whatever is larger is none of ours.
const LARGEST: u64 = 16 << 20;

/// How long the end of everything waits for the disk.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A last answer, and who waits for it.
pub(crate) type LastAnswer = (Answers, FromSupervisor);

/// Where histories are, and how long they get.
#[derive(Clone, Debug)]
pub struct Memory {
    /// The directory of all apps' histories. None where there is no place for it.
    pub directory: Option<PathBuf>,
    /// How many generations are remembered.
    pub generations: usize,
}

/// The history of this app.
#[derive(Debug)]
pub(crate) struct Chronicle {
    history: History,
    /// None where nothing is kept.
    place: Option<Place>,
    /// None until the thread is started, and where nothing is kept.
    writer: Option<Writer>,
}

/// The app's directory. Whoever has the lock on it is the only one that writes, and the only one that may remove it.
#[derive(Debug)]
struct Place {
    /// Where it is.
    parent: OwnedFd,
    /// What it is called there.
    name: AppName,
    directory: Flock<OwnedFd>,
    components: Arc<OwnedFd>,
}

#[derive(Debug)]
struct Writer {
    jobs: Sender<Job>,
    finished: Receiver<()>,
}

/// Something for the thread to do, all of it in this order.
#[derive(Debug, Default)]
struct Job {
    /// The history to be written.
    text: Option<Vec<u8>>,
    /// Components that nothing stands for any more.
    forgotten: Vec<String>,
    /// To be said then.
    answers: Vec<LastAnswer>,
}

/// Why the history is not what it should be.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("this user has no home directory to keep a history in")]
    Nowhere,
    #[error("the state directory `{}` cannot be used: {distrust}", .path.display())]
    Place { path: PathBuf, distrust: Distrust },
    #[error("the history in `{}` belongs to another app of the same name that is running", .0.display())]
    Taken(PathBuf),
    #[error("the history in `{}` cannot be read: {reason}", .path.display())]
    Unreadable { path: PathBuf, reason: String, moved: Option<String> },
}

impl Trouble {
    fn hint(&self) -> String {
        match self {
            Self::Nowhere | Self::Place { .. } => {
                "without one nothing is remembered; choose one of this user's own with `--state-dir`".into()
            }
            Self::Taken(_) => "choose another name with `--name`, or another place with `--state-dir`".into(),
            Self::Unreadable { moved: Some(name), .. } => {
                format!("it begins anew; what was there is now called `{name}`")
            }
            Self::Unreadable { moved: None, .. } => "it begins anew".into(),
        }
    }

    fn record(&self) -> Record {
        Record::HistoryFailed { message: self.to_string(), hint: Some(self.hint()) }
    }
}

/// Why the component of a generation is not to be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotKept {
    /// Nothing is kept at all.
    #[error("components are not kept: there is no state directory that can be used")]
    Nothing,
    /// This one is not there.
    #[error("the component of generation {generation} is gone: {source}")]
    Gone {
        /// Whose it was.
        generation: wasmcluster_core::cluster::Generation,
        /// Why.
        source: io::Error,
    },
}

impl Chronicle {
    /// Reads what the supervisors before this one wrote. What is wrong with it goes to `records`.
    ///
    /// `known` is the history that the program before this one leaves to us, which may have had no disk.
    pub(crate) fn open(
        memory: &Memory,
        name: &AppName,
        known: Option<Vec<Entry>>,
        records: &mut impl FnMut(Record),
    ) -> Self {
        let directory = memory.directory.as_deref().ok_or(Trouble::Nowhere);
        let place = directory.and_then(|parent| Ok((parent, Place::open(parent, name)?)));
        let (place, entries) = match place {
            Ok((parent, place)) => {
                let entries = match &known {
                    Some(_) => Ok(Vec::new()),
                    None => place.read(&parent.join(name.as_str())),
                };
                let entries = entries.unwrap_or_else(|trouble| {
                    records(trouble.record());
                    Vec::new()
                });
                (Some(place), entries)
            }
            Err(trouble) => {
                records(trouble.record());
                (None, Vec::new())
            }
        };
        let history = match known {
            // It may only be shown to us: nothing is removed.
            Some(known) => History::go_on(known, memory.generations),
            None => {
                if let Some(place) = &place {
                    place.tidy(&entries);
                }
                History::resume(entries, memory.generations)
            }
        };
        Self { history, place, writer: None }
    }

    /// Begins to write. What goes wrong with that goes to `says`.
    pub(crate) fn start(&mut self, says: UnboundedSender<Record>) {
        self.writer = self.place.as_ref().and_then(|place| Writer::start(place, says).ok());
    }

    pub(crate) fn history(&self) -> &History {
        &self.history
    }

    /// Where the builder keeps components.
    pub(crate) fn components(&self) -> Option<Arc<OwnedFd>> {
        Some(Arc::clone(&self.place.as_ref()?.components))
    }

    /// The component of a generation that is remembered.
    pub(crate) fn component(&self, entry: &Entry) -> Result<OwnedFd, NotKept> {
        let Place { components, .. } = self.place.as_ref().ok_or(NotKept::Nothing)?;
        open_file(components, &component_file(&entry.digest))
            .map(OwnedFd::from)
            .map_err(|source| NotKept::Gone { generation: entry.generation, source })
    }

    /// Remembers a generation.
    pub(crate) fn begin(&mut self, entry: Entry) {
        let forgotten = self.history.begin(entry);
        self.write(forgotten);
    }

    /// Takes note of what happened.
    pub(crate) fn note(&mut self, notice: &Notice) {
        if self.history.note(notice) {
            self.write(Vec::new());
        }
    }

    /// Says these once everything up to now is on the disk.
    pub(crate) fn then_say(&self, answers: Vec<LastAnswer>) {
        if !answers.is_empty() {
            self.have_done(Job { answers, ..Job::default() });
        }
    }

    /// Leaves no directory of an app that never began.
    pub(crate) fn abandon(self) {
        if let Some(place) = &self.place
            && self.history.entries().is_empty()
        {
            place.remove();
        }
    }

    /// Waits until everything is written, within reason.
    pub(crate) fn close(&mut self) {
        if let Some(Writer { jobs, finished }) = self.writer.take() {
            drop(jobs);
            let _ = finished.recv_timeout(LAST_WORDS);
        }
    }

    fn write(&self, forgotten: Vec<String>) {
        // Plain data with string keys: it does not fail.
        let text = serde_json::to_vec(self.history.entries()).ok();
        self.have_done(Job { text, forgotten, answers: Vec::new() });
    }

    fn have_done(&self, job: Job) {
        let left = match &self.writer {
            Some(writer) => writer.jobs.send(job).err().map(|unsent| unsent.0),
            None => Some(job),
        };
        left.into_iter().flat_map(|job| job.answers).for_each(say);
    }
}

fn say((answers, last): LastAnswer) {
    answers.end(last);
}

impl Place {
    fn open(parent: &Path, name: &AppName) -> Result<Self, Trouble> {
        let trouble = |path: &Path, distrust| Trouble::Place { path: path.to_owned(), distrust };
        directory::create(parent).map_err(|error| trouble(parent, Distrust::Unusable(error)))?;
        let state = directory::open_ours(parent).map_err(|distrust| trouble(parent, distrust))?;
        let path = parent.join(name.as_str());
        let directory = loop {
            let directory =
                subdirectory(&state, name.as_str()).map_err(|distrust| trouble(&path, distrust))?;
            let directory = match Flock::lock(directory, FlockArg::LockExclusiveNonblock) {
                Ok(directory) => directory,
                Err((_, Errno::EWOULDBLOCK)) => return Err(Trouble::Taken(path)),
                Err((_, errno)) => return Err(trouble(&path, errno.into())),
            };
            // Whoever had the lock before us may have removed what we have opened.
            if is_called(&*directory, &state, name.as_str()).map_err(|errno| trouble(&path, errno.into()))? {
                break directory;
            }
        };
        let components = subdirectory(directory.as_fd(), COMPONENTS);
        let components = components.map_err(|distrust| trouble(&path.join(COMPONENTS), distrust))?;
        Ok(Self { parent: state, name: name.clone(), directory, components: Arc::new(components) })
    }

    /// Removes the directory. Where there is anything in it but components, it stays.
    fn remove(&self) {
        self.tidy(&[]);
        let directory = self.directory.as_fd();
        if unlinkat(directory, COMPONENTS, UnlinkatFlags::RemoveDir).is_ok() {
            let _ = unlinkat(&self.parent, self.name.as_str(), UnlinkatFlags::RemoveDir);
        }
    }

    /// What is written there. What cannot be read is put aside, so that nothing is written over it.
    fn read(&self, path: &Path) -> Result<Vec<Entry>, Trouble> {
        let read = || -> io::Result<Vec<Entry>> {
            let mut text = Vec::new();
            open_file(self.directory.as_fd(), FILE)?.take(LARGEST).read_to_end(&mut text)?;
            Ok(serde_json::from_slice(&text)?)
        };
        match read() {
            Ok(entries) => Ok(entries),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => {
                let aside = format!("{FILE}.damaged-{}", now().0);
                let directory = self.directory.as_fd();
                let moved = renameat(directory, FILE, directory, aside.as_str()).is_ok().then_some(aside);
                Err(Trouble::Unreadable { path: path.join(FILE), reason: error.to_string(), moved })
            }
        }
    }

    /// Removes components that no entry stands for, and what a builder that was killed left half written.
    fn tidy(&self, entries: &[Entry]) {
        let known: BTreeSet<String> = entries.iter().map(|entry| component_file(&entry.digest)).collect();
        let found = fs::read_dir(through(&*self.components)).into_iter().flatten().flatten();
        for name in found.filter_map(|found| found.file_name().into_string().ok()) {
            if !known.contains(&name) {
                remove(&self.components, &name);
            }
        }
    }
}

impl Writer {
    fn start(place: &Place, says: UnboundedSender<Record>) -> io::Result<Self> {
        let directory = place.directory.as_fd().try_clone_to_owned()?;
        let components = Arc::clone(&place.components);
        let (jobs, received) = channel::<Job>();
        let (finish, finished) = channel();
        let work = move || {
            let mut failed = false;
            for Job { text, forgotten, answers } in received {
                if let Some(text) = text {
                    let written = write(&directory, &text);
                    // Once is enough while it goes on.
                    if let Err(error) = &written
                        && !failed
                    {
                        let message = format!("failed to write the history down: {error}");
                        let hint = Some("it goes on in memory, and is written when there is room".into());
                        let _ = says.send(Record::HistoryFailed { message, hint });
                    }
                    failed = written.is_err();
                }
                forgotten.iter().for_each(|digest| remove(&components, &component_file(digest)));
                answers.into_iter().for_each(say);
            }
            let _ = finish.send(());
        };
        spared(|| thread::Builder::new().name("history".into()).stack_size(128 << 10).spawn(work))?;
        Ok(Self { jobs, finished })
    }
}

/// Writes under another name, so that at any time there is a whole one.
fn write(directory: &OwnedFd, text: &[u8]) -> io::Result<()> {
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_TRUNC | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mut file = File::from(openat(directory, NEW, flags, Mode::S_IRUSR | Mode::S_IWUSR)?);
    file.write_all(text)?;
    file.sync_data()?;
    renameat(directory, NEW, directory, FILE)?;
    nix::unistd::fsync(directory)?;
    Ok(())
}

/// Opens a file that only we could have written, for reading.
fn open_file(directory: impl AsFd, name: &str) -> io::Result<File> {
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
    let file = openat(directory, name, flags, Mode::empty())?;
    let stat = fstat(&file)?;
    let is_file = stat.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFREG.bits();
    if !is_file || stat.st_uid != geteuid().as_raw() || stat.st_mode & 0o022 != 0 {
        return Err(io::Error::other("it is no file of ours, or others could have written it"));
    }
    Ok(file.into())
}

/// Opens a directory in another one, creating it where it is missing.
fn subdirectory(parent: impl AsFd, name: &str) -> Result<OwnedFd, Distrust> {
    match mkdirat(&parent, name, Mode::S_IRWXU) {
        Ok(()) | Err(Errno::EEXIST) => {}
        Err(errno) => return Err(errno.into()),
    }
    let directory = openat(&parent, name, DIRECTORY, Mode::empty())?;
    judge(&directory)?;
    Ok(directory)
}

/// Whether an open directory is still what its name leads to.
fn is_called(directory: impl AsFd, parent: impl AsFd, name: &str) -> Result<bool, Errno> {
    let opened = fstat(directory)?;
    match fstatat(parent, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(named) => Ok((named.st_dev, named.st_ino) == (opened.st_dev, opened.st_ino)),
        Err(Errno::ENOENT) => Ok(false),
        Err(errno) => Err(errno),
    }
}

fn remove(directory: &OwnedFd, name: &str) {
    // It may be gone already, or not be ours to remove: either way there is nothing better to do.
    let _ = unlinkat(directory, name, UnlinkatFlags::NoRemoveDir);
}

/// What the calendar says.
pub(crate) fn now() -> Stamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Stamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

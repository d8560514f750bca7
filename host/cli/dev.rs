//! `--dev`: what is served is built anew whenever its sources change.
//!
//! That is nobody's business but ours: a thread looks at the sources again and again and runs the project's command, and the
//! supervisor only sees that the component's file is another one. When the configuration has changed it gets the signal that
//! anybody may send it. The thread ends with the program that started it. One that
//! goes on in its place (`wasmcluster upgrade`) starts its own, and finds by the times of the files whether there is something
//! to build.

mod build;
mod sources;

use core::convert::Infallible;
use core::time::Duration;
use std::collections::BTreeMap;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::thread::{Builder, JoinHandle};
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::Serialize;
use wasmcluster_core::record::Stream;
use wasmcluster_supervisor::{HeldBack, spared};

use self::build::Build;
use self::sources::{Contents, Seen, Sources};
use super::args::ServeArgs;
use super::render::Colours;
use super::writer::{Line, Lines};

/// How often the sources are looked at.
const INTERVAL: Duration = Duration::from_millis(300);

/// How long they must have stayed the same. Editors write several files, and some of them twice.
const SETTLED: Duration = Duration::from_millis(60);

/// How soon the end of a build is noticed, or the wish to stop.
const TICK: Duration = Duration::from_millis(20);

/// How long a build may go on after a change, once one was killed for that. It is for those whose own changes were the reason:
/// they would never come to an end.
const GRACE: Duration = Duration::from_secs(5);

/// In how many builds one after the other a file is another one each time that is theirs and no source. Somebody who writes
/// while it is built must not be taken for a build: what he wrote last would not be built.
const USUAL: u32 = 5;

/// What there is to say about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "record", rename_all = "snake_case")]
pub(crate) enum Told {
    /// A build begins.
    Building {
        command: String,
        /// The file because of which it is not the first.
        changed: Option<String>,
    },
    /// A line that it writes.
    #[serde(rename = "build_output")]
    Output { stream: Stream, text: String, unfinished: bool },
    /// It made something.
    Built {
        #[serde(rename = "took_ms", serialize_with = "millis")]
        took: Duration,
    },
    /// What is read beside the component has changed.
    Rereading { changed: String },
    /// It made nothing, and nothing changes.
    BuildFailed { message: String, hint: String },
    /// Something to know.
    #[serde(rename = "dev_warning")]
    Warning { message: String, hint: String },
}

fn millis<S: serde::Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

/// What is built, by which command, and from what.
#[derive(Clone, Debug)]
pub(crate) struct Project {
    /// `None` where somebody else builds.
    command: Option<String>,
    directory: PathBuf,
    component: PathBuf,
    /// What the program reads itself.
    settings: Vec<PathBuf>,
    /// Whether colours of what it writes are shown.
    colourful: bool,
}

impl Project {
    /// The one of these arguments, if it is being written.
    pub(crate) fn of(args: &ServeArgs) -> Option<Self> {
        let component = args.component.clone().filter(|_| args.dev)?;
        let beside = args.config.as_deref().and_then(Path::parent);
        let directory = beside.filter(|directory| !directory.as_os_str().is_empty());
        let env_files = args.env_file.iter().map(|file| &file.path);
        Some(Self {
            command: args.build.clone(),
            directory: directory.unwrap_or(Path::new(".")).to_owned(),
            component,
            colourful: !args.json && Colours::of(io::stderr().is_terminal()) == Colours::Colourful,
            settings: args.config.iter().chain(env_files).cloned().collect(),
        })
    }
}

/// The thread that looks and builds. Dropping this ends it, and the build under way.
#[derive(Debug)]
pub(crate) struct Dev {
    stop: Sender<()>,
    ready: Receiver<()>,
    serving: Arc<AtomicBool>,
    builds: bool,
    thread: Option<JoinHandle<()>>,
}

/// Why a wait is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waited {
    /// There is something to serve.
    Ready,
    /// Nobody wants it any more.
    Stopped,
}

impl Dev {
    /// Builds from now on. `serving` says whether something is served already.
    pub(crate) fn start(project: Project, lines: Lines, serving: bool) -> io::Result<Self> {
        let (stop, stopped) = channel();
        // Several versions that nobody has waited for are one.
        let (tell_ready, ready) = sync_channel(1);
        let serving = Arc::new(AtomicBool::new(serving));
        let builds = project.command.is_some();
        let shared = Arc::clone(&serving);
        let thread = spared(|| {
            Builder::new().name("dev".into()).spawn(move || {
                let sources = Sources::new(&project.directory, &project.component, &project.settings);
                let settings = sources.look_at_settings();
                let developing = Developing {
                    project,
                    sources,
                    lines,
                    stopped,
                    ready: tell_ready,
                    serving: shared,
                    seen: Seen::new(),
                    settings,
                    unreadable: None,
                    has_built: false,
                    grace: Duration::ZERO,
                    restless: BTreeMap::new(),
                };
                let Err(Stop) = developing.run();
            })
        })?;
        Ok(Self { stop, ready, serving, builds, thread: Some(thread) })
    }

    /// Whether something better may come of what cannot be served.
    pub(crate) fn builds(&self) -> bool {
        self.builds
    }

    /// Waits until there is something to serve that was not there before.
    pub(crate) fn wait(&self, signals: &HeldBack) -> Waited {
        loop {
            match self.ready.recv_timeout(TICK) {
                _ if signals.ask_to_stop() => return Waited::Stopped,
                Ok(()) => return Waited::Ready,
                Err(RecvTimeoutError::Timeout) => {}
                // The thread is gone, which it has no reason for: whatever there is can be tried.
                Err(RecvTimeoutError::Disconnected) => return Waited::Ready,
            }
        }
    }

    /// Builds no more, and ends the build under way. Waits for nothing.
    pub(crate) fn stop(&self) {
        // It may have ended already.
        let _ = self.stop.send(());
    }

    /// Notes whether something is served.
    pub(crate) fn serves(&self, serving: bool) {
        self.serving.store(serving, Ordering::Relaxed);
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        self.stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What the thread has.
struct Developing {
    project: Project,
    sources: Sources,
    lines: Lines,
    stopped: Receiver<()>,
    ready: SyncSender<()>,
    serving: Arc<AtomicBool>,
    /// The sources at the last look.
    seen: Seen,
    /// What the program reads itself, when it was told to the last time.
    settings: Seen,
    /// What of them cannot be read, as it was said.
    unreadable: Option<String>,
    /// Whether a build came to a good end.
    has_built: bool,
    /// How long the next build may go on after a change.
    grace: Duration,
    /// What changes while something is built.
    restless: BTreeMap<PathBuf, Restless>,
}

/// A file that changed in the last build.
struct Restless {
    /// In how many builds it became another one.
    builds: u32,
    /// What was in it after the last.
    contents: Option<Contents>,
}

/// The thread is to end.
struct Stop;

impl Developing {
    fn run(mut self) -> Result<Infallible, Stop> {
        let command = self.project.command.clone();
        if let Some(command) = &command {
            self.seen = self.look();
            if self.sources.are_newer(&self.seen) {
                self.build_until_done(command, None)?;
            }
            // What could not be built anew is served as it is.
            if !self.has_built && self.sources.has_component() {
                let _ = self.ready.try_send(());
            }
        }
        loop {
            self.pause(INTERVAL)?;
            self.follow_settings()?;
            let Some(command) = &command else { continue };
            let changed = self.change()?;
            if changed.is_some() {
                self.build_until_done(command, changed)?;
            }
        }
    }

    fn pause(&self, time: Duration) -> Result<(), Stop> {
        match self.stopped.recv_timeout(time) {
            Err(RecvTimeoutError::Timeout) => Ok(()),
            Ok(_) | Err(RecvTimeoutError::Disconnected) => Err(Stop),
        }
    }

    fn tell(&self, told: Told) {
        self.lines.write(Line::Dev(told));
    }

    fn look(&mut self) -> Seen {
        let (seen, unreadable) = self.sources.look();
        if unreadable != self.unreadable {
            if let Some(message) = unreadable.clone() {
                let hint =
                    "what changes there is not seen; list it in `.gitignore` if it is no source".into();
                self.tell(Told::Warning { message, hint });
            }
            self.unreadable = unreadable;
        }
        seen
    }

    /// Has the configuration read again when it has changed. As long as nothing is served there is nobody to read it.
    fn follow_settings(&mut self) -> Result<(), Stop> {
        let now = self.sources.look_at_settings();
        let Some(changed) = sources::changes(&self.settings, &now).next().map(Path::to_owned) else {
            return Ok(());
        };
        if !self.serving.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.settings = self.settled(now, |it| it.sources.look_at_settings())?;
        self.tell(Told::Rereading { changed: changed.display().to_string() });
        // As whoever changes it would have to otherwise. No signal can be missing, and no process but this one is meant.
        let _ = kill(Pid::this(), Signal::SIGHUP);
        Ok(())
    }

    /// A source that has changed since the last look, once all of them have stayed as they are for a moment.
    fn change(&mut self) -> Result<Option<PathBuf>, Stop> {
        let now = self.look();
        let Some(changed) = sources::changes(&self.seen, &now).next().map(Path::to_owned) else {
            return Ok(None);
        };
        self.seen = self.settled(now, Self::look)?;
        Ok(Some(changed))
    }

    /// What there is to see, once it has stayed as it is for a moment.
    fn settled(&mut self, mut now: Seen, look: impl Fn(&mut Self) -> Seen) -> Result<Seen, Stop> {
        loop {
            self.pause(SETTLED)?;
            let before = std::mem::replace(&mut now, look(self));
            if now == before {
                return Ok(now);
            }
        }
    }

    /// Builds, and again where something has changed meanwhile.
    fn build_until_done(&mut self, command: &str, mut changed: Option<PathBuf>) -> Result<(), Stop> {
        loop {
            changed = self.build(command, changed)?;
            if changed.is_none() {
                return Ok(());
            }
        }
    }

    /// Builds once. Returns the change because of which that was not enough.
    fn build(&mut self, command: &str, changed: Option<PathBuf>) -> Result<Option<PathBuf>, Stop> {
        let changed = changed.map(|changed| changed.display().to_string());
        self.tell(Told::Building { command: command.to_owned(), changed });
        let build = match Build::start(command, &self.project, &self.lines) {
            Ok(build) => build,
            Err(error) => {
                self.failed(format!("the build could not be started: {error}"));
                return Ok(None);
            }
        };
        let (mut looked, mut first_change) = (Instant::now(), None);
        while !build.has_ended() {
            self.pause(TICK)?;
            if looked.elapsed() < INTERVAL {
                continue;
            }
            let now = self.look();
            looked = Instant::now();
            let Some(changed) = self.reasons(&now).next().map(Path::to_owned) else { continue };
            if first_change.get_or_insert(looked).elapsed() < self.grace {
                continue;
            }
            drop(build);
            self.grace = (self.grace * 2).max(GRACE);
            self.change()?;
            return Ok(Some(changed));
        }
        self.grace = Duration::ZERO;
        match build.finish() {
            Ok(took) if self.sources.has_component() => {
                self.tell(Told::Built { took });
                self.has_built = true;
                let _ = self.ready.try_send(());
            }
            Ok(_) => self.failed(format!("the build made no `{}`", self.project.component.display())),
            Err(status) => self.failed(format!("the build failed ({status})")),
        }
        self.changed_meanwhile()
    }

    fn failed(&self, message: String) {
        let what = match self.serving.load(Ordering::Relaxed) {
            true => "the old version is still served",
            false if self.sources.has_component() => "the old version is served",
            false => "nothing is served yet",
        };
        self.tell(Told::BuildFailed { message, hint: format!("{what}; the next change is built again") });
    }

    /// What has changed since the last look, but for what is known to be made by builds.
    fn reasons<'a>(&'a self, now: &'a Seen) -> impl Iterator<Item = &'a Path> {
        let is_made = |file: &Path| {
            let restless = self.restless.get(file);
            restless.is_some_and(|it| it.builds >= USUAL || it.contents == self.sources.contents(file))
        };
        sources::changes(&self.seen, now).filter(move |file| !is_made(file))
    }

    /// A source that has changed in a build that has come to its end. Who changed it cannot be seen: so it is built once more,
    /// unless it is as the build before has left it, or another one after each build.
    fn changed_meanwhile(&mut self) -> Result<Option<PathBuf>, Stop> {
        let mut now = self.look();
        if now != self.seen {
            now = self.settled(now, Self::look)?;
        }
        let changed: Vec<_> = sources::changes(&self.seen, &now).map(Path::to_owned).collect();
        self.seen = now;
        self.restless.retain(|file, it| it.builds >= USUAL || changed.contains(file));
        let mut reason = None;
        for file in changed {
            let contents = self.sources.contents(&file);
            let it = self.restless.entry(file.clone()).or_insert(Restless { builds: 0, contents: None });
            if it.builds > 0 && it.contents == contents {
                continue;
            }
            it.contents = contents;
            it.builds = it.builds.saturating_add(1);
            if it.builds < USUAL {
                reason = Some(file);
            } else if it.builds == USUAL {
                let message =
                    format!("`{}` changes with every build, which is no reason for another", file.display());
                let hint = "list it in `.gitignore` if it is no source".into();
                self.tell(Told::Warning { message, hint });
            }
        }
        Ok(reason)
    }
}

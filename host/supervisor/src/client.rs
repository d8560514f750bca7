//! The other end of the control socket: how a command finds an app that runs, and asks it something.

use core::time::Duration;
use std::io::{self, Read, Write};
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;

use wasmcluster_core::channel::Channel;
use wasmcluster_core::cluster::{Generation, SlotId};
use wasmcluster_core::control::{AppName, AppStatus, Change, FromSupervisor, ToSupervisor};
use wasmcluster_core::history::Entry;

use crate::channel::send_with;
use crate::rundir::{self, RunDir, RunDirError};

/// How long an answer that takes no time may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why a command has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Nothing runs here.
    #[error("no app is running")]
    NoneRunning,
    /// No app of this name runs here.
    #[error("no app with the name `{0}` is running")]
    NotRunning(AppName),
    /// It is not clear which one is meant.
    #[error("several apps are running: {}", .0.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "))]
    Several(Vec<AppName>),
    /// The place where apps are found is not to be trusted.
    #[error(transparent)]
    RunDir(#[from] RunDirError),
    /// Somebody listens and does not answer as a supervisor does.
    #[error("`{name}` does not answer: {reason}")]
    Unanswered {
        /// Who was asked.
        name: AppName,
        /// What came instead of an answer.
        reason: String,
    },
}

impl ControlError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::NoneRunning => {
                "`wasmcluster serve` starts one; one that was started with `--run-dir` is found with the same"
                    .into()
            }
            Self::NotRunning(_) => "`wasmcluster list` shows what is running".into(),
            Self::Several(_) => "say which one with `--app`".into(),
            Self::RunDir(error) => error.hint(),
            Self::Unanswered { .. } => {
                "it may be stopping, stopped by a debugger, or of another version of wasmcluster".into()
            }
        }
    }
}

/// An app that runs, and a connection to it for one request.
#[derive(Debug)]
pub struct App {
    name: AppName,
    /// Its supervisor; unknown across a pid namespace.
    pid: Option<i32>,
    stream: UnixStream,
    channel: Channel<ToSupervisor, FromSupervisor>,
}

impl App {
    /// All that run, in the order of their names.
    ///
    /// # Errors
    /// Fails when the run directory, or one in it, is not to be trusted.
    pub fn all(run_dir: &Path) -> Result<Vec<Self>, ControlError> {
        let Some(run_dir) = RunDir::open(run_dir)? else { return Ok(Vec::new()) };
        let mut running = Vec::new();
        for name in run_dir.names()? {
            running.extend(run_dir.connect(&name)?.map(|stream| Self::over(name, stream)));
        }
        Ok(running)
    }

    /// The one of this name, or without a name the only one that runs.
    ///
    /// # Errors
    /// Fails when there is none, or more than one to choose from.
    pub fn find(run_dir: &Path, name: Option<AppName>) -> Result<Self, ControlError> {
        if let Some(name) = name {
            let stream = RunDir::open(run_dir)?.map_or(Ok(None), |run_dir| run_dir.connect(&name))?;
            return stream
                .map(|stream| Self::over(name.clone(), stream))
                .ok_or(ControlError::NotRunning(name));
        }
        let mut running = Self::all(run_dir)?;
        match (running.pop(), running.is_empty()) {
            (None, _) => Err(ControlError::NoneRunning),
            (Some(only), true) => Ok(only),
            (Some(last), false) => {
                Err(ControlError::Several(running.into_iter().chain([last]).map(|app| app.name).collect()))
            }
        }
    }

    fn over(name: AppName, stream: UnixStream) -> Self {
        Self { name, pid: rundir::pid(&stream), stream, channel: Channel::new() }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &AppName {
        &self.name
    }

    /// Its supervisor's pid; unknown across a pid namespace.
    #[must_use]
    pub fn pid(&self) -> Option<i32> {
        self.pid
    }

    /// How it is.
    ///
    /// # Errors
    /// Fails when there is no answer in time.
    pub fn status(mut self) -> Result<AppStatus, ControlError> {
        match self.ask(&ToSupervisor::Status, None)? {
            FromSupervisor::Status(status) => Ok(*status),
            _ => Err(self.unexpected()),
        }
    }

    /// Has it stop. What is returned waits for its end; dropping that instead changes nothing about the stop.
    ///
    /// # Errors
    /// Fails when there is no answer in time.
    pub fn stop(mut self, fast: bool) -> Result<Stopping, ControlError> {
        match self.ask(&ToSupervisor::Stop { fast }, None)? {
            FromSupervisor::Stopping => Ok(Stopping(self)),
            _ => Err(self.unexpected()),
        }
    }

    /// The generations that it remembers, oldest first.
    ///
    /// # Errors
    /// Fails when there is no answer in time.
    pub fn history(mut self) -> Result<Vec<Entry>, ControlError> {
        match self.ask(&ToSupervisor::History, None)? {
            FromSupervisor::History(entries) => Ok(entries),
            _ => Err(self.unexpected()),
        }
    }

    /// Has it serve the component in a file, which is to be called `name`.
    ///
    /// # Errors
    /// Fails when there is no answer in time.
    pub fn push(self, name: String, file: BorrowedFd<'_>) -> Result<Following, ControlError> {
        self.follow(&ToSupervisor::Push { name }, Some(file))
    }

    /// Has it serve what its own component is now.
    ///
    /// # Errors
    /// Fails when there is no answer in time.
    pub fn reload(self) -> Result<Following, ControlError> {
        self.follow(&ToSupervisor::Reload, None)
    }

    /// Has it serve an older generation once more: the one before, where none is named.
    ///
    /// # Errors
    /// Fails when there is no answer in time.
    pub fn roll_back(self, to: Option<Generation>) -> Result<Following, ControlError> {
        self.follow(&ToSupervisor::Rollback { to }, None)
    }

    /// Has it have more slots, or fewer.
    ///
    /// # Errors
    /// Fails when there is no answer in time.
    pub fn scale(self, change: Change) -> Result<Following, ControlError> {
        self.follow(&ToSupervisor::Scale(change), None)
    }

    /// Has it have another worker in a slot.
    ///
    /// # Errors
    /// Fails when there is no answer in time.
    pub fn restart(self, slot: SlotId) -> Result<Following, ControlError> {
        self.follow(&ToSupervisor::Restart { slot }, None)
    }

    /// Has the program that is where its own was go on in its place.
    ///
    /// # Errors
    /// Fails when there is no answer in time.
    pub fn upgrade(self) -> Result<Following, ControlError> {
        self.follow(&ToSupervisor::Upgrade, None)
    }

    /// Its last records, and with `follow` those to come.
    ///
    /// # Errors
    /// Fails when there is no answer in time.
    pub fn logs(self, last: usize, follow: bool) -> Result<Following, ControlError> {
        self.follow(&ToSupervisor::Logs { last, follow }, None)
    }

    fn follow(
        mut self,
        request: &ToSupervisor,
        file: Option<BorrowedFd<'_>>,
    ) -> Result<Following, ControlError> {
        let first = Some(self.ask(request, file)?);
        Ok(Following { app: self, first })
    }

    /// Sends a request, and waits for its first answer.
    fn ask(
        &mut self,
        request: &ToSupervisor,
        file: Option<BorrowedFd<'_>>,
    ) -> Result<FromSupervisor, ControlError> {
        self.channel.send(request);
        let timed = self.stream.set_write_timeout(Some(PATIENCE));
        timed
            .and_then(|()| self.stream.set_read_timeout(Some(PATIENCE)))
            .map_err(|error| self.unanswered(error.to_string()))?;
        // Whoever turns us away closes before it has read this, which the next read says better than the failed write.
        let _ = self.send(file);
        self.channel.wrote(self.channel.outgoing().len());
        self.answer()?.ok_or_else(|| self.unanswered("it closed the connection"))
    }

    /// Writes what waits, with a file beside its first byte.
    fn send(&mut self, file: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let waiting = self.channel.outgoing();
        let written = match file {
            Some(file) => send_with(&self.stream, waiting, file)?,
            None => 0,
        };
        self.stream.write_all(&waiting[written..])
    }

    /// The next answer; none once the supervisor has closed the connection.
    fn answer(&mut self) -> Result<Option<FromSupervisor>, ControlError> {
        let mut bytes = [0; 4096];
        loop {
            match self.channel.receive() {
                Ok(Some(answer)) => return Ok(Some(answer)),
                Ok(None) => {}
                Err(error) => return Err(self.unanswered(error.to_string())),
            }
            match self.stream.read(&mut bytes) {
                Ok(0) => return Ok(None),
                Ok(read) => self.channel.read(&bytes[..read]),
                Err(error) => match error.kind() {
                    io::ErrorKind::Interrupted => {}
                    io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => return Ok(None),
                    io::ErrorKind::WouldBlock => {
                        return Err(self.unanswered(format!("nothing came within {} s", PATIENCE.as_secs())));
                    }
                    _ => return Err(self.unanswered(error.to_string())),
                },
            }
        }
    }

    fn unexpected(&self) -> ControlError {
        self.unanswered("it answered another question")
    }

    fn unanswered(&self, reason: impl Into<String>) -> ControlError {
        ControlError::Unanswered { name: self.name.clone(), reason: reason.into() }
    }
}

/// An app that was told to stop.
#[derive(Debug)]
pub struct Stopping(App);

impl Stopping {
    /// Waits until the supervisor has given back everything: its workers, its address and its name.
    ///
    /// # Errors
    /// Fails when the connection breaks in a way that leaves that open.
    pub fn wait(self) -> Result<(), ControlError> {
        let mut following = Following { app: self.0, first: None };
        while following.answer()?.is_some() {}
        Ok(())
    }
}

/// An app that has something to say from time to time. Dropping it changes nothing about what it does.
#[derive(Debug)]
pub struct Following {
    app: App,
    /// What it said at once.
    first: Option<FromSupervisor>,
}

impl Following {
    /// The app's name.
    #[must_use]
    pub fn name(&self) -> &AppName {
        self.app.name()
    }

    /// Waits for what it says next, however long that takes; none once it has nothing more to say.
    ///
    /// # Errors
    /// Fails when the connection breaks in a way that leaves that open.
    pub fn answer(&mut self) -> Result<Option<FromSupervisor>, ControlError> {
        if let Some(first) = self.first.take() {
            return Ok(Some(first));
        }
        let unlimited = self.app.stream.set_read_timeout(None);
        unlimited.map_err(|error| self.app.unanswered(error.to_string()))?;
        self.app.answer()
    }

    /// For one that had something to say and did not.
    #[must_use]
    pub fn broke_off(&self) -> ControlError {
        self.app.unanswered("it ended before it had said what became of this")
    }
}

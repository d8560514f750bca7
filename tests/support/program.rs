//! The program, from its arguments to its exit.

use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::geteuid;
use tempfile::TempDir;

use super::{Output, PATIENCE, descendants, eventually, running_in, shared_cache, signal};

/// The program that is tested: the one that was built with the tests, unless `WASMCLUSTER_TEST_PROGRAM` names another.
pub(crate) fn binary() -> &'static str {
    static BINARY: OnceLock<String> = OnceLock::new();
    BINARY.get_or_init(|| match std::env::var_os("WASMCLUSTER_TEST_PROGRAM") {
        // Programs run in directories of their own.
        Some(named) => fs::canonicalize(named).unwrap().into_os_string().into_string().unwrap(),
        None => env!("CARGO_BIN_EXE_wasmcluster").to_owned(),
    })
}

const RUN_DIR: &str = "WASMCLUSTER_RUN_DIR";

/// Where apps that run are found, within a run's place.
pub(super) const RUN: &str = "run";

/// One run of `wasmcluster` to be: a command line, and a place of its own to run in.
///
/// It sees none of our environment, and has a home directory, a working directory and a run directory that go away
/// with it: apps of different runs do not meet.
#[derive(Debug)]
pub(crate) struct Program {
    command: Command,
    place: TempDir,
}

/// `wasmcluster` with these arguments.
pub(crate) fn program<I: IntoIterator<Item = impl AsRef<OsStr>>>(args: I) -> Program {
    Program::new(Command::new(binary())).args(args)
}

impl Program {
    /// `wasmcluster` from a file of this run's own, which can be replaced: `bin/wasmcluster` in its place.
    pub(crate) fn installed() -> Self {
        let place = tempfile::tempdir().unwrap();
        let copy = place.path().join("bin/wasmcluster");
        fs::create_dir(place.path().join("bin")).unwrap();
        fs::hard_link(binary(), &copy).or_else(|_| fs::copy(binary(), &copy).map(drop)).unwrap();
        Self::within(Command::new(&copy), place)
    }

    /// Something that executes the program in the end, such as a shell which sets limits first.
    pub(crate) fn through(command: Command) -> Self {
        Self::new(command)
    }

    /// `wasmcluster` as the user of this number, or as ourselves where we have no right to be somebody else.
    pub(crate) fn as_user(user: u32) -> io::Result<Self> {
        if !geteuid().is_root() {
            return Ok(Self::new(Command::new(binary())));
        }
        // The binary, in a place that the user can reach.
        let place = tempfile::tempdir()?;
        fs::set_permissions(place.path(), Permissions::from_mode(0o755))?;
        let copy = place.path().join("wasmcluster");
        fs::hard_link(binary(), &copy).or_else(|_| fs::copy(binary(), &copy).map(drop))?;
        let mut command = Command::new(&copy);
        command.uid(user).gid(user);
        let program = Self::within(command, place);
        for directory in [program.home(), program.work(), program.place.path().join(RUN)] {
            chown(directory, Some(user), Some(user))?;
        }
        Ok(program)
    }

    fn new(command: Command) -> Self {
        Self::within(command, tempfile::tempdir().unwrap())
    }

    fn within(mut command: Command, place: TempDir) -> Self {
        let (home, work) = (place.path().join("home"), place.path().join("work"));
        fs::create_dir(&home).unwrap();
        fs::create_dir(&work).unwrap();
        DirBuilder::new().mode(0o700).create(place.path().join(RUN)).unwrap();
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", &home).env("TMPDIR", place.path()).current_dir(&work);
        for (variable, directory) in [
            ("XDG_CACHE_HOME", ".cache"),
            ("XDG_CONFIG_HOME", ".config"),
            ("XDG_STATE_HOME", ".local/state"),
            ("XDG_DATA_HOME", ".local/share"),
            ("XDG_RUNTIME_DIR", ".run"),
        ] {
            command.env(variable, home.join(directory));
        }
        command.env("WASMCLUSTER_CACHE_DIR", shared_cache());
        command.env(RUN_DIR, place.path().join(RUN));
        Self { command, place }
    }

    pub(crate) fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    pub(crate) fn args<I: IntoIterator<Item = impl AsRef<OsStr>>>(mut self, args: I) -> Self {
        self.command.args(args);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Keeps compiled code where a user who says nothing has it, in this run's own home.
    pub(crate) fn own_cache(mut self) -> Self {
        self.command.env_remove("WASMCLUSTER_CACHE_DIR");
        self
    }

    /// Finds and keeps apps that run in this directory rather than in one of its own.
    pub(crate) fn run_dir(self, directory: impl AsRef<Path>) -> Self {
        self.env(RUN_DIR, directory.as_ref())
    }

    /// Finds and keeps apps that run where a user who says nothing has them.
    pub(crate) fn default_run_dir(mut self) -> Self {
        self.command.env_remove(RUN_DIR);
        self
    }

    /// Makes a directory in the working directory.
    pub(crate) fn directory(self, name: &str) -> Self {
        fs::create_dir(self.work().join(name)).unwrap();
        self
    }

    /// Writes a file into the working directory.
    pub(crate) fn file(self, name: &str, content: impl AsRef<[u8]>) -> Self {
        fs::write(self.work().join(name), content).unwrap();
        self
    }

    /// The working directory.
    pub(crate) fn work(&self) -> PathBuf {
        self.place.path().join("work")
    }

    /// The home directory.
    pub(crate) fn home(&self) -> PathBuf {
        self.place.path().join("home")
    }

    /// Runs it to its end, which must come by itself.
    #[track_caller]
    pub(crate) fn run(self) -> Finished {
        self.start().wait()
    }

    /// Starts it.
    #[track_caller]
    pub(crate) fn start(self) -> Running {
        let Self { mut command, place } = self;
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let line = shown(&command);
        end_with_this_thread(&mut command);
        let mut process = command.spawn().unwrap_or_else(|error| panic!("{line}: {error}"));
        let stdout = Output::of(process.stdout.take().unwrap());
        let stderr = Output::of(process.stderr.take().unwrap());
        Running { line, process: Some(process), stdout, stderr, place: Some(place) }
    }
}

/// Has the process killed when the test's thread ends, which is also when somebody kills the tests: then nothing is
/// dropped.
#[expect(unsafe_code, reason = "what a child does before it executes cannot be said otherwise")]
fn end_with_this_thread(command: &mut Command) {
    // SAFETY: between fork and exec only what is safe in a signal handler may be done. This is one system call, and no
    // memory is allocated.
    unsafe { command.pre_exec(|| Ok(set_pdeathsig(Signal::SIGKILL)?)) };
}

fn shown(command: &Command) -> String {
    let words = [command.get_program()].into_iter().chain(command.get_args()).map(OsStr::to_string_lossy);
    words.collect::<Vec<_>>().join(" ")
}

/// A run under way. Dropping it kills it, and everything it started.
#[derive(Debug)]
pub(crate) struct Running {
    line: String,
    /// None once it was waited for.
    process: Option<Child>,
    pub(crate) stdout: Output,
    pub(crate) stderr: Output,
    place: Option<TempDir>,
}

impl Running {
    pub(crate) fn pid(&self) -> u32 {
        self.process.as_ref().map(Child::id).expect("waited for only once")
    }

    /// Where it runs: `home` and `work` are within.
    pub(crate) fn place(&self) -> &Path {
        self.place.as_ref().map(TempDir::path).expect("given away only at the end")
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn wait(self) -> Finished {
        self.wait_within(PATIENCE)
    }

    /// Waits for its end, where the time is part of the promise.
    #[track_caller]
    pub(crate) fn wait_within(mut self, time: Duration) -> Finished {
        let deadline = Instant::now() + time;
        let mut process = self.process.take().expect("waited for only once");
        let status = loop {
            if let Some(status) = process.try_wait().unwrap() {
                break status;
            }
            if Instant::now() > deadline {
                self.process = Some(process);
                panic!("still running after {time:?}{}", self.explain());
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        let (stdout, stderr) = (self.stdout.finish(), self.stderr.finish());
        let place = self.place.take().expect("given away only here");
        Finished { line: self.line.clone(), status, stdout, stderr, place }
    }

    /// For messages: what was run, and what it wrote.
    pub(crate) fn explain(&self) -> String {
        explain(&self.line, "running", &self.stdout.text(), &self.stderr.text())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        if std::thread::panicking() {
            eprintln!("{}", self.explain());
        }
        let left = descendants(process.id());
        let _ = process.kill();
        let _ = process.wait();
        for pid in left {
            // It ends with its parent, and if it does not, that is another test's business.
            if super::alive(pid) {
                signal(pid, Signal::SIGKILL);
            }
        }
    }
}

/// A run that ended.
#[derive(Debug)]
pub(crate) struct Finished {
    line: String,
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    /// Where it ran, with what it left there.
    pub(crate) place: TempDir,
}

impl Finished {
    /// Fails unless it ended with this code.
    #[track_caller]
    pub(crate) fn expect_code(&self, code: i32) -> &Self {
        assert_eq!(self.status.code(), Some(code), "the exit code{}", self.explain());
        self
    }

    /// Fails unless stderr has `text` in it.
    #[track_caller]
    pub(crate) fn expect_stderr(&self, text: &str) -> &Self {
        assert!(self.stderr.contains(text), "no `{text}` on stderr{}", self.explain());
        self
    }

    /// Fails unless stdout has `text` in it.
    #[track_caller]
    pub(crate) fn expect_stdout(&self, text: &str) -> &Self {
        assert!(self.stdout.contains(text), "no `{text}` on stdout{}", self.explain());
        self
    }

    /// The lines of stderr, without those by which a slow machine says what it is doing.
    pub(crate) fn said(&self) -> impl Iterator<Item = &str> {
        let is_progress = |line: &&str| line.starts_with("compiling `") || line.starts_with("waiting for ");
        self.stderr.lines().filter(move |line| !is_progress(line))
    }

    /// Fails unless it said what was wrong in one line, what to do about it in another, and nothing else, with this
    /// exit code, and left nothing. Returns the two lines without `error: ` and `hint: `.
    #[track_caller]
    pub(crate) fn expect_refusal(&self, code: i32) -> (&str, &str) {
        self.expect_code(code);
        self.expect_nothing_left();
        assert_eq!(self.stdout, "", "on stdout{}", self.explain());
        let mut lines = self.said();
        let mut line = |kind| lines.next().and_then(|line| line.strip_prefix(kind));
        let (error, hint) = (line("error: "), line("hint: "));
        let (Some(error), Some(hint)) = (error, hint) else {
            panic!("not one line of `error: ` and one of `hint: `{}", self.explain());
        };
        assert_eq!(lines.next(), None, "more than an error and a hint{}", self.explain());
        (error, hint)
    }

    /// Fails if a process of it still runs, or if there is something in its home or run directory that is not kept on
    /// purpose.
    #[track_caller]
    pub(crate) fn expect_nothing_left(&self) {
        let left = running_in(self.place.path());
        assert!(left.is_empty(), "processes {left:?} are left{}", self.explain());
        let home = fs::read_dir(self.place.path().join("home")).unwrap();
        let kept = |name: &OsString| name == ".cache" || name == ".local";
        let files: Vec<_> =
            home.flatten().map(|entry| entry.file_name()).filter(|name| !kept(name)).collect();
        assert!(files.is_empty(), "{files:?} are left{}", self.explain());
        let apps: Vec<_> = fs::read_dir(self.place.path().join(RUN)).unwrap().flatten().collect();
        assert!(apps.is_empty(), "{apps:?} are left{}", self.explain());
        let state = fs::read_dir(self.place.path().join("home/.local/state/wasmcluster"));
        let remembered = state.into_iter().flatten().flatten().map(|app| app.path());
        let nothing: Vec<_> = remembered.filter(|app| !app.join("history.json").exists()).collect();
        assert!(nothing.is_empty(), "{nothing:?} are left with no history{}", self.explain());
    }

    /// Fails unless the command line was refused, with `text` in the first line.
    #[track_caller]
    pub(crate) fn expect_usage(&self, text: &str) -> &Self {
        self.expect_code(2);
        assert_eq!(self.stdout, "", "on stdout{}", self.explain());
        let first = self.stderr.lines().next().unwrap_or_default();
        assert!(
            first.starts_with("error: ") && first.contains(text),
            "not first: `{text}`{}",
            self.explain()
        );
        self
    }

    /// For messages: what was run, and what it wrote.
    pub(crate) fn explain(&self) -> String {
        explain(&self.line, &self.status.to_string(), &self.stdout, &self.stderr)
    }
}

fn explain(line: &str, state: &str, stdout: &str, stderr: &str) -> String {
    /// Of a guest that floods its log, the last lines are enough.
    fn tail(text: &str) -> &str {
        const MOST: usize = 16 << 10;
        let start = text.len().saturating_sub(MOST);
        &text[(start..).find(|&start| text.is_char_boundary(start)).unwrap_or(0)..]
    }
    format!("\n$ {line}\n({state})\n--- stdout\n{}\n--- stderr\n{}\n---", tail(stdout), tail(stderr))
}

/// Waits until nothing of `pids` runs.
#[track_caller]
pub(crate) fn expect_gone(pids: &[u32]) {
    eventually(&format!("no process of {pids:?} left"), || {
        pids.iter().all(|&pid| !super::alive(pid)).then_some(())
    });
}

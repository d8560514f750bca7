//! `wasmcluster serve`, from its start to its stop.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;

use super::program::{RUN, Running};
use super::{
    Finished, PATIENCE, Program, RawClient, Response, children, component, eventually, expect_gone, program,
    signal,
};

/// A server to be. Port 0 and two instances, unless told otherwise.
#[derive(Debug)]
pub(crate) struct Starting {
    program: Program,
    instances: Option<String>,
    addr: Option<String>,
}

impl Starting {
    fn new(program: Program) -> Self {
        Self { program, instances: Some("2".into()), addr: Some("127.0.0.1:0".into()) }
    }

    /// A command line that is complete as it is.
    pub(crate) fn of(program: Program) -> Self {
        Self { program, instances: None, addr: None }
    }

    pub(crate) fn instances(mut self, instances: impl ToString) -> Self {
        self.instances = Some(instances.to_string());
        self
    }

    /// Leaves `--instances` away.
    pub(crate) fn no_instances(mut self) -> Self {
        self.instances = None;
        self
    }

    /// The value of `--addr`.
    pub(crate) fn addr(mut self, addr: impl ToString) -> Self {
        self.addr = Some(addr.to_string());
        self
    }

    /// Leaves `--addr` away.
    pub(crate) fn no_addr(mut self) -> Self {
        self.addr = None;
        self
    }

    pub(crate) fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.program = self.program.arg(arg);
        self
    }

    pub(crate) fn args<I: IntoIterator<Item = impl AsRef<OsStr>>>(mut self, args: I) -> Self {
        self.program = self.program.args(args);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.program = self.program.env(name, value);
        self
    }

    /// Is found in this directory rather than in one of its own.
    pub(crate) fn run_dir(mut self, directory: impl AsRef<Path>) -> Self {
        self.program = self.program.run_dir(directory);
        self
    }

    /// Keeps compiled code in this server's own home.
    pub(crate) fn own_cache(mut self) -> Self {
        self.program = self.program.own_cache();
        self
    }

    /// Makes a directory in the server's working directory.
    pub(crate) fn directory(mut self, name: &str) -> Self {
        self.program = self.program.directory(name);
        self
    }

    /// Writes a file into the server's working directory.
    pub(crate) fn file(mut self, name: &str, content: impl AsRef<[u8]>) -> Self {
        self.program = self.program.file(name, content);
        self
    }

    /// The command line, complete.
    pub(crate) fn program(self) -> Program {
        let Self { mut program, instances, addr } = self;
        for (flag, value) in [("--instances", instances), ("--addr", addr)] {
            if let Some(value) = value {
                program = program.args([flag, &value]);
            }
        }
        program
    }

    /// Starts it and waits until all slots are ready.
    #[track_caller]
    pub(crate) fn start(self) -> Server {
        let running = self.program().start();
        let addr = running.stderr.wait_for(PATIENCE, bound);
        Server::started(running, addr)
    }

    /// [`start`](Self::start), of one that serves only after something was done. That gets what waits for a text on stderr.
    #[track_caller]
    pub(crate) fn start_after(self, act: impl FnOnce(&Running, &dyn Fn(&str))) -> Server {
        let running = self.program().start();
        act(&running, &|text| {
            let found = running.stderr.wait_for(PATIENCE, |stderr| stderr.contains(text).then_some(()));
            found.unwrap_or_else(|| panic!("no `{text}` on stderr{}", running.explain()));
        });
        let addr = running.stderr.wait_for(PATIENCE, bound);
        Server::started(running, addr)
    }

    /// [`start`](Self::start), for a terminal: there both streams are one.
    #[track_caller]
    pub(crate) fn start_on_stdout(self) -> Server {
        let running = self.program().start();
        let addr = running.stdout.wait_for(PATIENCE, bound);
        Server::started(running, addr)
    }
}

/// The address in the line that says that everything serves.
fn bound(stderr: &str) -> Option<SocketAddr> {
    stderr.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')).find_map(|line| {
        let text = match serde_json::from_str::<Value>(line) {
            Ok(record) if record["record"] == "serving" => record["addr"].as_str()?.to_owned(),
            _ => line.strip_prefix("Serving HTTP on http://")?.trim_end().strip_suffix('/')?.to_owned(),
        };
        text.parse().ok()
    })
}

/// A server whose slots are all ready. Dropping it kills it, and shows what it wrote if the test fails.
#[derive(Debug)]
pub(crate) struct Server {
    running: Running,
    pub(crate) addr: SocketAddr,
}

impl Server {
    /// One that serves a component of the repository, by its name.
    pub(crate) fn of(name: &str) -> Starting {
        Self::of_file(&component(name))
    }

    /// One that serves the component in a file.
    pub(crate) fn of_file(path: &Path) -> Starting {
        Starting::new(program(["serve"]).arg(path))
    }

    /// One that serves a component of the repository, and whose program can be replaced: `bin/wasmcluster` in its place.
    pub(crate) fn installed(name: &str) -> Starting {
        Self::installed_file(component(name))
    }

    /// The same with the component in a file.
    pub(crate) fn installed_file(path: impl AsRef<OsStr>) -> Starting {
        Starting::new(Program::installed().arg("serve").arg(path))
    }

    /// One that was given no file.
    pub(crate) fn demo() -> Starting {
        Starting::new(program(["serve"]))
    }

    #[track_caller]
    fn started(running: Running, addr: Option<SocketAddr>) -> Self {
        match addr {
            Some(addr) => Self { running, addr },
            None => panic!("it does not serve{}", running.explain()),
        }
    }

    /// Runs `check` on one worker with the zoo of 0.2, and on one with that of 0.3, each started with `args`.
    #[track_caller]
    pub(crate) fn of_both_zoos(args: &[&str], check: impl Fn(&Self)) {
        for zoo in ["zoo-p2", "zoo-p3"] {
            check(&Self::of(zoo).instances(1).args(args).start());
        }
    }

    /// The supervisor.
    pub(crate) fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// Where it runs: `home` and `work` are within.
    pub(crate) fn place(&self) -> &Path {
        self.running.place()
    }

    /// Where it is found by its name, unless it was told another place.
    pub(crate) fn run_dir(&self) -> PathBuf {
        self.place().join(RUN)
    }

    /// A command that finds this server.
    pub(crate) fn command<const N: usize>(&self, args: [&str; N]) -> Program {
        program(args).run_dir(self.run_dir())
    }

    /// The pids of its workers, in no order that means anything.
    pub(crate) fn workers(&self) -> Vec<u32> {
        children(self.pid())
    }

    /// The pid of its worker, where there is one.
    #[track_caller]
    pub(crate) fn worker(&self) -> u32 {
        let workers = self.workers();
        assert_eq!(workers.len(), 1, "workers{}", self.explain());
        workers[0]
    }

    /// Everything on stdout so far.
    pub(crate) fn stdout(&self) -> String {
        self.running.stdout.text()
    }

    /// Everything on stderr so far.
    pub(crate) fn stderr(&self) -> String {
        self.running.stderr.text()
    }

    /// Every line on stderr so far, and when it came.
    pub(crate) fn stderr_lines(&self) -> Vec<(Instant, String)> {
        self.running.stderr.lines()
    }

    /// How many lines are on stderr so far, without those by which a slow machine says what it is doing.
    pub(crate) fn said(&self) -> usize {
        let is_progress = |line: &&str| line.starts_with("compiling `") || line.starts_with("waiting for ");
        self.stderr().lines().filter(|line| !is_progress(line)).count()
    }

    /// Waits for a line on stderr that has `text` in it, and returns it.
    #[track_caller]
    pub(crate) fn wait_for_stderr(&self, text: &str) -> String {
        self.wait_for_stderr_within(PATIENCE, text)
    }

    /// [`wait_for_stderr`](Self::wait_for_stderr), for longer or shorter.
    #[track_caller]
    pub(crate) fn wait_for_stderr_within(&self, time: Duration, text: &str) -> String {
        let found = self.running.stderr.wait_for(time, |stderr| line_with(stderr, text));
        found.unwrap_or_else(|| panic!("no `{text}` on stderr{}", self.explain()))
    }

    /// Waits for a line on stdout that has `text` in it, and returns it.
    #[track_caller]
    pub(crate) fn wait_for_stdout(&self, text: &str) -> String {
        let found = self.running.stdout.wait_for(PATIENCE, |stdout| line_with(stdout, text));
        found.unwrap_or_else(|| panic!("no `{text}` on stdout{}", self.explain()))
    }

    /// A connection of its own.
    #[track_caller]
    pub(crate) fn connect(&self) -> RawClient {
        RawClient::connect(self.addr)
    }

    /// The answer to one GET over a connection of its own.
    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> Response {
        self.connect().get(path)
    }

    /// What the demo says about who answered.
    #[track_caller]
    pub(crate) fn who(&self) -> Value {
        let answer = self.get("/json");
        serde_json::from_str(answer.text())
            .unwrap_or_else(|error| panic!("{error}: {answer:?}{}", self.explain()))
    }

    /// Sends a signal to the supervisor.
    pub(crate) fn signal(&self, which: Signal) {
        signal(self.pid(), which);
    }

    /// Waits until it has as many workers as this, all of which serve, none of them in `without`.
    #[track_caller]
    pub(crate) fn wait_for_workers(&self, count: usize, without: &[u32]) -> Vec<u32> {
        eventually(&format!("{count} workers"), || {
            let workers = self.workers();
            (workers.len() == count && !workers.iter().any(|pid| without.contains(pid))).then_some(workers)
        })
    }

    /// Asks it to stop, and waits until it has: with code 0, and leaving no worker.
    #[track_caller]
    pub(crate) fn stop(self) -> Finished {
        let workers = self.workers();
        self.signal(Signal::SIGTERM);
        let finished = self.wait();
        finished.expect_code(0);
        expect_gone(&workers);
        finished
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn wait(self) -> Finished {
        self.running.wait()
    }

    /// Waits for its end, where the time is part of the promise.
    #[track_caller]
    pub(crate) fn wait_within(self, time: Duration) -> Finished {
        self.running.wait_within(time)
    }

    /// For messages: what was run, and what it wrote.
    pub(crate) fn explain(&self) -> String {
        self.running.explain()
    }
}

/// The first complete line with `text` in it.
fn line_with(output: &str, text: &str) -> Option<String> {
    let complete = &output[..=output.rfind('\n')?];
    complete.lines().find(|line| line.contains(text)).map(str::to_owned)
}

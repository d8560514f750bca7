//! Several pushes at a time, and builders that do not come to an end.

use std::fs::{self, File};

use nix::sys::signal::Signal::SIGKILL;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use serde_json::Value;

use super::{SUPERSEDED, json, of_hello, push};
use crate::support::{Finished, Server, alive, children, component, eventually, signal};

#[test]
fn the_last_push_wins_and_the_others_are_told() {
    let server = of_hello(2, "1h").start();
    let first = push(&server, "zoo-p2").start();
    server.wait_for_stderr("generation 2 serves its first requests");
    let second = push(&server, "hello-p3").args(["--json"]).start();
    let superseded = first.wait();
    superseded.expect_code(SUPERSEDED).expect_stderr("error: generation 2 was superseded: ");
    server.wait_for_stderr("generation 3 serves its first requests");
    server.command(["push", "--detach"]).arg(component("zoo-p3")).run().expect_code(0);
    let superseded = second.wait();
    superseded.expect_code(SUPERSEDED);
    let last: Value = serde_json::from_str(superseded.stdout.lines().last().unwrap()).unwrap();
    assert_eq!((&last["outcome"], &last["generation"]), (&"superseded".into(), &3.into()), "{last}");
}

#[test]
fn of_ten_pushes_at_once_one_wins() {
    let server = of_hello(2, "0s").start();
    let names = ["zoo-p2", "zoo-p3", "hello-p3", "example-hello", "example-hello-p3"];
    let pushes: Vec<_> = names.iter().chain(&names).map(|name| push(&server, name).start()).collect();
    let ended: Vec<Finished> = pushes.into_iter().map(|push| push.wait()).collect();
    let codes: Vec<_> = ended.iter().map(|push| push.status.code().unwrap()).collect();
    assert!(codes.iter().all(|code| [0, SUPERSEDED].contains(code)), "{codes:?}");
    // What the last one to win said is what is true.
    let status = json(server.command(["status", "--json"]));
    assert_eq!(status["cluster"]["rollout"], Value::Null);
    // A builder that nobody waits for any more takes a moment to go.
    server.wait_for_workers(2, &[]);
    let serving = format!("generation {} serves ", status["cluster"]["generation"]);
    assert!(ended.iter().any(|push| push.stdout.starts_with(&serving)), "{serving} {codes:?}");
    let history = json(server.command(["history", "--json"]));
    let fates: Vec<_> =
        history.as_array().unwrap().iter().map(|entry| entry["fate"].as_str().unwrap()).collect();
    assert_eq!(fates.iter().filter(|fate| **fate == "serving").count(), 1, "{fates:?}");
    assert!(!fates.contains(&"rolling"), "{fates:?}");
}

#[test]
fn a_push_during_a_build_takes_its_place() {
    let server = of_hello(1, "0s").start();
    let endless = Endless::new();
    let first = server.command(["push"]).arg(endless.path()).start();
    let _feeding = endless.feed();
    let builder = builder_of(&server);
    push(&server, "zoo-p2").run().expect_code(0).expect_stdout("generation 2 serves");
    let superseded = first.wait();
    superseded.expect_code(SUPERSEDED).expect_stderr("error: superseded before it was built: ");
    eventually("no builder is left", || (!alive(builder)).then_some(()));
}

#[test]
fn a_builder_that_is_killed_changes_nothing() {
    let server = of_hello(1, "0s").start();
    let worker = server.worker();
    let endless = Endless::new();
    let first = server.command(["push"]).arg(endless.path()).start();
    let _feeding = endless.feed();
    signal(builder_of(&server), SIGKILL);
    let failed = first.wait();
    failed.expect_code(1).expect_stderr("ended early: signal 9; generation 1 serves");
    assert_eq!(server.worker(), worker);
    push(&server, "zoo-p2").run().expect_code(0);
}

/// A file that never comes to its end, so that whoever builds it waits.
struct Endless(tempfile::TempDir);

impl Endless {
    fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        mkfifo(&place.path().join("endless.wasm"), Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
        Self(place)
    }

    fn path(&self) -> std::path::PathBuf {
        self.0.path().join("endless.wasm")
    }

    /// Waits for a reader, who then waits for this.
    fn feed(&self) -> File {
        File::options().write(true).open(self.path()).unwrap()
    }
}

/// The builder that works for a server.
#[track_caller]
fn builder_of(server: &Server) -> u32 {
    let is_builder = |pid: &u32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).any(|word| word == b"__builder")
    };
    eventually("a builder", || children(server.pid()).into_iter().find(is_builder))
}

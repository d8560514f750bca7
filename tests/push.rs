//! `wasmcluster push`, `reload` and what they have in common: another version in place of the one that serves, what is
//! said on the way, and how it ends.

use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use nix::sys::signal::Signal::{SIGHUP, SIGKILL, SIGSTOP, SIGTERM};
use nix::sys::stat::Mode;
use nix::unistd::{geteuid, mkfifo};
use serde_json::Value;

use crate::support::{
    Finished, Load, Network, Program, Server, Starting, alive, children, component, eventually, program,
    shared_cache, signal,
};

const NOBODY: u32 = 65534;

const REJECTED: i32 = 3;
const CACHE: i32 = 5;
const NOT_RUNNING: i32 = 9;
const GIVEN_UP: i32 = 10;
const SUPERSEDED: i32 = 11;

/// A push of a component of the repository.
fn push(server: &Server, name: &str) -> Program {
    server.command(["push"]).arg(component(name))
}

/// A push of a file with this content.
fn push_bytes(server: &Server, content: impl AsRef<[u8]>) -> Program {
    server.command(["push", "app.wasm"]).file("app.wasm", content)
}

fn of_hello(instances: usize, bake: &str) -> Starting {
    Server::of("hello-p2").instances(instances).args(["--bake", bake])
}

#[test]
fn a_push_replaces_every_worker_and_says_so_slot_by_slot() {
    let server = of_hello(3, "0s").start();
    let before = server.workers();
    let pushed = push(&server, "zoo-p2").run();
    pushed.expect_code(0);
    // What the command waited for, looked at before anything else is waited for.
    assert_eq!(server.get("/").text(), "hello from the zoo\n");
    let after = server.workers();
    assert_eq!(after.len(), 3);
    assert!(before.iter().all(|pid| !after.contains(pid)), "{before:?} {after:?}");
    assert!(pushed.stdout.starts_with("generation 2 serves in all 3 slots, after "), "{}", pushed.explain());
    assert_eq!(pushed.stdout.lines().count(), 1, "{}", pushed.explain());
    for slot in 0..3 {
        pushed.expect_stderr(&format!("slot {slot}: getting a worker of generation 2"));
        pushed.expect_stderr(&format!("slot {slot} (pid "));
    }
    pushed.expect_stderr("every slot serves generation 2");
    server.wait_for_stderr("zoo-p2.wasm` was pushed");
    let status = json(server.command(["status", "--json"]));
    assert_eq!(status["component"], component("zoo-p2").to_str().unwrap());
}

#[test]
fn a_push_to_one_worker_is_one_slot() {
    let server = of_hello(1, "0s").start();
    push(&server, "zoo-p3").run().expect_code(0).expect_stdout("generation 2 serves in its one slot, after ");
    assert_eq!(server.get("/").text(), "hello from the zoo\n");
}

#[test]
fn programs_read_each_step_and_the_outcome() {
    let server = of_hello(2, "0s").start();
    let pushed = push(&server, "zoo-p2").args(["--json"]).run();
    pushed.expect_code(0);
    assert_eq!(pushed.stderr, "");
    let lines: Vec<Value> = pushed.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (last, steps) = lines.split_last().unwrap();
    assert_eq!((&last["outcome"], &last["generation"]), (&"serving".into(), &2.into()), "{last}");
    assert_eq!(last["slots"], 2);
    assert!(last["took_ms"].is_u64() && last["time"].as_str().unwrap().ends_with('Z'), "{last}");
    let notices: Vec<_> = steps.iter().filter_map(|step| step["notice"].as_str()).collect();
    for notice in ["rollout_began", "slot_turning", "worker_ready", "rollout_done"] {
        assert!(notices.contains(&notice), "no {notice} in {notices:?}");
    }
    let refused = push_bytes(&server, "no component").args(["--json"]).run();
    refused.expect_code(REJECTED);
    let last: Value = serde_json::from_str(refused.stdout.lines().last().unwrap()).unwrap();
    assert_eq!((&last["outcome"], &last["fault"]), (&"refused".into(), &"component".into()), "{last}");
    assert_eq!(last["serving"], 2);
}

/// The file is read by whoever pushes it, wherever the app runs.
#[test]
fn the_file_is_the_one_that_the_command_sees() {
    let server = of_hello(1, "0s").start();
    push_bytes(&server, fs::read(component("zoo-p2")).unwrap()).run().expect_code(0);
    assert_eq!(server.get("/").text(), "hello from the zoo\n");
    let piped = program(["push", "/dev/stdin"]).run_dir(server.run_dir());
    let refused = piped.run();
    let (error, _) = refused.expect_refusal(REJECTED);
    assert_eq!(error, "`/dev/stdin` is not WebAssembly; generation 2 serves");
}

#[test]
fn a_worker_that_is_restarted_serves_what_was_pushed_and_a_reload_what_the_app_was_given() {
    let server = of_hello(1, "0s").start();
    push(&server, "zoo-p2").run().expect_code(0);
    let worker = server.worker();
    signal(worker, SIGKILL);
    server.wait_for_workers(1, &[worker]);
    assert_eq!(server.get("/").text(), "hello from the zoo\n");
    let reloaded = server.command(["reload"]).run();
    reloaded.expect_code(0).expect_stdout("generation 3 serves in its one slot, after ");
    assert_eq!(server.get("/").text(), "hello from wasm\n");
    push(&server, "zoo-p2").run().expect_code(0);
    server.signal(SIGHUP);
    server.wait_for_stderr("every slot serves generation 5");
    assert_eq!(server.get("/").text(), "hello from wasm\n");
}

#[test]
fn what_is_served_already_is_not_replaced() {
    let server = of_hello(2, "0s").start();
    let workers = server.workers();
    for times in 1..=2 {
        let pushed = push(&server, "hello-p2").run();
        pushed.expect_code(0);
        assert_eq!(pushed.stdout, "generation 1 serves this already; nothing was replaced\n", "{times}");
        assert_eq!(server.workers(), workers);
    }
    let outcome = json(push(&server, "hello-p2").args(["--json"]));
    assert_eq!((&outcome["outcome"], &outcome["generation"]), (&"unchanged".into(), &1.into()));
    // Who wants that all the same can say so.
    server.command(["reload"]).run().expect_code(0).expect_stdout("generation 2 serves in all 2 slots");
    assert!(server.workers().iter().all(|pid| !workers.contains(pid)));
}

#[test]
fn whatever_cannot_be_served_is_refused_and_the_old_version_goes_on() {
    let server = of_hello(2, "0s").start();
    let workers = server.workers();
    let whole = fs::read(component("zoo-p2")).unwrap();
    let text = |text: &str| wat::parse_str(text).unwrap();
    let is_compiled = |path: &std::path::PathBuf| path.extension().is_some_and(|kind| kind == "cwasm");
    let artifact =
        fs::read_dir(shared_cache()).unwrap().flatten().map(|entry| entry.path()).find(is_compiled);
    let import = r#"(component
        (import "acme:shop/prices@2.1.0" (instance))
        (instance $i)
        (export "wasi:http/incoming-handler@0.2.0" (instance $i)))"#;
    let unlike = r#"(component (instance $i) (export "wasi:http/handler@0.3.0" (instance $i)))"#;
    let bad: Vec<(Vec<u8>, &str)> = vec![
        (Vec::new(), "is not WebAssembly"),
        (b"#!/bin/sh".to_vec(), "is not WebAssembly"),
        (whole[..whole.len() / 2].to_vec(), "is damaged"),
        (text("(module (func (export \"handle\")))"), "is a core module"),
        (text("(component)"), "has no HTTP handler"),
        (text(import), "imports `acme:shop/prices@2.1.0`"),
        (text(unlike), "handle"),
        (fs::read(artifact.unwrap()).unwrap(), "is compiled code"),
    ];
    for (content, words) in bad {
        let refused = push_bytes(&server, content).run();
        let (error, hint) = refused.expect_refusal(REJECTED);
        assert!(error.starts_with("`app.wasm` ") && error.contains(words), "{error}");
        assert!(error.ends_with("; generation 1 serves") && !hint.is_empty(), "{error}");
    }
    assert_eq!(server.workers(), workers);
    assert_eq!(server.get("/").text(), "hello from wasm\n");
    push(&server, "zoo-p2").run().expect_code(0).expect_stdout("generation 2 ");
}

#[test]
fn a_file_that_is_none_never_reaches_the_app() {
    let server = of_hello(1, "0s").start();
    for (file, message) in
        [("missing.wasm", "there is no file `missing.wasm`"), (".", "`.` is a directory, not a component")]
    {
        let refused = server.command(["push", file]).run();
        assert_eq!(refused.expect_refusal(REJECTED).0, message);
    }
    match Program::as_user(NOBODY) {
        Ok(program) => {
            let program = program.args(["push", "app.wasm"]).file("app.wasm", "");
            fs::set_permissions(program.work().join("app.wasm"), Permissions::from_mode(0o000)).unwrap();
            let refused = program.run();
            assert!(refused.expect_refusal(REJECTED).0.starts_with("failed to open `app.wasm`: "));
        }
        Err(error) => eprintln!("skipped, in part: cannot run as another user: {error}"),
    }
    assert_eq!(server.stderr().lines().count(), 1, "{}", server.explain());
    server.command(["push"]).run().expect_code(2).expect_stderr("<FILE>");
}

#[test]
fn a_version_that_refuses_to_start_is_taken_back() {
    for refuses in ["refuses-p2", "refuses-p3"] {
        let server = of_hello(2, "0s").start();
        let workers = server.workers();
        let failed = push(&server, refuses).run();
        failed.expect_code(GIVEN_UP);
        let error = failed.stderr.lines().find(|line| line.starts_with("error: ")).unwrap_or_default();
        assert!(
            error.starts_with("error: generation 2 was given up: the component traps while starting")
                && error.ends_with("; generation 1 serves"),
            "{}",
            failed.explain()
        );
        assert_eq!(server.workers(), workers);
        assert_eq!(server.get("/").text(), "hello from wasm\n");
        let failed = push(&server, refuses).args(["--json"]).run();
        let last: Value = serde_json::from_str(failed.stdout.lines().last().unwrap()).unwrap();
        assert_eq!((&last["outcome"], &last["abort"]), (&"given_up".into(), &"refused".into()), "{last}");
        assert_eq!((&last["generation"], &last["serving"]), (&3.into(), &1.into()), "{last}");
    }
}

#[test]
fn a_canary_that_ends_takes_its_version_with_it() {
    let server = of_hello(2, "1h").start();
    let before = server.workers();
    let waiting = push(&server, "zoo-p2").start();
    server.wait_for_stderr("is watched for 1h");
    let canary = server.workers().into_iter().find(|pid| !before.contains(pid)).unwrap();
    signal(canary, SIGKILL);
    let failed = waiting.wait();
    failed.expect_code(GIVEN_UP);
    failed.expect_stderr(
        "error: generation 2 was given up: a worker ended with signal 9; generation 1 serves\n",
    );
    // Said when it is true.
    assert_eq!(server.get("/").text(), "hello from wasm\n");
    assert_eq!(server.get("/").text(), "hello from wasm\n");
}

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

#[test]
fn a_push_that_is_interrupted_goes_on() {
    let server = of_hello(2, "1h").start();
    let waiting = push(&server, "zoo-p2").start();
    server.wait_for_stderr("is watched for 1h");
    // Not SIGINT: what runs in the background of a script ignores that, tests and all.
    signal(waiting.pid(), SIGTERM);
    assert_eq!(waiting.wait().status.code(), None);
    let status = json(server.command(["status", "--json"]));
    assert_eq!(status["cluster"]["rollout"]["stage"], "baking", "{status}");
    server.command(["rollback"]).run().expect_code(0).expect_stdout("generation 1 serves in all 2 slots");
}

#[test]
fn a_command_that_hangs_holds_up_nobody() {
    let server = of_hello(2, "1h").start();
    let hanging: Vec<_> = (0..20)
        .map(|_| {
            let command = server.command(["logs", "--follow"]).start();
            command.stdout.wait_for(crate::support::PATIENCE, |text| text.contains("Serving").then_some(()));
            signal(command.pid(), SIGSTOP);
            command
        })
        .collect();
    server.command(["push", "--detach"]).arg(component("zoo-p2")).run().expect_code(0);
    server.wait_for_stderr("is watched for 1h");
    let stopped = server.command(["stop"]).run();
    stopped.expect_code(0);
    drop(hanging);
    server.wait().expect_code(0);
}

#[test]
fn a_push_that_does_not_wait_says_what_it_became() {
    let server = of_hello(2, "1h").start();
    let pushed = push(&server, "zoo-p2").args(["--detach"]).run();
    pushed.expect_code(0);
    assert_eq!(pushed.stdout, "generation 2 is rolled out in place of generation 1\n");
    let outcome = json(push(&server, "zoo-p3").args(["--detach", "--json"]));
    assert_eq!((&outcome["outcome"], &outcome["generation"]), (&"rolling".into(), &3.into()), "{outcome}");
    assert_eq!(outcome["from"], 1);
    // What is wrong with a component is found out before.
    push_bytes(&server, "").args(["--detach"]).run().expect_refusal(REJECTED);
    server.command(["reload", "--detach"]).run().expect_code(0).expect_stdout("generation 4 is rolled out");
}

#[test]
fn nothing_is_pushed_to_an_app_that_stops() {
    let server = Server::of("zoo-p2").args(["--kill-timeout", "1h", "--timeout", "none"]).start();
    let mut client = server.connect();
    client.send(b"GET /stream?chunks=1000000&ms=100 HTTP/1.1\r\nhost: test\r\n\r\n");
    assert_eq!(client.try_head().unwrap().status, 200);
    server.command(["stop", "--detach"]).run().expect_code(0);
    for command in [push(&server, "hello-p2"), server.command(["reload"])] {
        command.run().expect_code(1).expect_stderr("error: the app is stopping; generation 1 serves\n");
    }
    server.command(["stop", "--fast"]).run().expect_code(0);
    server.wait().expect_code(0);
}

#[test]
fn a_push_hears_of_the_end_of_the_app() {
    let server = of_hello(2, "1h").start();
    let waiting = push(&server, "zoo-p2").start();
    server.wait_for_stderr("is watched for 1h");
    server.command(["stop"]).run().expect_code(0);
    waiting
        .wait()
        .expect_code(GIVEN_UP)
        .expect_stderr("error: generation 2 was given up: everything stops\n");
    server.wait().expect_code(0);

    let server = of_hello(2, "1h").start();
    let waiting = push(&server, "zoo-p2").start();
    server.wait_for_stderr("is watched for 1h");
    signal(server.pid(), SIGKILL);
    waiting.wait().expect_code(1).expect_stderr("error: `hello-p2` does not answer: it ended before");
    for args in [&["push", "app.wasm"][..], &["reload"], &["rollback"], &["history"], &["logs"]] {
        let refused = program(args).file("app.wasm", "").run_dir(server.run_dir()).run();
        assert_eq!(refused.expect_refusal(NOT_RUNNING).0, "no app is running", "{args:?}");
    }
}

#[test]
fn a_cache_that_is_gone_refuses_the_push() {
    let server = of_hello(1, "0s").own_cache().start();
    let cache = server.place().join("home/.cache/wasmcluster");
    fs::remove_dir_all(&cache).unwrap();
    let refused = push(&server, "zoo-p2").run();
    let (error, hint) = refused.expect_refusal(CACHE);
    assert!(
        error.starts_with("the cache directory `") && error.ends_with("; generation 1 serves"),
        "{error}"
    );
    assert!(hint.contains("--cache-dir"), "{hint}");
    assert_eq!(server.get("/").text(), "hello from wasm\n");
}

#[test]
fn a_disk_that_is_full_refuses_the_push_and_costs_nothing_else() {
    let Some(server) = on_small_disk(["--cache-dir"]) else { return };
    let disk = Path::new("/proc").join(server.pid().to_string()).join("root/mnt");
    let fill = disk.join("fill");
    let mut file = File::create(&fill).unwrap();
    while file.write_all(&[0; 4096]).is_ok() {}
    let refused = push(&server, "zoo-p2").run();
    let (error, _) = refused.expect_refusal(CACHE);
    assert!(error.contains("No space left") && error.ends_with("; generation 1 serves"), "{error}");
    assert_eq!(server.get("/").text(), "hello from wasm\n");
    drop(file);
    fs::remove_file(fill).unwrap();
    push(&server, "zoo-p2").run().expect_code(0);
}

#[test]
fn a_disk_that_is_full_costs_the_history_and_nothing_else() {
    let Some(server) = on_small_disk(["--state-dir"]) else { return };
    let disk = Path::new("/proc").join(server.pid().to_string()).join("root/mnt");
    let fill = disk.join("fill");
    let mut file = File::create(&fill).unwrap();
    while file.write_all(&[0; 4096]).is_ok() {}
    push(&server, "zoo-p2").run().expect_code(0).expect_stdout("generation 2 serves");
    server.wait_for_stderr("zoo-p2.wasm`: No space left");
    server.wait_for_stderr("failed to write the history down: No space left");
    push(&server, "hello-p3").run().expect_code(0);
    let refused = server.command(["rollback", "2"]).run();
    assert!(refused.expect_refusal(REJECTED).0.starts_with("the component of generation 2 is gone: "));
    drop(file);
    fs::remove_file(fill).unwrap();
    push(&server, "zoo-p3").run().expect_code(0);
    server.command(["rollback", "4"]).run().expect_code(0).expect_stdout("generation 4 serves this already");
}

#[test]
fn nothing_is_lost_by_pushes_and_rollbacks() {
    Network::delayed(|network| {
        let server = of_hello(2, "0s").addr(network.server()).start();
        let addr = network.way_to(server.addr);
        let ours = |body: &[u8]| body.starts_with(b"hello from ").then(String::new);
        let loads = [Load::fresh(addr, 32), Load::h2c(addr, 4, 8)];
        let loads = loads.map(|load| load.rate(250).judge(ours).start());
        for name in ["zoo-p2", "hello-p3", "zoo-p3"] {
            push(&server, name).run().expect_code(0);
            server.command(["rollback"]).run().expect_code(0);
        }
        for load in loads {
            let so_far = load.answered();
            eventually("answers by the last one", || (load.answered() > so_far + 50).then_some(()));
            let outcome = load.stop();
            assert_eq!(outcome.lost(), 0, "{outcome}");
        }
    });
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

/// A server of one worker with a disk of its own in the place that a flag names. None, having said so, where we may not
/// mount one.
fn on_small_disk<const N: usize>(flags: [&str; N]) -> Option<Server> {
    let namespaces: &[&str] =
        if geteuid().is_root() { &["--mount"] } else { &["--user", "--map-root-user", "--mount"] };
    let mount = "mount -t tmpfs -o size=8m,mode=700 none /mnt";
    let tried = Command::new("unshare").args(namespaces).args(["sh", "-c", mount]).output();
    if !tried.is_ok_and(|tried| tried.status.success()) {
        eprintln!("skipped: a disk cannot be mounted here");
        return None;
    }
    let mut unshare = Command::new("unshare");
    unshare.args(namespaces).args(["sh", "-c", &format!("{mount} && exec \"$0\" \"$@\"")]);
    let program = Program::through(unshare).args([env!("CARGO_BIN_EXE_wasmcluster"), "serve"]);
    let program = program.arg(component("hello-p2")).args(flags.into_iter().flat_map(|flag| [flag, "/mnt"]));
    Some(Starting::of(program.args(["--addr", "127.0.0.1:0", "--instances", "1", "--bake", "0s"])).start())
}

/// The one value that a command says, having done what was asked.
#[track_caller]
fn json(command: Program) -> Value {
    let finished = command.run();
    finished.expect_code(0);
    let last = finished.stdout.lines().last().unwrap_or_default();
    serde_json::from_str(last).unwrap_or_else(|error| panic!("{error}{}", finished.explain()))
}

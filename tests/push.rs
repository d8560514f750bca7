//! `wasmcluster push`, `reload` and what they have in common: another version in place of the one that serves, what is
//! said on the way, and how it ends.

mod disk;
mod refused;
mod rivals;

use std::fs;

use nix::sys::signal::Signal::{SIGHUP, SIGKILL, SIGSTOP, SIGTERM};
use serde_json::Value;

use crate::support::{Load, Network, Program, Server, Starting, component, eventually, program, signal};

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

/// The one value that a command says, having done what was asked.
#[track_caller]
fn json(command: Program) -> Value {
    let finished = command.run();
    finished.expect_code(0);
    let last = finished.stdout.lines().last().unwrap_or_default();
    serde_json::from_str(last).unwrap_or_else(|error| panic!("{error}{}", finished.explain()))
}

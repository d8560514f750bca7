//! `wasmcluster stop`. Stopping by a signal is in `tests/stop.rs`.

use std::fs;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::{Apps, json};
use crate::support::{RawClient, Server, alive, eventually, listens, program, signal};

/// The answer to a stop that was not waited for, and to a first signal.
const STOPPING: &str = "stopping: requests in flight are finished first";

/// A request that does not end by itself.
const ENDLESS: &str = "/stream?chunks=1000000&ms=100";

#[test]
fn stop_waits_and_leaves_nothing() {
    let apps = Apps::new();
    let server = apps.start("shop", 2);
    let (addr, workers) = (server.addr, server.workers());
    let stopped = apps.command(["stop"]).run();
    // What the command waited for, looked at before anything else is waited for.
    assert!(!listens(addr), "the address is free");
    assert_eq!(fs::read_dir(apps.path()).unwrap().count(), 0, "the name is free");
    assert!(!workers.into_iter().any(alive), "no worker is left");
    stopped.expect_code(0);
    assert_eq!(stopped.stdout, format!("`shop` (pid {}) has stopped\n", server.pid()));
    assert_eq!(stopped.stderr, "");
    server.wait().expect_code(0).expect_stderr(STOPPING);
}

#[test]
fn stop_ends_an_app_that_has_no_worker_at_the_moment() {
    // Nothing is left to wait for, so the end comes with the answer.
    for flags in [&["stop"][..], &["stop", "--fast"]] {
        let server = Server::of("hello-p2").instances(1).start();
        eventually("a wait for the next restart", || {
            let waits =
                || json(server.command(["status", "--json"]))["cluster"]["slots"][0]["phase"] == "waiting";
            server.workers().into_iter().for_each(|worker| signal(worker, Signal::SIGKILL));
            waits().then_some(())
        });
        program(flags).run_dir(server.run_dir()).run().expect_code(0).expect_stdout("has stopped");
        server.wait().expect_code(0);
    }
}

#[test]
fn stop_finishes_what_is_in_flight() {
    let server = Server::of("zoo-p2").instances(1).start();
    let mut client = streaming(&server, "/stream?chunks=6&ms=100&size=1");
    let stopped = json(server.command(["stop", "--json"]));
    assert_eq!((&stopped["name"], &stopped["pid"]), (&"zoo-p2".into(), &server.pid().into()));
    assert_eq!(stopped["stopped"], true);
    let mut body = Vec::new();
    while let Some(chunk) = client.try_chunk().unwrap() {
        body.extend(chunk);
    }
    assert_eq!(body, b"abcdef");
    server.wait().expect_code(0);
}

#[test]
fn stop_fast_waits_for_no_request() {
    let server = Server::of("zoo-p2").args(["--kill-timeout", "1h", "--timeout", "none"]).start();
    let _waiting = streaming(&server, ENDLESS);
    server.command(["stop", "--fast"]).start().wait_within(Duration::from_secs(20)).expect_code(0);
    server.wait().expect_code(0).expect_stderr("stopping at once");
}

#[test]
fn stop_detached_does_not_wait() {
    let server = Server::of("zoo-p2").args(["--kill-timeout", "1h", "--timeout", "none"]).start();
    let _waiting = streaming(&server, ENDLESS);
    for _ in 0..2 {
        // The second one asks for nothing new: it does not make the stop a fast one.
        let stopped = server.command(["stop", "--detach"]).run();
        stopped.expect_code(0).expect_stdout("is stopping");
    }
    assert_eq!(json(server.command(["stop", "--detach", "--json"]))["stopped"], false);
    assert_eq!(json(server.command(["status", "--json"]))["cluster"]["phase"], "stopping");
    // One that waits can be interrupted, and that changes nothing either.
    let waiting = server.command(["stop"]).start();
    // Not SIGINT: what runs in the background of a script ignores that, tests and all.
    signal(waiting.pid(), Signal::SIGTERM);
    assert_eq!(waiting.wait().status.code(), None);
    assert!(!server.workers().is_empty(), "it waits for the request{}", server.explain());
    server.command(["stop", "--fast"]).run().expect_code(0);
    let said = server.wait();
    said.expect_code(0);
    assert_eq!(said.stderr.matches(STOPPING).count(), 1, "{}", said.explain());
}

/// A request whose answer has begun.
#[track_caller]
fn streaming(server: &Server, path: &str) -> RawClient {
    let mut client = server.connect();
    client.send_head("GET", path, &[]);
    assert_eq!(client.try_head().unwrap().status, 200);
    client
}

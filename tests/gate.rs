//! What a new version must pass before it replaces the old one.

use std::fs;
use std::path::Path;

use nix::sys::signal::Signal::SIGHUP;

use crate::support::{Load, Server, Starting, component, eventually};

fn serving(name: &str) -> Starting {
    Server::of_file(Path::new("app.wasm")).file("app.wasm", fs::read(component(name)).unwrap()).instances(2)
}

fn reload(server: &Server, name: &str) {
    let file = |name: &str| server.place().join("work").join(name);
    fs::copy(component(name), file("app.new")).unwrap();
    fs::rename(file("app.new"), file("app.wasm")).unwrap();
    server.signal(SIGHUP);
}

/// The old version serves in all slots, as before.
fn expect_the_old_one(server: &Server) {
    server.wait_for_stderr("every slot serves generation 1 again");
    for _ in 0..20 {
        assert_eq!(server.get("/").text(), "hello from wasm\n");
    }
}

#[test]
fn a_worker_that_answers_its_probe_serves() {
    for guest in ["hello-p2", "hello-p3", "zoo-p2", "zoo-p3"] {
        let server = Server::of(guest).args(["--probe", "/"]).start();
        server.get("/").expect_status(200);
    }
}

#[test]
fn a_component_that_fails_its_probe_is_refused() {
    for (path, what) in
        [("/status?code=503", "was answered with status 503"), ("/nowhere", "was answered with status 404")]
    {
        let refused = Server::of("zoo-p2").args(["--probe", path]).program().run();
        let (error, hint) = refused.expect_refusal(3);
        assert_eq!(error, format!("the probe `{path}` {what}"));
        assert!(hint.contains("200 to 399"), "{hint}");
    }
    // What the guest did stands above.
    for (path, what) in
        [("/trap", "was answered with status 500"), ("/trap-after-head", "was answered with status 500")]
    {
        let refused = Server::of("zoo-p2").args(["--probe", path]).program().run();
        refused.expect_code(3).expect_stderr(&format!("error: the probe `{path}` {what}"));
        refused.expect_stderr("the guest trapped");
    }
}

#[test]
fn a_version_that_fails_its_probe_is_not_rolled_out() {
    let server = serving("hello-p2").args(["--probe", "/nowhere", "--bake", "0s"]).start();
    let workers = server.workers();
    reload(&server, "zoo-p2");
    server.wait_for_stderr("generation 2 is given up: the probe `/nowhere` was answered with status 404");
    expect_the_old_one(&server);
    assert_eq!(server.workers(), workers);
}

#[test]
fn a_version_whose_requests_fail_is_taken_back() {
    for (path, what) in [("/trap", "by a trap"), ("/status?code=500", "requests failed")] {
        let server = serving("hello-p2").args(["--bake", "1h"]).start();
        let load = Load::fresh(server.addr, 2).rate(100).path(path).start();
        reload(&server, "zoo-p2");
        let stderr = server.wait_for_stderr("generation 2 is given up: ");
        let line = stderr.lines().find(|line| line.contains("is given up")).unwrap();
        assert!(line.contains(what) && line.contains("before it was 0 of 100"), "{line}");
        expect_the_old_one(&server);
        load.stop();
    }
}

#[test]
fn a_version_that_is_slower_is_taken_back() {
    let server = serving("hello-p2").args(["--bake", "1h"]).start();
    let load = Load::fresh(server.addr, 32).rate(300).path("/slow?ms=100").start();
    reload(&server, "zoo-p2");
    server.wait_for_stderr("generation 2 is given up: half of its requests take up to");
    expect_the_old_one(&server);
    assert_eq!(load.stop().lost(), 0);
}

#[test]
fn who_wants_no_gate_has_none() {
    let server =
        serving("hello-p2").args(["--bake", "3s", "--gate-errors", "none", "--gate-latency", "none"]);
    let server = server.start();
    let load = Load::fresh(server.addr, 2).rate(100).path("/trap").start();
    reload(&server, "zoo-p2");
    server.wait_for_stderr("every slot serves generation 2");
    load.stop();
}

#[test]
fn a_version_that_uses_more_and_more_memory_is_taken_back() {
    let limit = ["--max-memory-restart", "64MiB", "--max-instance-reuse-count", "1000"];
    let server = Server::of("hello-p2").instances(2).args(["--bake", "1h"]).args(limit).start();
    let push = server.command(["push"]).arg(component("zoo-p2")).start();
    server.wait_for_stderr("serves its first requests");
    eventually("the new version", || {
        (server.get("/allocate?mib=80").text() == "allocated 80 MiB\n").then_some(())
    });
    let pushed = push.wait();
    pushed.expect_code(10).expect_stderr("a worker came to use ").expect_stderr("generation 1 serves");
    expect_the_old_one(&server);
}

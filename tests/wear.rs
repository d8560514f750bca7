//! Workers that have served enough, or have stopped to serve: another one takes their place.

use nix::sys::signal::Signal::SIGSTOP;

use crate::support::{Load, Server, alive, signal};

#[test]
fn a_worker_that_has_served_enough_makes_room() {
    let server = Server::of("hello-p2").instances(1).args(["--max-requests", "100"]).start();
    let first = server.worker();
    let hello = |body: &[u8]| (body == b"hello from wasm\n").then(String::new);
    let loads = [Load::fresh(server.addr, 4), Load::keep_alive(server.addr, 4), Load::h2c(server.addr, 1, 4)];
    let loads = loads.map(|load| load.rate(200).judge(hello).start());
    let stderr = server.wait_for_stderr("makes room for another worker after");
    let served: u64 =
        stderr.split("worker after ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    assert!((90..=100).contains(&served), "{stderr}");
    server.wait_for_workers(1, &[first]);
    for load in loads {
        let outcome = load.stop();
        assert_eq!(outcome.lost(), 0, "{outcome}");
    }
    let stopped = server.stop();
    stopped.expect_code(0);
    assert!(!stopped.stderr.contains("restarting"), "it is no crash");
}

#[test]
fn a_worker_that_uses_too_much_memory_makes_room() {
    let keeps = ["--max-instance-reuse-count", "1000", "--idle-instance-timeout", "1h"];
    let server =
        Server::of("zoo-p2").instances(1).args(["--max-memory-restart", "64MiB"]).args(keeps).start();
    let first = server.worker();
    server.get("/").expect_status(200);
    assert_eq!(server.worker(), first);
    server.get("/allocate?mib=80").expect_status(200);
    server.wait_for_stderr("MiB and makes room for another worker");
    server.wait_for_workers(1, &[first]);
    server.get("/").expect_status(200);
}

#[test]
fn a_worker_that_is_stuck_is_killed_and_replaced() {
    let server = Server::of("hello-p2").instances(2).args(["--heartbeat-timeout", "2s"]).start();
    let workers = server.workers();
    signal(workers[0], SIGSTOP);
    // Said while it is still there to be looked at.
    server.wait_for_stderr("does not answer: its state is T (stopped)");
    server.wait_for_stderr("says nothing since 2s");
    let after = server.wait_for_workers(2, &workers[..1]);
    assert!(!alive(workers[0]) && after.contains(&workers[1]), "{workers:?} {after:?}");
    for _ in 0..20 {
        server.get("/").expect_status(200);
    }
}

#[test]
fn the_last_requests_of_a_stuck_worker_are_told_without_what_may_be_secret() {
    Server::of_both_zoos(&["--heartbeat-timeout", "2s"], |server| {
        server.get("/?key=secret").expect_status(200);
        let mut waiting = [server.connect(), server.connect()];
        for (client, method) in waiting.iter_mut().zip(["GET", "POST"]) {
            client
                .send(format!("{method} /never?key=secret HTTP/1.1\r\nHost: t\r\nContent-Length: 0\r\n\r\n"));
        }
        // They are in the worker when one that came later is answered.
        server.get("/").expect_status(200);
        signal(server.worker(), SIGSTOP);
        let said = server.wait_for_stderr("does not answer: its state is T (stopped)");
        assert!(said.contains("; not answered are `GET /never`, `POST /never`"), "{said}");
        assert!(!server.stderr().contains("secret"));
    });
}

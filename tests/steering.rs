//! Where new connections go, and who serves those that wait in the wrong place.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use nix::sys::signal::Signal::{SIGCONT, SIGHUP, SIGKILL, SIGSTOP, SIGTTIN, SIGTTOU};
use serde_json::Value;

use crate::support::{
    Load, Network, Outcome, RawClient, Server, Starting, component, computed, eventually, listeners, signal,
    stop,
};

/// What of `NAME=value` the zoo says at `/env`.
fn variable<'a>(environment: &'a str, name: &str) -> Option<&'a str> {
    environment.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
}

/// New connections that are told which slot they came to, a few at a time.
pub(crate) fn ask_for_slots(server: &Server) -> Load {
    ask_for(server, "WASMCLUSTER_SLOT")
}

fn ask_for(server: &Server, name: &'static str) -> Load {
    Load::fresh(server.addr, 8)
        .path("/env")
        .judge(|body| variable(std::str::from_utf8(body).ok()?, name).map(str::to_owned))
}

/// The worker that serves a slot, asked for until it answers.
#[track_caller]
fn worker_of(server: &Server, slot: u32) -> u32 {
    eventually("an answer from the slot", || {
        let answer = server.connect().try_get("/env").ok()?;
        (variable(answer.text(), "WASMCLUSTER_SLOT") == Some(slot.to_string().as_str()))
            .then(|| variable(answer.text(), "WASMCLUSTER_PID")?.parse().ok())?
    })
}

/// One that serves the zoo from a file, so that it can be looked at again.
fn zoo_in_a_file() -> Starting {
    Server::of_file("app.wasm".as_ref()).file("app.wasm", fs::read(component("zoo-p2")).unwrap())
}

#[test]
fn nobody_waits_for_a_worker_that_stands_still() {
    let server = Server::of("zoo-p2").instances(3).start();
    let stopped = worker_of(&server, 1);
    signal(stopped, SIGSTOP);
    // A third of them comes to its slot.
    let outcome = ask_for_slots(&server).requests(300).run();
    signal(stopped, SIGCONT);
    outcome.expect_ok(300);
    assert!(!outcome.tags.contains_key("1"), "{outcome}");
    eprintln!("beside a worker that stands still: {outcome}");
}

/// Nobody is left to steal what would come to it.
#[test]
fn nothing_new_goes_to_a_worker_that_is_stuck() {
    let server = Server::of("zoo-p2").instances(3).args(["--heartbeat-timeout", "none"]).start();
    let stuck = worker_of(&server, 1);
    signal(stuck, SIGSTOP);
    server.wait_for_stderr("new connections go to others");
    stop(server.pid());
    let outcome = ask_for_slots(&server).requests(300).run();
    signal(server.pid(), SIGCONT);
    outcome.expect_ok(300);
    assert!(!outcome.tags.contains_key("1"), "{outcome}");
    // And it has its share again once it goes on.
    signal(stuck, SIGCONT);
    worker_of(&server, 1);
}

#[test]
fn nobody_waits_for_a_worker_that_computes() {
    let args = ["--max-concurrent-requests", "1", "--timeout", "none"];
    let server = Server::of("zoo-p2").instances(2).args(args).start();
    let mut busy = server.connect();
    busy.send_head("GET", "/spin", &[]);
    eventually("a worker that computes", || {
        // In ticks: more than any start takes.
        server.workers().iter().any(|worker| computed(*worker) > 50).then_some(())
    });
    let outcome = ask_for_slots(&server).requests(200).run();
    outcome.expect_ok(200);
    assert_eq!(outcome.tags.len(), 1, "{outcome}");
}

#[test]
fn what_a_worker_has_no_place_for_is_served_by_a_neighbour() {
    let server = Server::of("zoo-p2").instances(2).args(["--max-concurrent-requests", "1"]).start();
    let mut held = server.connect();
    held.send_head("GET", "/stream?chunks=2&ms=3600000", &[]);
    held.try_head().unwrap().expect_status(200);
    let outcome = ask_for_slots(&server).requests(200).run();
    outcome.expect_ok(200);
    assert_eq!(outcome.tags.len(), 1, "{outcome}");
}

#[test]
fn idle_connections_take_no_place() {
    let server = Server::of("zoo-p2").instances(1).args(["--max-concurrent-requests", "1"]).start();
    let silent: Vec<RawClient> = (0..50).map(|_| server.connect()).collect();
    let mut kept: Vec<RawClient> = (0..50).map(|_| server.connect()).collect();
    for client in &mut kept {
        client.get("/").expect_status(200);
    }
    ask_for_slots(&server).requests(100).run().expect_ok(100);
    drop((silent, kept));
}

/// Kills the worker of slot 0 until its next one is far away. Returns how far, in milliseconds.
#[track_caller]
pub(crate) fn kill_until_restarts_are_far_apart(server: &Server) -> u64 {
    const FAR: u64 = 1_500;
    let mut crashes = 0;
    loop {
        signal(worker_of(server, 0), SIGKILL);
        crashes += 1;
        let delay = eventually("a crash that was noticed", || {
            let stderr = server.stderr();
            let records = stderr.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let crash = records.filter(|record| record["notice"] == "worker_crashed").nth(crashes - 1)?;
            crash["restart_in_ms"].as_u64()
        });
        if delay >= FAR {
            return delay;
        }
    }
}

#[test]
fn nobody_waits_for_a_slot_that_is_dead() {
    let server = Server::of("zoo-p2").instances(2).args(["--min-uptime", "1h", "--json"]).start();
    let load = ask_for_slots(&server).rate(200).start();
    let dead_for = kill_until_restarts_are_far_apart(&server);
    let so_far = load.answered();
    eventually("answers while it is dead", || (load.answered() > so_far + 100).then_some(()));
    let outcome = load.stop();
    // What a worker has in hand dies with it; this load has 8 requests under way at the most.
    assert!(outcome.lost() < outcome.ok / 10, "{outcome}");
    let longest = outcome.percentile(100);
    assert!(longest < Duration::from_millis(dead_for), "dead for {dead_for} ms: {outcome}");
    eprintln!("beside a slot that was dead for {dead_for} ms: {outcome}");
}

#[test]
fn a_slot_that_was_given_up_gets_nothing_until_it_has_another_chance() {
    let args = ["--max-restarts", "0", "--min-uptime", "1h", "--bake", "0s"];
    let server = zoo_in_a_file().instances(2).args(args).start();
    signal(worker_of(&server, 0), SIGKILL);
    server.wait_for_stderr("slot 0: given up");
    let outcome = ask_for_slots(&server).requests(200).run();
    outcome.expect_ok(200);
    assert_eq!(outcome.tags, BTreeMap::from([("1".to_owned(), 200)]), "{outcome}");
    server.signal(SIGHUP);
    server.wait_for_stderr("every slot serves generation 2");
    let outcome = ask_for_slots(&server).requests(400).run();
    outcome.expect_ok(400);
    assert!(outcome.tags.values().all(|count| *count > 100) && outcome.tags.len() == 2, "{outcome}");
}

#[test]
fn a_canary_gets_the_share_that_it_may() {
    let args = ["--bake", "1h", "--canary-weight", "10%"];
    let server = zoo_in_a_file().instances(2).args(args).start();
    server.signal(SIGHUP);
    server.wait_for_stderr("is watched for");
    // What waits for a busy worker of the old version is not for the canary, however idle that is.
    let outcome = ask_for(&server, "WASMCLUSTER_GENERATION").requests(4_000).run();
    outcome.expect_ok(4_000);
    let canary = outcome.tags.get("2").copied().unwrap_or_default();
    assert!((240..=640).contains(&canary), "{outcome}");
    eprintln!("`--canary-weight 10%`: {outcome}");
}

#[test]
fn new_connections_are_spread_evenly() {
    let server = Server::of("zoo-p2").instances(4).start();
    let outcome = ask_for_slots(&server).requests(20_000).run();
    outcome.expect_ok(20_000);
    // Five in a hundred is what is promised of a machine that has nothing else to do.
    assert!(outcome.tags.values().all(|count| count.abs_diff(5_000) < 500), "{outcome}");
    eprintln!("20,000 new connections: {outcome}");
}

#[test]
fn a_slot_that_is_no_more_gives_its_listener_back() {
    let server = Server::of("zoo-p2").instances(3).start();
    assert_eq!(listeners(server.addr), 3);
    let load = ask_for_slots(&server).rate(200).start();
    for workers in [2, 1] {
        server.signal(SIGTTOU);
        server.wait_for_workers(workers, &[]);
    }
    eventually("one listener", || (listeners(server.addr) == 1).then_some(()));
    server.signal(SIGTTIN);
    eventually("two listeners", || (listeners(server.addr) == 2).then_some(()));
    worker_of(&server, 1);
    let outcome = load.stop();
    assert_eq!(outcome.lost(), 0, "{outcome}");
}

#[test]
fn scaling_loses_no_new_connection() {
    Network::delayed(|network| {
        let server = Server::of("hello-p2").instances(4).addr(network.server()).start();
        let load = Load::fresh(network.way_to(server.addr), 64).rate(500).start();
        for (which, workers) in [(SIGTTOU, [3, 2, 1]), (SIGTTIN, [2, 3, 4]), (SIGTTOU, [3, 2, 1])] {
            for workers in workers {
                let so_far = load.answered();
                server.signal(which);
                server.wait_for_workers(workers, &[]);
                eventually("answers", || (load.answered() > so_far + 50).then_some(()));
            }
        }
        let outcome = load.stop();
        assert_eq!(outcome.lost(), 0, "{outcome}");
    });
}

#[test]
fn fast_requests_do_not_wait_for_slow_ones() {
    let server = Server::of("zoo-p2").instances(4).start();
    let before = computed(server.pid());
    let fast = ask_beside_slow_ones(&server, 2);
    eprintln!("300 fast requests a second beside 3 slow ones, for 2 s: {fast}");
    eprintln!("the supervisor computed for {} ms", 10 * (computed(server.pid()) - before));
}

/// 300 fast requests a second beside 3 that keep a worker busy for 200 ms each. Returns what became of the fast ones.
#[track_caller]
pub(crate) fn ask_beside_slow_ones(server: &Server, seconds: u64) -> Outcome {
    let slow = Load::fresh(server.addr, 8).path("/spin?ms=200").rate(3).start();
    let fast = Load::fresh(server.addr, 64).rate(300).requests(300 * seconds).run();
    let slow = slow.stop();
    fast.expect_ok(300 * seconds);
    assert_eq!(slow.lost(), 0, "{slow}");
    fast
}

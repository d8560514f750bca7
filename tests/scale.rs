//! More workers, fewer, or another one in a slot, while the app runs.

use nix::sys::signal::Signal::{SIGKILL, SIGTERM, SIGTTIN, SIGTTOU};
use serde_json::Value;

use crate::support::{Finished, Load, Network, Server, alive, component, eventually, program, signal};

const USAGE: i32 = 2;
const ERRORED: i32 = 7;
const SUPERSEDED: i32 = 11;

#[track_caller]
fn run(server: &Server, args: &[&str]) -> Finished {
    program(args).run_dir(server.run_dir()).run()
}

/// A request of the zoo that does not end by itself, and that somebody reads.
fn endless(server: &Server) -> crate::support::RawClient {
    let mut client = server.connect();
    client.send_head("GET", "/stream?chunks=1000000&ms=100", &[]);
    assert_eq!(client.try_head().unwrap().status, 200);
    client
}

#[test]
fn signals_add_a_worker_and_take_one_away() {
    let server = Server::of("hello-p2").instances(2).start();
    let first = server.workers();
    server.signal(SIGTTIN);
    server.wait_for_stderr("going from 2 to 3 workers");
    let grown = server.wait_for_workers(3, &[]);
    assert!(first.iter().all(|pid| grown.contains(pid)), "{first:?} {grown:?}");
    server.signal(SIGTTOU);
    server.wait_for_stderr("going from 3 to 2 workers: the last ones finish what they have");
    let left = server.wait_for_workers(2, &[]);
    assert_eq!(left, first);
    server.signal(SIGTTOU);
    let last = server.wait_for_workers(1, &[]);
    assert!(first.contains(&last[0]) && alive(last[0]));
    // The last one stays.
    server.signal(SIGTTOU);
    for _ in 0..20 {
        server.get("/").expect_status(200);
    }
    assert_eq!(server.workers(), last);
    server.stop().expect_code(0).expect_nothing_left();
}

#[test]
fn scale_waits_until_there_are_as_many_and_the_others_are_gone() {
    let server = Server::of("hello-p2").instances(2).start();
    let first = server.workers();
    let scaled = run(&server, &["scale", "4"]);
    // What the command waited for, looked at before anything else is waited for.
    let grown = server.workers();
    scaled.expect_code(0);
    assert_eq!(grown.len(), 4);
    assert!(scaled.stdout.starts_with("4 workers serve, after "), "{}", scaled.explain());
    scaled.expect_stderr("going from 2 to 4 workers").expect_stderr("slot 3 (pid ");
    let scaled = run(&server, &["scale", "-2"]);
    assert_eq!(server.workers(), first);
    scaled.expect_code(0).expect_stdout("2 workers serve, after ");
    run(&server, &["scale", "+1"]).expect_code(0).expect_stdout("3 workers serve, after ");
    let scaled = run(&server, &["scale", "1", "--json"]);
    scaled.expect_code(0);
    let last: Value = serde_json::from_str(scaled.stdout.lines().last().unwrap()).unwrap();
    assert_eq!((&last["outcome"], &last["slots"]), (&"scaled".into(), &1.into()), "{last}");
    assert_eq!(server.workers().len(), 1);
    run(&server, &["scale", "1"]).expect_code(0).expect_stdout("1 worker serves, after ");
    server.get("/").expect_status(200);
    server.stop().expect_nothing_left();
}

#[test]
fn numbers_of_workers_that_cannot_be_are_refused() {
    let server = Server::of("hello-p2").instances(2).start();
    for bad in ["0", "257", "+257", "two", "1.5", "-x", ""] {
        let refused = run(&server, &["scale", bad]);
        refused.expect_code(USAGE).expect_stderr("error: ");
    }
    for bad in ["-2", "-3", "+255"] {
        let refused = run(&server, &["scale", bad]);
        let (error, hint) = refused.expect_refusal(USAGE);
        assert_eq!(error, "there can be 1 to 256 workers, and there are 2");
        assert!(hint.contains("wasmcluster stop"), "{hint}");
    }
    run(&server, &["scale"]).expect_code(USAGE).expect_stderr("<N>");
    let refused = run(&server, &["restart", "2"]);
    assert_eq!(refused.expect_refusal(USAGE).0, "there is no slot `2`");
    run(&server, &["restart", "first"]).expect_usage("`first`");
    run(&server, &["restart"]).expect_code(USAGE).expect_stderr("<SLOT>");
    assert_eq!(server.said(), 1, "{}", server.explain());
    assert_eq!(server.workers().len(), 2);
}

#[test]
fn who_does_not_wait_hears_what_has_begun_and_who_is_overtaken_hears_that() {
    let server = Server::of("zoo-p2").instances(3).args(["--kill-timeout", "1h", "--timeout", "none"]);
    let server = server.start();
    // Some on each worker, so that fewer slots take their time.
    let busy: Vec<_> = (0..48).map(|_| endless(&server)).collect();
    let waiting = server.command(["scale", "1"]).start();
    server.wait_for_stderr("going from 3 to 1 workers");
    let outcome = run(&server, &["scale", "2", "--detach", "--json"]);
    outcome.expect_code(0);
    let begun: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!((&begun["outcome"], &begun["from"], &begun["to"]), (&"scaling".into(), &1.into(), &2.into()));
    let overtaken = waiting.wait();
    overtaken.expect_code(SUPERSEDED).expect_stderr("error: superseded: there are to be 2 workers now\n");
    drop(busy);
    server.wait_for_workers(2, &[]);
}

#[test]
fn a_restart_that_is_not_waited_for_goes_on() {
    let server = Server::of("zoo-p2").instances(2).args(["--kill-timeout", "1h", "--timeout", "none"]);
    let server = server.start();
    let busy: Vec<_> = (0..32).map(|_| endless(&server)).collect();
    let waiting = server.command(["restart", "0"]).start();
    server.wait_for_stderr("makes room for another worker");
    signal(waiting.pid(), SIGTERM);
    assert_eq!(waiting.wait().status.code(), None);
    let restarted = run(&server, &["restart", "1", "--detach"]);
    restarted.expect_code(0);
    assert_eq!(restarted.stdout, "slot 1 gets another worker\n");
    drop(busy);
    eventually("both make room", || {
        (server.stderr().matches("makes room for another worker").count() == 2).then_some(())
    });
}

#[test]
fn restart_replaces_one_worker_and_no_other() {
    let server = Server::of("hello-p2").instances(3).start();
    let slots = || -> Vec<u64> {
        let status: Value = serde_json::from_str(&run(&server, &["status", "--json"]).stdout).unwrap();
        let slots = status["cluster"]["slots"].as_array().unwrap();
        slots.iter().map(|slot| slot["workers"][0]["pid"].as_u64().unwrap()).collect()
    };
    let before = slots();
    let restarted = run(&server, &["restart", "1"]);
    let after = slots();
    restarted.expect_code(0);
    assert!(restarted.stdout.starts_with("slot 1 has another worker, after "), "{}", restarted.explain());
    assert_eq!((after[0], after[2]), (before[0], before[2]));
    assert_ne!(after[1], before[1]);
    assert!(!alive(before[1].try_into().unwrap()), "waited for");
    let restarted = run(&server, &["restart", "1", "--json"]);
    let last: Value = serde_json::from_str(restarted.stdout.lines().last().unwrap()).unwrap();
    assert_eq!((&last["outcome"], &last["slot"]), (&"restarted".into(), &1.into()), "{last}");
}

#[test]
fn a_slot_that_was_given_up_gets_another_chance() {
    let server = Server::of("hello-p2").instances(2).args(["--max-restarts", "0", "--min-uptime", "1h"]);
    let server = server.start();
    let workers = server.workers();
    signal(workers[0], SIGKILL);
    let said = server.wait_for_stderr("given up after 1 early ends");
    let slot = said.strip_prefix("slot ").and_then(|rest| rest.split(':').next()).unwrap();
    run(&server, &["restart", slot]).expect_code(0);
    assert_eq!(server.workers().len(), 2);
}

/// Whoever waits for a slot that will never serve is told so.
#[test]
fn a_slot_that_is_given_up_ends_the_wait_for_it() {
    let server = Server::of("zoo-p2").instances(2);
    let server = server.args([
        "--max-restarts",
        "0",
        "--min-uptime",
        "1h",
        "--kill-timeout",
        "1h",
        "--timeout",
        "none",
    ]);
    let server = server.start();
    let busy: Vec<_> = (0..32).map(|_| endless(&server)).collect();
    let before = server.workers();
    let waiting = server.command(["restart", "0"]).start();
    server.wait_for_stderr("makes room for another worker");
    let successor = eventually("a successor that serves", || {
        let status: Value = serde_json::from_str(&run(&server, &["status", "--json"]).stdout).unwrap();
        let workers = status["cluster"]["slots"][0]["workers"].as_array().unwrap().clone();
        let serving = workers.iter().find(|worker| {
            worker["phase"] == "serving" && !before.contains(&(worker["pid"].as_u64().unwrap() as u32))
        });
        serving.map(|worker| worker["pid"].as_u64().unwrap() as u32)
    });
    signal(successor, SIGKILL);
    let failed = waiting.wait();
    failed.expect_code(ERRORED).expect_stderr("error: slot 0 was given up: its workers do not stay up; ");
    drop(busy);
}

#[test]
fn nothing_is_lost_by_more_workers_fewer_and_others() {
    Network::delayed(|network| {
        let server = Server::of("hello-p2").instances(2).addr(network.server()).start();
        let addr = network.way_to(server.addr);
        let hello = |body: &[u8]| (body == b"hello from wasm\n").then(String::new);
        let loads = [Load::keep_alive(addr, 32), Load::h2c(addr, 4, 8)];
        let loads = loads.map(|load| load.rate(250).judge(hello).start());
        for args in [["scale", "4"], ["restart", "0"], ["restart", "3"], ["scale", "+1"], ["restart", "4"]] {
            run(&server, &args).expect_code(0);
        }
        server.command(["push"]).arg(component("hello-p2")).run().expect_code(0);
        for load in loads {
            let so_far = load.answered();
            eventually("answers by the last ones", || (load.answered() > so_far + 50).then_some(()));
            let outcome = load.stop();
            assert_eq!(outcome.lost(), 0, "{outcome}");
        }
    });
}

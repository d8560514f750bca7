//! What changes of every kind cost clients of every kind: nothing.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use super::{grouped, print_row, shown};
use crate::support::{Load, Network, RunningLoad, Server, component, eventually};

const SLOTS: usize = 4;

/// What is pushed, in turn: both versions of the interface, each in place of the other and of itself.
const VERSIONS: [&str; 4] = ["zoo-p2", "hello-p3", "zoo-p3", "hello-p2"];

/// How many slots there are, in turn.
const SCALES: [usize; 4] = [2, 4, 6, 4];

/// One that serves the last of the versions.
fn start(network: &Network) -> Server {
    Server::installed(VERSIONS[3]).instances(SLOTS).args(["--bake", "0s"]).addr(network.server()).start()
}

fn push(server: &Server, turn: usize) {
    server.command(["push"]).arg(component(VERSIONS[turn % 4])).run().expect_code(0);
}

fn scale(server: &Server, turn: usize) {
    server.command(["scale", &SCALES[turn % 4].to_string()]).run().expect_code(0);
}

/// Of the first two slots, which never go.
fn restart(server: &Server, turn: usize) {
    server.command(["restart", &(turn % SCALES[0]).to_string()]).run().expect_code(0);
}

/// By the same program, which is a new process's worth of work all the same.
fn upgrade(server: &Server, _turn: usize) {
    server.command(["upgrade"]).run().expect_code(0);
}

/// Those that may come at once.
const CHANGES: [fn(&Server, usize); 3] = [push, scale, restart];

/// Accepts what the versions answer, each by itself.
fn of_any_version(load: Load) -> Load {
    load.judge(|body| match body {
        b"hello from wasm\n" => Some("hello".to_owned()),
        b"hello from the zoo\n" => Some("zoo".to_owned()),
        _ => None,
    })
}

#[test]
#[ignore = "takes minutes, and prints figures"]
fn changes_lose_no_fresh_connection() {
    lose_nothing("fresh connections", |network, server| Load::fresh(network.way_to(server.addr), 256));
}

#[test]
#[ignore = "takes minutes, and prints figures"]
fn changes_lose_nothing_on_connections_that_are_kept() {
    lose_nothing("64 connections that are kept", |network, server| {
        Load::keep_alive(network.way_to(server.addr), 64)
    });
}

#[test]
#[ignore = "takes minutes, and prints figures"]
fn changes_lose_nothing_on_http2() {
    lose_nothing("16 connections of HTTP/2", |network, server| {
        Load::h2c(network.way_to(server.addr), 16, 16)
    });
}

/// One change after the other, each under load, and no request lost.
#[track_caller]
fn lose_nothing(clients: &str, load: impl Fn(&Network, &Server) -> Load + Sync) {
    const TIMES: usize = 20;
    const REQUESTS: u64 = 100_000;
    const RATE: u32 = 1_000;
    Network::delayed(|network| {
        let server = start(network);
        let load = of_any_version(load(network, &server).rate(RATE)).start();
        let changes = CHANGES.into_iter().chain([upgrade as fn(&Server, usize)]);
        let each = REQUESTS / (TIMES * changes.clone().count()) as u64 + 1;
        for turn in 0..TIMES {
            for change in changes.clone() {
                let so_far = load.answered();
                change(&server, turn);
                eventually("answers", || (load.answered() >= so_far + each).then_some(()));
            }
        }
        let outcome = load.stop();
        outcome.expect_ok(outcome.ok);
        assert!(outcome.ok >= REQUESTS && outcome.tags.len() == 2, "{outcome}");
        print_row(
            &format!(
                "{TIMES} pushes, changes of scale, restarts and upgrades each; {SLOTS} slots, round trip {}, {} requests/s: {clients}",
                shown(network.round_trip()),
                grouped(RATE.into())
            ),
            &format!(
                "**0** lost of {}; p50 {}, p99 {}, longest {}",
                grouped(outcome.ok),
                shown(outcome.percentile(50)),
                shown(outcome.percentile(99)),
                shown(outcome.percentile(100))
            ),
            "0 lost",
        );
    });
}

#[test]
#[ignore = "takes ten minutes, and prints figures"]
fn nothing_is_lost_in_ten_minutes_of_everything_at_once() {
    const TIME: Duration = Duration::from_secs(600);
    const RATE: u32 = 300;
    Network::delayed(|network| {
        let server = start(network);
        let addr = network.way_to(server.addr);
        let requests = u64::from(RATE) * TIME.as_secs();
        let loads = [Load::fresh(addr, 128), Load::keep_alive(addr, 64), Load::h2c(addr, 8, 16)]
            .map(|load| of_any_version(load.rate(RATE).requests(requests)).start());
        let goes_on = || !loads.iter().any(RunningLoad::is_finished);
        let done = [const { AtomicUsize::new(0) }; CHANGES.len()];
        thread::scope(|scope| {
            for (change, done) in CHANGES.iter().zip(&done) {
                // Each kind waits for none of the others, so they meet in every way.
                scope.spawn(|| {
                    while goes_on() {
                        let so_far = loads[0].answered();
                        change(&server, done.fetch_add(1, Ordering::Relaxed));
                        eventually("answers", || {
                            (loads[0].answered() >= so_far + u64::from(RATE) || !goes_on()).then_some(())
                        });
                    }
                });
            }
        });
        let outcomes = loads.map(RunningLoad::finish);
        for outcome in &outcomes {
            outcome.expect_ok(requests);
        }
        let [pushes, scales, restarts] = done.map(AtomicUsize::into_inner);
        let latency = |percent| {
            let each = outcomes.iter().map(|outcome| shown(outcome.percentile(percent)));
            each.collect::<Vec<_>>().join(", ")
        };
        print_row(
            &format!(
                "{pushes} pushes, {scales} changes of scale and {restarts} restarts at once, in {} minutes; {SLOTS} slots, \
                 round trip {}, {RATE} requests/s of each kind",
                TIME.as_secs() / 60,
                shown(network.round_trip())
            ),
            &format!(
                "**0** lost of {}; p99 {}; longest {}",
                grouped(3 * requests),
                latency(99),
                latency(100)
            ),
            "0 lost",
        );
    });
}

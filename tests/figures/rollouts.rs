//! How long a rollout takes, and what it takes of memory.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::{megabytes, middle_and_longest, print_row};
use crate::support::{Finished, Load, Server, component, descendants, eventually, proportional_memory};

const SLOTS: usize = 4;
const TIMES: usize = 20;

/// What is pushed, in turn, and what it answers.
const VERSIONS: [(&str, &str); 2] = [("hello-p2", "hello from wasm\n"), ("zoo-p2", "hello from the zoo\n")];

/// One of which both versions are compiled.
fn start() -> Server {
    let server = Server::of(VERSIONS[0].0).instances(SLOTS).args(["--bake", "0s"]).start();
    for turn in [1, 0] {
        push(&server, turn).expect_code(0);
    }
    server
}

fn push(server: &Server, turn: usize) -> Finished {
    server.command(["push"]).arg(component(VERSIONS[turn % 2].0)).run()
}

#[test]
#[ignore = "prints figures"]
fn from_a_push_to_its_first_response() {
    let server = start();
    let times = (1..=TIMES).map(|turn| {
        let (name, answer) = VERSIONS[turn % 2];
        let began = Instant::now();
        let pushed = server.command(["push"]).arg(component(name)).start();
        eventually("an answer of the new version", || (server.get("/").text() == answer).then_some(()));
        let took = began.elapsed();
        pushed.wait().expect_code(0);
        took
    });
    let times = times.collect();
    print_row("from a push to the first response of the new version", &middle_and_longest(times), "100 ms");
}

#[test]
#[ignore = "prints figures"]
fn from_a_push_to_its_end() {
    let server = start();
    let whole = || -> Vec<Duration> {
        let each = (1..=TIMES).map(|turn| {
            let began = Instant::now();
            push(&server, turn).expect_code(0);
            began.elapsed()
        });
        each.collect()
    };
    let wanted = "500 ms";
    print_row(&format!("a push to {SLOTS} slots, until all serve it"), &middle_and_longest(whole()), wanted);
    let load = Load::keep_alive(server.addr, 64).rate(500).start();
    eventually("answers", || (load.answered() > 500).then_some(()));
    let times = whole();
    let outcome = load.stop();
    outcome.expect_ok(outcome.ok);
    let what = "the same with 500 requests/s on 64 connections that are kept";
    print_row(what, &middle_and_longest(times), wanted);
}

/// As much as one worker has: successors come one at a time.
#[test]
#[ignore = "prints figures"]
fn memory_of_a_rollout() {
    let server = start();
    let load = Load::fresh(server.addr, 16).rate(200).start();
    eventually("answers", || (load.answered() > 400).then_some(()));
    let sum = || -> u64 {
        let processes = [server.pid()].into_iter().chain(descendants(server.pid()));
        processes.filter_map(proportional_memory).sum()
    };
    let workers: Vec<u64> = server.workers().into_iter().filter_map(proportional_memory).collect();
    let one = workers.iter().sum::<u64>() / workers.len() as u64;
    let before = sum();
    let done = AtomicBool::new(false);
    let (peak, looks) = thread::scope(|scope| {
        let most = scope.spawn(|| {
            let (mut peak, mut looks) = (0, 0);
            while !done.load(Ordering::Relaxed) {
                peak = sum().max(peak);
                looks += 1;
            }
            (peak, looks)
        });
        for turn in 1..=TIMES {
            push(&server, turn).expect_code(0);
        }
        done.store(true, Ordering::Relaxed);
        most.join().unwrap()
    });
    let outcome = load.stop();
    outcome.expect_ok(outcome.ok);
    print_row(
        &format!("memory of all processes at most, in {TIMES} pushes to {SLOTS} slots and {looks} looks"),
        &format!("{} more than the {} before", megabytes(peak.saturating_sub(before)), megabytes(before)),
        &format!("one worker: {} beside others", megabytes(one)),
    );
}

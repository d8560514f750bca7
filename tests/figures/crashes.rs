//! What the end of a worker costs: what it had in hand.

use nix::sys::signal::Signal::SIGKILL;

use super::{grouped, print_row, shown};
use crate::steering::kill_until_restarts_are_far_apart;
use crate::support::{Kind, Load, Network, Outcome, Server, eventually, signal};

#[test]
#[ignore = "takes a while, and prints figures"]
fn a_kill_under_saturation_loses_what_the_worker_had_in_hand_and_nothing_that_waits() {
    const KILLS: u64 = 10;
    const PLACES: u64 = 8;
    const CLIENTS: usize = 256;
    Network::delayed(|network| {
        let args = ["--max-concurrent-requests", &PLACES.to_string(), "--min-uptime", "0s"];
        let server = Server::of("zoo-p2").instances(4).args(args).addr(network.server()).start();
        let load = Load::fresh(network.way_to(server.addr), CLIENTS).path("/slow?ms=50").start();
        for _ in 0..KILLS {
            // Long enough that all places are taken, and several times as many wait.
            let so_far = load.answered();
            eventually("answers", || (load.answered() >= so_far + 1_000).then_some(()));
            let before = server.workers();
            signal(before[0], SIGKILL);
            let after = server.wait_for_workers(4, &before[..1]);
            let successor = after.iter().find(|pid| !before.contains(pid)).unwrap();
            server.wait_for_stderr(&format!("(pid {successor}): ready"));
        }
        let outcome = load.stop();
        expect_cut_off_alone(&outcome);
        assert!(outcome.lost() <= KILLS * PLACES, "{outcome}");
        print_row(
            &format!(
                "`kill -9` of a worker, {KILLS} times; 4 slots, `--max-concurrent-requests {PLACES}`, {CLIENTS} clients that do not wait"
            ),
            &format!(
                "{} lost of {}; p50 {}, longest {}",
                outcome.lost(),
                grouped(outcome.ok + outcome.lost()),
                shown(outcome.percentile(50)),
                shown(outcome.percentile(100))
            ),
            &format!("at most {} lost: what they had in hand", KILLS * PLACES),
        );
    });
}

#[test]
#[ignore = "takes a while, and prints figures"]
fn a_slot_that_is_dead_delays_nobody() {
    let server = Server::of("zoo-p2").instances(4).args(["--min-uptime", "1h", "--json"]).start();
    let load = Load::fresh(server.addr, 64).rate(200).start();
    let dead_for = kill_until_restarts_are_far_apart(&server);
    // Nothing more is lost while it is dead; what was, went with its workers.
    Load::fresh(server.addr, 64).rate(100).requests(100).run().expect_ok(100);
    let outcome = load.stop();
    expect_cut_off_alone(&outcome);
    print_row(
        &format!("a slot that is dead for {:.1} s, of 4; 300 requests/s", dead_for as f64 / 1e3),
        &format!("longest wait {}", shown(outcome.percentile(100))),
        "50 ms",
    );
}

/// Fails if anything was lost otherwise than with the worker that had it in hand.
#[track_caller]
fn expect_cut_off_alone(outcome: &Outcome) {
    let ways = [Kind::Reset, Kind::Ended, Kind::Truncated];
    assert!(outcome.lost.keys().all(|kind| ways.contains(kind)), "{outcome}");
}

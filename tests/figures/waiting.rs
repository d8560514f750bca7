//! How evenly new connections are spread, and how long they wait for others.

use super::{grouped, print_row, shown};
use crate::steering::{ask_beside_slow_ones, ask_for_slots};
use crate::support::Server;

#[test]
#[ignore = "prints figures"]
fn new_connections_are_spread_over_the_slots() {
    const CONNECTIONS: u64 = 20_000;
    const SLOTS: u64 = 4;
    let server = Server::of("zoo-p2").instances(SLOTS).start();
    let outcome = ask_for_slots(&server).requests(CONNECTIONS).run();
    outcome.expect_ok(CONNECTIONS);
    assert_eq!(outcome.tags.len() as u64, SLOTS, "{outcome}");
    let mean = CONNECTIONS / SLOTS;
    let farthest = outcome.tags.values().map(|count| count.abs_diff(mean)).max().unwrap();
    print_row(
        &format!("{} new connections on {SLOTS} slots", grouped(CONNECTIONS)),
        &format!("within {:.1} % of the mean", 100.0 * farthest as f64 / mean as f64),
        "5 %",
    );
}

#[test]
#[ignore = "takes half a minute, and prints figures"]
fn fast_requests_beside_slow_ones() {
    const SECONDS: u64 = 30;
    let server = Server::of("zoo-p2").instances(4).start();
    let outcome = ask_beside_slow_ones(&server, SECONDS);
    print_row(
        "300 fast requests/s beside 3/s that keep a worker busy for 200 ms each; 4 slots",
        &format!("p99 {}, longest {}", shown(outcome.percentile(99)), shown(outcome.percentile(100))),
        "p99 20 ms",
    );
}

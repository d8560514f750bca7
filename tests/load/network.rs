//! The network with a delay, and the program under load in it.

use std::fs::{self, File};
use std::time::Duration;

use nix::sys::signal::Signal::SIGKILL;
use serde_json::Value;

use super::toy::{HELLO, Toy, asked};
use super::{hello, say};
use crate::support::{Kind, Load, Network, RunningLoad, Server, eventually, signal};

#[test]
fn a_round_trip_takes_its_time_and_loses_nothing() {
    const REQUESTS: u64 = 2_000;
    Network::delayed(|network| {
        let toy = Toy::hello(network.server());
        let addr = network.way_to(toy.addr);
        let outcome = Load::keep_alive(addr, 50).requests(REQUESTS).judge(hello).run();
        outcome.expect_ok(REQUESTS);
        // The network itself fails if it lost a packet.
        assert!(outcome.percentile(0) >= network.round_trip(), "{outcome}");
        // A connection takes one more.
        let outcome = Load::fresh(addr, 10).requests(20).judge(hello).run();
        outcome.expect_ok(20);
        assert!(outcome.percentile(0) >= 2 * network.round_trip(), "{outcome}");
    });
}

#[test]
fn a_round_trip_shows_the_race_that_loopback_hides() {
    const IDLE: Duration = Duration::from_millis(5);
    Network::delayed(|network| {
        // Waits for a next request for less than a round trip, so that there is one under way when it closes.
        let toy = Toy::start(network.server(), |_, mut stream| {
            asked(&mut stream);
            say(&stream, HELLO);
            stream.set_read_timeout(Some(IDLE)).unwrap();
            while asked(&mut stream) {
                say(&stream, HELLO);
            }
        });
        let outcome = Load::keep_alive(network.way_to(toy.addr), 1).requests(20).judge(hello).run();
        if network.round_trip() > IDLE {
            // A client that is late by more than 5 ms has heard of the end before it sends.
            assert!(
                outcome.count(Kind::Ended) > 0 && outcome.count(Kind::Ended) == outcome.lost(),
                "{outcome}"
            );
        }
    });
}

#[test]
fn a_network_ends_with_its_test_and_touches_no_other() {
    let own = "/proc/thread-self/ns/net";
    let before = fs::read_link(own).unwrap();
    let (inside, _held, delayed) = Network::delayed(|network| {
        // Held open, so that no other test's network gets the number of this one.
        (fs::read_link(own).unwrap(), File::open(own).unwrap(), !network.round_trip().is_zero())
    });
    assert_eq!(fs::read_link(own).unwrap(), before);
    assert_eq!(inside != before, delayed);
    if delayed {
        // The kernel lets a thread be joined a moment before it is gone.
        eventually("no thread is left in the network", || {
            let threads = fs::read_dir("/proc/self/task").unwrap().flatten();
            let mut namespaces =
                threads.filter_map(|thread| fs::read_link(thread.path().join("ns/net")).ok());
            namespaces.all(|other| other != inside).then_some(())
        });
    }
}

#[test]
fn a_server_loses_nothing_over_a_network_with_a_delay() {
    const REQUESTS: u64 = 600;
    Network::delayed(|network| {
        let server = Server::demo().instances(4).addr(network.server()).start();
        let addr = network.way_to(server.addr);
        let loads = [Load::fresh(addr, 32), Load::keep_alive(addr, 32), Load::h2c(addr, 4, 8)];
        let loads = loads.map(|load| {
            load.path("/json").judge(|body| who(body, "slot")).rate(250).requests(REQUESTS).start()
        });
        let [fresh, keep_alive, h2c] = loads.map(RunningLoad::finish);
        for outcome in [&fresh, &keep_alive, &h2c] {
            outcome.expect_ok(REQUESTS);
            assert_eq!((outcome.retried, outcome.reconnected), (0, 0), "{outcome}");
            assert!(outcome.percentile(0) >= network.round_trip(), "{outcome}");
        }
        // The kernel deals connections out by their hash: 150 each, give or take 11.
        assert_eq!(fresh.tags.len(), 4, "{fresh}");
        assert!(fresh.tags.values().all(|&count| count > REQUESTS / 4 / 2), "{fresh}");
        server.stop();
    });
}

#[test]
fn a_killed_worker_is_seen_as_losses_of_its_connections() {
    const CONNECTIONS: u64 = 24;
    Network::delayed(|network| {
        let server = Server::demo().instances(2).addr(network.server()).start();
        let load = Load::keep_alive(network.way_to(server.addr), CONNECTIONS as usize);
        let load = load.path("/json").judge(|body| who(body, "pid")).start();
        let more = |count| {
            let goal = load.answered() + count;
            eventually("answers", || (load.answered() >= goal).then_some(()));
        };
        more(200);
        // A closed loop: each of its connections has a request under way, be it in the network.
        let victim = server.workers()[0];
        signal(victim, SIGKILL);
        server.wait_for_workers(2, &[victim]);
        more(200);
        let outcome = load.stop();
        let cut = [Kind::Reset, Kind::Ended, Kind::Truncated];
        // On loopback it is likely to have answered them all.
        let least = u64::from(!network.round_trip().is_zero());
        assert!((least..=CONNECTIONS).contains(&outcome.lost()), "{outcome}");
        assert!(outcome.lost.keys().all(|kind| cut.contains(kind)), "{outcome}");
        assert!(outcome.tags.contains_key(&victim.to_string()), "{outcome}");
        server.stop();
    });
}

/// What the demo says about who answered.
fn who(body: &[u8], what: &str) -> Option<String> {
    let who: Value = serde_json::from_slice(body).ok()?;
    Some(who[what].as_u64()?.to_string())
}

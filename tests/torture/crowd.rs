//! Many connections at once on which nothing is said.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;

use super::World;
use super::attack::{FOR_EVER, everything};
use super::tally::{Run, Seen};
use crate::support::RawClient;

const PEOPLE: usize = 200;

/// One crowd after the other: all of each has to be sent away.
pub(super) fn crowd(world: &World<'_>, mut rng: Rng) {
    while world.goes_on() {
        let from = Instant::now();
        let seen = come_and_stay(world, &mut rng).unwrap_or_else(|error| Seen::of(&error));
        let (name, until, expected) =
            ("200 connections that say nothing, or half", Instant::now(), seen == Seen::Cut);
        world.tally.note(Run { name, from, until, local: None, seen, expected });
        thread::sleep(Duration::from_millis(rng.u64(..1000)));
    }
}

/// The worst that becomes of any of them.
fn come_and_stay(world: &World<'_>, rng: &mut Rng) -> io::Result<Seen> {
    let mut people = Vec::new();
    for _ in 0..PEOPLE {
        let mut client = RawClient::try_connect(world.server.addr)?;
        client.set_timeout(FOR_EVER);
        client.try_send(rng.choice(["", "G", "GET / HTTP/1.1\r\nhost"]).expect("some"))?;
        people.push(client);
    }
    let mut worst = Seen::Cut;
    for client in &mut people {
        worst = worst.max(everything(client)?);
    }
    Ok(worst)
}

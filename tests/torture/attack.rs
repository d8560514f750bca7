//! One attack after the other, by several attackers at once.

use std::io::{self, ErrorKind};
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;

use super::World;
use super::tally::{Run, Seen};
use crate::support::RawClient;

/// Longer than each limit that the server has: who waits so long waits for ever.
pub(super) const FOR_EVER: Duration = Duration::from_secs(12);

/// What is done with a connection that has just been opened.
type Act = Box<dyn Fn(&mut RawClient, &mut Rng) -> io::Result<Seen> + Send + Sync>;

/// A way to attack.
pub(super) struct Attack {
    name: &'static str,
    /// What may come of it. Whatever else does is a failure, unless the worker was killed meanwhile.
    may: Vec<Seen>,
    act: Act,
}

impl Attack {
    pub(super) fn new(
        name: &'static str,
        may: impl Into<Vec<Seen>>,
        act: impl Fn(&mut RawClient, &mut Rng) -> io::Result<Seen> + Send + Sync + 'static,
    ) -> Self {
        Self { name, may: may.into(), act: Box::new(act) }
    }

    /// Sends one of these, and reads what comes until the server closes.
    pub(super) fn bytes(name: &'static str, may: impl Into<Vec<Seen>>, shapes: Vec<Vec<u8>>) -> Self {
        Self::new(name, may, move |client, rng| {
            // It may be refused before all of it has come.
            let _ = client.try_send(rng.choice(&shapes).expect("at least one"));
            everything(client)
        })
    }

    fn run(&self, world: &World<'_>, rng: &mut Rng) {
        let from = Instant::now();
        let mut local = None;
        let seen = RawClient::try_connect(world.server.addr).and_then(|mut client| {
            local = client.stream().local_addr().ok();
            client.set_timeout(FOR_EVER);
            (self.act)(&mut client, rng)
        });
        let seen = seen.unwrap_or_else(|error| Seen::of(&error));
        let (name, until, expected) = (self.name, Instant::now(), self.may.contains(&seen));
        world.tally.note(Run { name, from, until, local, seen, expected });
    }
}

/// Attacks in each way once, and then in another order again, for as long as the torture lasts.
pub(super) fn attack(world: &World<'_>, attacks: &[Attack], pause: Duration, mut rng: Rng) {
    let mut order: Vec<&Attack> = attacks.iter().collect();
    loop {
        rng.shuffle(&mut order);
        for attack in &order {
            if !world.goes_on() {
                return;
            }
            attack.run(world, &mut rng);
            thread::sleep(pause.mul_f64(2.0 * rng.f64()));
        }
    }
}

/// Reads until the server closes, and says what it was.
pub(super) fn everything(client: &mut RawClient) -> io::Result<Seen> {
    /// More than any answer that is looked at.
    const MOST: usize = 64 << 10;
    let began = Instant::now();
    let mut answer = Vec::new();
    loop {
        match client.try_some() {
            Ok(some) if some.is_empty() => break,
            Ok(some) if answer.len() < MOST => answer.extend(some),
            // It need not be kept.
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
            Err(error) => return Err(error),
        }
        if began.elapsed() > FOR_EVER {
            return Ok(Seen::Held);
        }
    }
    let text = String::from_utf8_lossy(&answer);
    let mut statuses =
        text.match_indices("HTTP/1.").filter_map(|(at, _)| text.get(at + 9..at + 12)?.parse().ok());
    let first = statuses.find(|status| *status >= 200);
    Ok(match first {
        None => Seen::Cut,
        Some(_) if statuses.next().is_some() => Seen::Twice,
        Some(200) if !is_complete(&text) => Seen::Cut,
        Some(status) => Seen::Status(status),
    })
}

/// Whether a response has its end. Those that are refused are read by their status alone.
fn is_complete(answer: &str) -> bool {
    let Some((head, body)) = answer.split_once("\r\n\r\n") else { return false };
    let head = head.to_ascii_lowercase();
    let length: Option<usize> =
        head.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next()?.parse().ok());
    match length {
        Some(length) => body.len() == length,
        None => body.ends_with("0\r\n\r\n"),
    }
}

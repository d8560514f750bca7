//! The client: one thread that never sleeps while it measures.
//!
//! A client that sleeps until an answer comes must be woken by the server's core, and the server pays for that: 3 to 6 µs
//! a response on virtual machines, which is what a whole request costs hyper. This one asks the kernel again and again
//! what has come (`epoll_wait` with no timeout), on a core that it keeps busy anyway.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use crate::Result;
use crate::connection::{Connection, Found, State};
use crate::histogram::Histogram;
use crate::order::{Order, Outcome, Pace};
use crate::{clock, procfs};

/// How much of the time, or of the requests, goes before what is measured.
const WARM_UP: f64 = 0.15;
/// A server that says nothing for so long says nothing any more.
const PATIENCE: Duration = Duration::from_secs(5);
/// So many errors are enough to know.
const MAX_ERRORS: u64 = 1_000;
/// How long a client that sleeps does so at most, in milliseconds: it has a clock to look at.
const GLANCE: u8 = 10;
/// Room for the first read on a connection. Most responses fit.
const FIRST_READ: usize = 4 << 10;

/// Does what `order` says, and writes the outcome to stdout.
pub(crate) fn main(order: &Order) -> Result<()> {
    let outcome = Generator::new(order)?.run()?;
    let mut stdout = std::io::stdout();
    serde_json::to_writer(&mut stdout, &outcome)?;
    Ok(writeln!(stdout)?)
}

struct Generator<'a> {
    order: &'a Order,
    request: Vec<u8>,
    epoll: Epoll,
    connections: Vec<Connection>,
    /// For an open loop: who could send.
    idle: Vec<usize>,
    measuring: bool,
    latencies: Histogram,
    answered: u64,
    chunked: u64,
    slots: BTreeMap<u64, u64>,
    errors: BTreeMap<&'static str, u64>,
    failed: u64,
    progress: Instant,
}

/// When an open loop sends.
struct Schedule {
    due: Instant,
    interval: Duration,
}

impl<'a> Generator<'a> {
    fn new(order: &'a Order) -> Result<Self> {
        let last = if order.pace == Pace::Fresh { "Connection: close\r\n" } else { "" };
        let request = format!("GET {} HTTP/1.1\r\nHost: {}\r\n{last}\r\n", order.path, order.addr);
        let mut generator = Self {
            order,
            request: request.into(),
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
            connections: Vec::new(),
            idle: Vec::new(),
            measuring: false,
            latencies: Histogram::new(),
            answered: 0,
            chunked: 0,
            slots: BTreeMap::new(),
            errors: BTreeMap::new(),
            failed: 0,
            progress: Instant::now(),
        };
        for index in 0..order.connections as usize {
            let connection = generator.connect(index)?;
            generator.connections.push(connection);
        }
        Ok(generator)
    }

    fn run(mut self) -> Result<Outcome> {
        let length = Duration::from_millis(self.order.milliseconds);
        let warm_up = length.mul_f64(WARM_UP);
        let warm_up_requests = scale(self.order.requests, WARM_UP);
        let mut start = Instant::now();
        let (mut cpu, mut waited) = (Duration::ZERO, Duration::ZERO);
        let (mut looks, mut empty) = (0_u64, 0_u64);
        let mut schedule = Schedule {
            due: start,
            interval: Duration::from_secs(1).div_f64(self.order.rate.clamp(0.1, 1e7)),
        };
        for index in 0..self.connections.len() {
            match self.order.pace {
                Pace::Open => self.idle.push(index),
                Pace::Closed | Pace::Fresh => self.ask(index, start),
            }
        }
        let mut events = vec![EpollEvent::empty(); 256];
        // At a constant rate, what is due does not wait for an answer.
        let sleeps = self.order.sleep && self.order.pace != Pace::Open;
        let patience = if sleeps { EpollTimeout::from(GLANCE) } else { EpollTimeout::ZERO };
        let end = loop {
            let found = self.epoll.wait(&mut events, patience)?;
            let now = Instant::now();
            (looks, empty) = (looks + 1, empty + u64::from(found == 0));
            for event in &events[..found] {
                self.attend(usize::try_from(event.data())?);
            }
            if self.order.pace == Pace::Open {
                self.keep_pace(&mut schedule, now);
            }
            if !self.measuring && (now - start >= warm_up || self.answered >= warm_up_requests) {
                self.forget();
                (looks, empty) = (0, 0);
                waited = procfs::waited_of_all(&self.order.watch)?;
                cpu = clock::cpu_of_all(&self.order.watch)?;
                start = Instant::now();
            } else if now - start >= length || self.answered >= self.order.requests {
                break now;
            }
            if now.saturating_duration_since(self.progress) > PATIENCE {
                *self.errors.entry("silence").or_default() += 1;
                break now;
            }
            if self.failed >= MAX_ERRORS {
                break now;
            }
        };
        let cpu = clock::cpu_of_all(&self.order.watch)?.saturating_sub(cpu);
        let waited = procfs::waited_of_all(&self.order.watch)?.saturating_sub(waited);
        let micros = |share| self.latencies.quantile(share).as_secs_f64() * 1e6;
        Ok(Outcome {
            requests: self.answered,
            chunked: self.chunked,
            seconds: (end - start).as_secs_f64(),
            server_cpu_seconds: cpu.as_secs_f64(),
            server_waited_seconds: waited.as_secs_f64(),
            p50_micros: micros(0.5),
            p99_micros: micros(0.99),
            p999_micros: micros(0.999),
            client_busy: share(looks - empty, looks),
            errors: self.errors.into_iter().map(|(name, count)| (name.to_owned(), count)).collect(),
            slots: self.slots,
        })
    }

    /// Begins to measure: what was counted was the warm-up. Errors stay errors.
    fn forget(&mut self) {
        self.measuring = true;
        self.answered = 0;
        self.chunked = 0;
        self.latencies.clear();
        self.slots.clear();
    }

    /// Opens a connection and watches it. Events come at edges, so each costs one look.
    fn connect(&self, index: usize) -> Result<Connection> {
        let connection = Connection::open(self.order.addr, FIRST_READ)?;
        let interest =
            EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLET;
        self.epoll.add(&connection.socket, EpollEvent::new(interest, index as u64))?;
        Ok(connection)
    }

    /// Sends a request that was due at `due`.
    fn ask(&mut self, index: usize, due: Instant) {
        let connection = &mut self.connections[index];
        connection.asked = due;
        if let Err(error) = connection.ask(&self.request) {
            self.fail(index, error);
        }
    }

    /// Something happened on a connection.
    fn attend(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        if connection.state == State::Connecting {
            if let Err(error) = connection.ask(&self.request) {
                self.fail(index, error);
            }
            return;
        }
        let slots = self.order.slots;
        match connection.look(self.order.body.as_deref().map(str::as_bytes), |body, chunked| {
            (slots.then(|| slot(body)), chunked)
        }) {
            Ok(Found::Nothing) => {}
            Ok(Found::Answer(answer)) => self.answered(index, answer),
            Ok(Found::End) => self.renew(index),
            Err(error) => self.fail(index, error),
        }
    }

    fn answered(&mut self, index: usize, (slot, chunked): (Option<Option<u64>>, bool)) {
        let now = Instant::now();
        let connection = &mut self.connections[index];
        self.progress = now;
        self.answered += 1;
        self.chunked += u64::from(chunked);
        self.latencies.record(now - connection.asked);
        match slot {
            Some(Some(slot)) => *self.slots.entry(slot).or_default() += 1,
            Some(None) => return self.fail(index, "an answer that names no slot"),
            None => {}
        }
        match self.order.pace {
            Pace::Closed => self.ask(index, now),
            Pace::Open => self.idle.push(index),
            Pace::Fresh => {
                connection.state = State::Ending;
                // The end may have come together with the answer, and then no event tells of it.
                self.attend(index);
            }
        }
    }

    /// Sends what is due, as far as there are connections to send it on. What has to wait has waited since it was due.
    fn keep_pace(&mut self, schedule: &mut Schedule, now: Instant) {
        while schedule.due <= now
            && let Some(index) = self.idle.pop()
        {
            self.ask(index, schedule.due);
            schedule.due += schedule.interval;
        }
    }

    fn fail(&mut self, index: usize, error: &'static str) {
        *self.errors.entry(error).or_default() += 1;
        self.failed += 1;
        if self.failed < MAX_ERRORS {
            self.renew(index);
        }
    }

    /// Replaces a connection by another, which goes on where this one was.
    fn renew(&mut self, index: usize) {
        match self.connect(index) {
            Ok(connection) => self.connections[index] = connection,
            Err(_) => {
                *self.errors.entry("cannot connect").or_default() += 1;
                self.failed += 1;
                return;
            }
        }
        match self.order.pace {
            Pace::Closed | Pace::Fresh => self.ask(index, Instant::now()),
            Pace::Open => self.idle.push(index),
        }
    }
}

/// The number of the slot in a body like `{"slot":1,...}`.
fn slot(body: &[u8]) -> Option<u64> {
    #[derive(serde::Deserialize)]
    struct Status {
        slot: u64,
    }
    serde_json::from_slice::<Status>(body).ok().map(|status| status.slot)
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rough part of a count"
)]
fn scale(count: u64, factor: f64) -> u64 {
    (count as f64 * factor) as u64
}

#[expect(clippy::cast_precision_loss, reason = "a rough part of a count")]
fn share(part: u64, whole: u64) -> f64 {
    part as f64 / (whole as f64).max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_found_where_it_is_named() {
        assert_eq!(slot(b"{\"slot\":3,\"pid\":7}\n"), Some(3));
        assert_eq!(slot(b"{\"slot\":null}"), None);
        assert_eq!(slot(b"hello"), None);
    }
}

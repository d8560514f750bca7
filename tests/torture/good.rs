//! Clients that do nothing wrong, at one constant rate: what they get is what all this is about.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::support::{Load, Loss, Outcome, RunningLoad};

/// How long a request may take. Whoever waits longer has lost it.
const PATIENCE: Duration = Duration::from_secs(10);

const UPLOAD: usize = 8 << 10;

/// One kind of good traffic.
pub(super) struct Kind {
    pub(super) name: &'static str,
    rate: u32,
    /// How long the guest waits for each request on purpose, and so gives its turn away.
    pub(super) sleeps: Duration,
    /// Whether its connections outlive the workers that accepted them.
    pub(super) stays: bool,
    load: fn(SocketAddr) -> Load,
}

impl Kind {
    const fn new(name: &'static str, rate: u32, stays: bool, load: fn(SocketAddr) -> Load) -> Self {
        Self { name, rate, sleeps: Duration::ZERO, stays, load }
    }

    const fn slow(name: &'static str, rate: u32, load: fn(SocketAddr) -> Load) -> Self {
        Self { name, rate, sleeps: Duration::from_millis(200), stays: true, load }
    }
}

/// All of them. Lanes are many times as many as requests are under way, so that the rate stays what it is when some of
/// them hang on a worker that was stopped. Connections are many, too: of four, all can be that worker's, and then every
/// request waits for its end, wherever it might have been answered.
pub(super) const KINDS: [Kind; 7] = [
    Kind::new("HTTP/1.1, kept", 50, true, |addr| hello(Load::keep_alive(addr, 16))),
    Kind::new("HTTP/1.1, new", 50, false, |addr| hello(Load::fresh(addr, 32))),
    Kind::new("HTTP/2", 50, false, |addr| hello(Load::h2c(addr, 16, 8))),
    Kind::new("HTTP/1.1, kept, echo", 15, true, |addr| echo(Load::keep_alive(addr, 16), 1)),
    Kind::new("HTTP/1.1, new, echo", 15, false, |addr| echo(Load::fresh(addr, 16), 2)),
    Kind::new("HTTP/2, echo", 15, false, |addr| echo(Load::h2c(addr, 16, 8), 3)),
    Kind::slow("slow by itself", 15, |addr| slow(Load::keep_alive(addr, 32))),
];

fn hello(load: Load) -> Load {
    load.judge(|body| (body == b"hello from the zoo\n").then(String::new))
}

/// Each kind has bytes of its own, so that none can be given those of another.
fn echo(load: Load, seed: u64) -> Load {
    let mut bytes = vec![0; UPLOAD];
    fastrand::Rng::with_seed(seed).fill(&mut bytes);
    let expected = bytes.clone();
    load.path("/echo").upload(bytes).judge(move |body| (body == expected).then(String::new))
}

fn slow(load: Load) -> Load {
    load.path("/slow?ms=200").judge(|body| (body == b"slept 200 ms\n").then(String::new))
}

/// What became of one kind.
#[derive(Default)]
pub(super) struct Heard {
    pub(super) outcome: Outcome,
    /// What was lost, each with the time when that was known.
    pub(super) lost: Vec<(Instant, Loss)>,
}

impl Heard {
    pub(super) fn merge(&mut self, other: Self) {
        self.outcome.merge(other.outcome);
        self.lost.extend(other.lost);
    }
}

/// All kinds at once, under way.
pub(super) struct Traffic {
    began: Instant,
    loads: Vec<RunningLoad>,
}

impl Traffic {
    /// Starts, and ends by itself after this time.
    pub(super) fn start(addr: SocketAddr, time: Duration) -> Self {
        let start = |kind: &Kind| {
            let requests = u64::from(kind.rate) * time.as_secs();
            (kind.load)(addr).rate(kind.rate).requests(requests).patience(PATIENCE).start()
        };
        Self { began: Instant::now(), loads: KINDS.iter().map(start).collect() }
    }

    /// Waits for the end, and says what became of each kind.
    pub(super) fn finish(self) -> Vec<Heard> {
        let heard = |load: RunningLoad| {
            let outcome = load.finish();
            let lost = outcome.losses.iter().map(|loss| (self.began + loss.at, loss.clone())).collect();
            Heard { outcome, lost }
        };
        self.loads.into_iter().map(heard).collect()
    }
}

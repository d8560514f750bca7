//! What was done, when, and what came of it.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Instant;

/// What came of one attack, or of one command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Seen {
    /// A complete response.
    Status(u16),
    /// The server ended the connection, with half a response or none.
    Cut,
    /// Nothing for longer than any of its limits allows: it waits for ever.
    Held,
    /// Two responses to what is one request at the most.
    Twice,
    /// The attacker left by himself.
    Left,
    /// Nobody listened.
    Refused,
    /// A command ended with this code.
    Code(i32),
    /// A process ended that was to end.
    Ended,
}

impl Seen {
    /// What an error of the connection means.
    pub(super) fn of(error: &io::Error) -> Self {
        match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => Self::Held,
            ErrorKind::ConnectionRefused => Self::Refused,
            _ => Self::Cut,
        }
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Status(status) => return write!(f, "{status}"),
            Self::Cut => "cut",
            Self::Held => "**held for ever**",
            Self::Twice => "**answered twice**",
            Self::Left => "left",
            Self::Refused => "**refused**",
            Self::Code(code) => return write!(f, "code {code}"),
            Self::Ended => "ended",
        })
    }
}

/// One attack that is over.
#[derive(Clone, Debug)]
pub(super) struct Run {
    pub(super) name: &'static str,
    pub(super) from: Instant,
    pub(super) until: Instant,
    /// The attacker's end of the connection, if there was one.
    pub(super) local: Option<SocketAddr>,
    pub(super) seen: Seen,
    /// Whether it may come to this on any day, with nobody killed.
    pub(super) expected: bool,
}

/// All attacks that are over.
#[derive(Debug, Default)]
pub(super) struct Tally(Mutex<Vec<Run>>);

impl Tally {
    pub(super) fn note(&self, run: Run) {
        self.0.lock().unwrap().push(run);
    }

    pub(super) fn into_runs(self) -> Vec<Run> {
        self.0.into_inner().unwrap()
    }
}

/// What the attacks of one name came to, and how many requests of others were lost meanwhile.
#[derive(Debug, Default)]
pub(super) struct Row {
    pub(super) count: u64,
    pub(super) seen: BTreeMap<Seen, u64>,
    pub(super) lost_meanwhile: u64,
}

/// A row for each name. `losses` says when requests were lost for no reason.
pub(super) fn rows(runs: &[Run], losses: &[Instant]) -> BTreeMap<&'static str, Row> {
    let mut rows: BTreeMap<&'static str, Row> = BTreeMap::new();
    for run in runs {
        let row = rows.entry(run.name).or_default();
        row.count += 1;
        *row.seen.entry(run.seen).or_default() += 1;
        let meanwhile = losses.iter().filter(|at| (run.from..=run.until).contains(at)).count();
        row.lost_meanwhile += meanwhile as u64;
    }
    rows
}

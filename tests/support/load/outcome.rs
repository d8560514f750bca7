//! How requests ended.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

/// How far a request had come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Stage {
    #[default]
    Connecting,
    /// Sending it, and then waiting for the first byte of the response.
    Waiting,
    /// Some of the response has come.
    Reading,
}

/// How a request was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Nobody listened.
    Refused,
    /// The connection was reset, in its handshake or before a byte of the response. In HTTP/2 also the stream alone.
    Reset,
    /// An open connection was closed before a byte of the response: what a client of keep-alive gets when the server
    /// closes just as it asks.
    Ended,
    /// The connection or stream ended in the middle of the response, in whichever way.
    Truncated,
    /// Nothing, for as long as the client had patience.
    Timeout,
    /// A complete response with a status other than 2xx.
    Status(u16),
    /// A complete response with a body that the test does not accept.
    WrongBody,
    /// Something that is not HTTP, or more than was asked for.
    Malformed,
    /// None of the server's doing: no route, no port left.
    Other,
}

impl Kind {
    /// What a failure means that comes at this stage.
    pub(super) fn of(error: &io::Error, stage: Stage) -> Self {
        match (error.kind(), stage) {
            (ErrorKind::ConnectionRefused, _) => Self::Refused,
            (ErrorKind::TimedOut, _) => Self::Timeout,
            (ErrorKind::InvalidData, _) => Self::Malformed,
            (
                ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe,
                Stage::Reading,
            ) => Self::Truncated,
            (ErrorKind::UnexpectedEof, _) => Self::Ended,
            // Whoever writes to a connection that was reset before hears of a broken pipe.
            (ErrorKind::ConnectionReset | ErrorKind::BrokenPipe, _) => Self::Reset,
            _ => Self::Other,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refused => "refused",
            Self::Reset => "reset",
            Self::Ended => "ended before a byte",
            Self::Truncated => "truncated",
            Self::Timeout => "timeout",
            Self::Status(status) => return write!(f, "status {status}"),
            Self::WrongBody => "wrong body",
            Self::Malformed => "malformed",
            Self::Other => "other",
        })
    }
}

/// One request that was lost, for people.
#[derive(Clone, Debug)]
pub(crate) struct Loss {
    pub(crate) kind: Kind,
    /// When it was known, since the load began.
    pub(crate) at: Duration,
    /// How long after it was due.
    pub(crate) after: Duration,
    /// The client's end of the connection, to find it again in a capture. None if there was no connection.
    pub(crate) local: Option<SocketAddr>,
    /// Which request of its connection it was; the first is 1.
    pub(crate) nth: u64,
    /// What the client saw.
    pub(crate) seen: String,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at {:.3?}, {:.1?} after it was due", self.at, self.after)?;
        if let Some(local) = self.local {
            write!(f, ", request {} of the connection from {local}", self.nth)?;
        }
        write!(f, ": {}: {}", self.kind, self.seen)
    }
}

/// What a load came to.
#[derive(Clone, Default)]
pub(crate) struct Outcome {
    /// Requests that got the response they should.
    pub(crate) ok: u64,
    /// Requests that were sent again because the server had said that it had not begun them (GOAWAY, REFUSED_STREAM).
    /// Each is also counted by how it ended.
    pub(crate) retried: u64,
    /// Connections that the server had closed, as the client knew before it sent a request on them. Nothing is lost by
    /// that, so the request went over another one.
    pub(crate) reconnected: u64,
    /// Connections of HTTP/1.1 that were opened.
    pub(crate) connections: u64,
    /// Those that were not ok, by how they were lost.
    pub(crate) lost: BTreeMap<Kind, u64>,
    /// The first of them.
    pub(crate) losses: Vec<Loss>,
    /// How many responses had which tag, of those that were ok.
    pub(crate) tags: BTreeMap<String, u64>,
    /// From when each was due to its last byte, of those that were ok; in no order.
    latencies: Vec<Duration>,
}

impl Outcome {
    /// As many losses as are kept one by one.
    const KEPT: usize = 10_000;

    /// As many of them as are shown.
    const SHOWN: usize = 10;

    pub(super) fn succeeded(&mut self, tag: String, latency: Duration) {
        self.ok += 1;
        *self.tags.entry(tag).or_default() += 1;
        self.latencies.push(latency);
    }

    pub(super) fn failed(&mut self, loss: Loss) {
        *self.lost.entry(loss.kind).or_default() += 1;
        if self.losses.len() < Self::KEPT {
            self.losses.push(loss);
        }
    }

    /// Adds what another part of the load came to.
    pub(crate) fn merge(&mut self, other: Self) {
        self.ok += other.ok;
        self.retried += other.retried;
        self.reconnected += other.reconnected;
        self.connections += other.connections;
        for (kind, count) in other.lost {
            *self.lost.entry(kind).or_default() += count;
        }
        for (tag, count) in other.tags {
            *self.tags.entry(tag).or_default() += count;
        }
        self.latencies.extend(other.latencies);
        self.losses.extend(other.losses);
        self.losses.sort_by_key(|loss| loss.at);
        self.losses.truncate(Self::KEPT);
    }

    /// How many were lost, in any way.
    pub(crate) fn lost(&self) -> u64 {
        self.lost.values().sum()
    }

    /// How many were lost in this way.
    pub(crate) fn count(&self, kind: Kind) -> u64 {
        self.lost.get(&kind).copied().unwrap_or_default()
    }

    /// The latency that so many of a hundred do not exceed: 0 is the shortest, 100 the longest. Zero if none was ok.
    pub(crate) fn percentile(&self, percent: usize) -> Duration {
        let mut sorted = self.latencies.clone();
        sorted.sort_unstable();
        let rank = (sorted.len() * percent).div_ceil(100);
        sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
    }

    /// Fails unless so many requests were made, and all of them were ok.
    #[track_caller]
    pub(crate) fn expect_ok(&self, requests: u64) {
        assert!(self.lost() == 0 && self.ok == requests, "not {requests} ok and none lost: {self}");
    }

    /// Fails unless so many were lost in this way, and none in any other.
    #[track_caller]
    pub(crate) fn expect_lost(&self, kind: Kind, requests: u64) {
        let expected = self.count(kind) == requests && self.lost() == requests;
        assert!(expected, "not {requests} lost as `{kind}` alone: {self}");
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} requests: {} ok, {} lost", self.ok + self.lost(), self.ok, self.lost())?;
        for (kind, count) in &self.lost {
            write!(f, ", {count} {kind}")?;
        }
        writeln!(f, "; {} retried, {} times reconnected", self.retried, self.reconnected)?;
        let [half, most, all] = [50, 99, 100].map(|percent| self.percentile(percent));
        writeln!(f, "latency: p50 {half:.1?}, p99 {most:.1?}, longest {all:.1?}")?;
        for (tag, count) in self.tags.iter().filter(|(tag, _)| !tag.is_empty()) {
            writeln!(f, "answered by {tag}: {count}")?;
        }
        for loss in self.losses.iter().take(Self::SHOWN) {
            writeln!(f, "lost {loss}")?;
        }
        Ok(())
    }
}

/// As it reads best: a failing test shows this.
impl fmt::Debug for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

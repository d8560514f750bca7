//! What the client is asked to do, and what it answers: the command line and the output of `__load`.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

use crate::Result;

/// How the client sends requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Pace {
    /// The next request of a connection when its last one was answered.
    Closed,
    /// At a constant rate, whatever the server does.
    Open,
    /// Each request on a connection of its own.
    Fresh,
}

/// The command line of `__load`.
#[derive(Args)]
pub(crate) struct Order {
    #[arg(long)]
    pub(crate) addr: SocketAddr,
    #[arg(long, default_value = "/")]
    pub(crate) path: String,
    #[arg(long, value_enum)]
    pub(crate) pace: Pace,
    #[arg(long)]
    pub(crate) connections: u32,
    /// Requests a second, for an open loop.
    #[arg(long, default_value_t = 1.0)]
    pub(crate) rate: f64,
    /// How long to measure.
    #[arg(long, default_value_t = 10_000)]
    pub(crate) milliseconds: u64,
    /// How many requests to measure at most.
    #[arg(long, default_value_t = u64::MAX)]
    pub(crate) requests: u64,
    /// The body that every response must have.
    #[arg(long)]
    pub(crate) body: Option<String>,
    /// Sleep until something comes.
    #[arg(long)]
    pub(crate) sleep: bool,
    /// Count answers by the `slot` that their body names.
    #[arg(long)]
    pub(crate) slots: bool,
    /// A process of the server, whose CPU time is taken.
    #[arg(long)]
    pub(crate) watch: Vec<i32>,
}

/// What came of it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Outcome {
    /// Requests that were answered as they should be.
    pub(crate) requests: u64,
    /// Of them, those whose body came in chunks.
    pub(crate) chunked: u64,
    pub(crate) seconds: f64,
    /// CPU time of the watched processes.
    pub(crate) server_cpu_seconds: f64,
    /// How long they were ready to run and something else ran.
    pub(crate) server_waited_seconds: f64,
    pub(crate) p50_micros: f64,
    pub(crate) p99_micros: f64,
    pub(crate) p999_micros: f64,
    /// The share of looks at the sockets that found something: a client that never finds them empty is what limits the
    /// rate.
    pub(crate) client_busy: f64,
    pub(crate) errors: BTreeMap<String, u64>,
    pub(crate) slots: BTreeMap<u64, u64>,
}

impl Outcome {
    /// What a request cost the server, in microseconds of CPU.
    ///
    /// # Errors
    /// Fails when there was none, or not all of them were answered as they should be. `name` is the server's.
    pub(crate) fn cpu_micros(&self, name: &str) -> Result<f64> {
        if !self.errors.is_empty() || self.requests == 0 {
            return Err(format!("{name}: {} good answers, and {:?}", self.requests, self.errors).into());
        }
        #[expect(clippy::cast_precision_loss, reason = "requests are far below 2^53")]
        let requests = self.requests as f64;
        Ok(self.server_cpu_seconds / requests * 1e6)
    }
}

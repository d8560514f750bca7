//! What an operator may want to read, as data. The words are the command's business.

use core::net::SocketAddr;
use core::time::Duration;

use serde::{Serialize, Serializer};
use wasmcluster_core::cluster::{Generation, Notice, SlotId};
use wasmcluster_core::message::{MemoryReset, Report};

/// One thing worth a line.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "record", rename_all = "snake_case")]
pub enum Record {
    /// The component is being compiled, and has been for a while.
    Compiling {
        /// What it is called.
        component: String,
        /// Its size.
        bytes: u64,
        /// The time since compilation began.
        #[serde(rename = "elapsed_ms", serialize_with = "millis")]
        elapsed: Duration,
    },
    /// Another process compiles the same component, and has for a while.
    WaitingForBuild {
        /// What it is called.
        component: String,
        /// The time since we began to wait.
        #[serde(rename = "elapsed_ms", serialize_with = "millis")]
        elapsed: Duration,
    },
    /// A file in the cache was not what had been written there; it was compiled again.
    CacheRepaired {
        /// What the component is called.
        component: String,
    },
    /// Every slot serves, for the first time.
    Serving {
        /// The address, with its real port.
        addr: SocketAddr,
        /// How many slots share it.
        instances: usize,
    },
    /// How instances become fresh, where it is not the fast way.
    MemoryReset {
        /// How, and why.
        reset: MemoryReset,
    },
    /// We were asked to look at the component again.
    Reloading {
        /// What it is called.
        component: String,
    },
    /// What the component is now cannot be served. What was served goes on.
    ReloadFailed {
        /// Why.
        message: String,
        /// What to do about it.
        hint: Option<String>,
        /// The generation that goes on.
        serving: Generation,
    },
    /// There cannot be as many slots as were asked for.
    ScaleFailed {
        /// Why.
        message: String,
        /// What to do about it.
        hint: String,
    },
    /// The kernel does not let us say which slot gets new connections: it deals them out by itself.
    Unsteered {
        /// What it said.
        reason: String,
    },
    /// We were asked to stop.
    Stopping {
        /// Whether for the second time: nothing in flight is waited for.
        fast: bool,
    },
    /// The cluster decided or found something.
    Cluster {
        /// The pid of the worker it is about, if it is about one with a process.
        pid: Option<u32>,
        /// What.
        #[serde(flatten)]
        notice: Notice,
    },
    /// A worker has something to say.
    Worker {
        /// Its slot.
        slot: SlotId,
        /// Its process.
        pid: u32,
        /// What.
        #[serde(flatten)]
        report: Report,
    },
    /// A worker did what no worker does, and is being killed for it.
    WorkerBroke {
        /// Its slot.
        slot: SlotId,
        /// Its process.
        pid: u32,
        /// What it did.
        reason: String,
    },
    /// Another user came to the control socket, and was turned away.
    StrangerRefused {
        /// Who.
        uid: u32,
        /// The process; unknown across a pid namespace.
        pid: Option<i32>,
    },
    /// A line that a child wrote: a guest's, or the last words of a process.
    Output {
        /// Which child.
        #[serde(flatten)]
        source: Source,
        /// On which of its streams.
        stream: Stream,
        /// The line, without its end.
        text: String,
        /// Whether the line was too long and goes on in the next record of the same stream.
        unfinished: bool,
    },
}

/// Who wrote a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "source", rename_all = "snake_case")]
pub enum Source {
    /// The worker of a slot.
    Worker {
        /// The slot.
        slot: SlotId,
        /// Its process.
        pid: u32,
    },
    /// The builder.
    Builder,
}

/// A child's two streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    /// Descriptor 1.
    Stdout,
    /// Descriptor 2.
    Stderr,
}

fn millis<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

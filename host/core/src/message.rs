//! What the supervisor says to its children, and what they say back.
//!
//! Each direction is its own closed enum, so a [`Channel`](crate::channel::Channel) cannot carry a message the wrong way.
//! A child is told everything it needs in its first message; nothing secret travels through `argv`.

use core::fmt;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::app::{CompileLimits, Guest, GuestLimits, Sandbox, Serving, User};
use crate::cluster::{Generation, SlotId, Wear, WorkerId};
use crate::limit::{Limit, Reached};
use crate::rejection::Rejection;
use crate::sample::Sample;

/// File descriptors a child finds open when it starts, beside 0 (its channel), 1 and 2 (its log pipes).
pub mod fd {
    /// Worker: the slot's listening socket.
    pub const LISTENER: i32 = 3;
    /// Worker: the compiled artifact, to be mapped.
    pub const ARTIFACT: i32 = 4;
    /// Worker: where its last requests are noted, see [`recent`](crate::recent).
    pub const RECENT: i32 = 5;
    /// Worker: where the first core dump of its guest goes, as with [`ToWorker::Dump`](super::ToWorker::Dump), if they are kept.
    pub const DUMP: i32 = 6;
    /// Builder: the component's bytes.
    pub const COMPONENT: i32 = 3;
    /// Builder: the artifact cache's directory.
    pub const CACHE: i32 = 4;
    /// Builder: the directory of components that are kept, if there is one.
    pub const KEPT: i32 = 5;
}

/// What a component that is kept is called in [`fd::KEPT`].
#[must_use]
pub fn component_file(digest: &str) -> String {
    format!("{digest}.wasm")
}

/// Which of the two wasmtime engines runs a component.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// `wasi:http/incoming-handler@0.2`: one call at a time, no component-model concurrency in the engine.
    P2,
    /// `wasi:http/handler@0.3`: component-model async.
    P3,
}

impl Shape {
    /// How many requests an instance serves when nobody said: 0.2 components are written for one, 0.3 are told to expect
    /// more.
    #[must_use]
    pub const fn default_reuse(self) -> u32 {
        match self {
            Self::P2 => 1,
            Self::P3 => 128,
        }
    }
}

/// The longest line on a log pipe, in bytes, with its end. Whoever reads it takes what is longer for several.
pub const LOG_LINE: usize = 8 << 10;

/// How often a worker says that it lives.
pub const PULSE: Duration = Duration::from_secs(1);

/// Supervisor to worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToWorker {
    /// Always the first message: become ready to serve, or say why not.
    Start(Box<Start>),
    /// Finish what is in flight, take nothing new, and exit.
    Drain {
        /// Milliseconds after which whatever is left is cut and counted.
        within_ms: u64,
        /// Whether somebody serves in its place. Then the message carries a socket (SOCK_SEQPACKET), and whoever holds the
        /// other end takes over the connections.
        heir: bool,
    },
    /// Take over the connections of a worker that drains. Carries a socket that they come from.
    Adopt,
    /// Take connections from the queue of another slot. Carries its listener. Answered by [`Stole`](FromWorker::Stole).
    Steal {
        /// At most so many.
        most: u32,
    },
    /// Keep another core dump, of the next guest that traps. Carries the end of a pipe for its length, as a little-endian `u64`, and
    /// its bytes.
    Dump,
}

/// Everything a worker is and may do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Start {
    /// The worker's own name, never reused.
    pub worker: WorkerId,
    /// The slot it serves.
    pub slot: SlotId,
    /// The generation it belongs to.
    pub generation: Generation,
    /// The engine the artifact was compiled for.
    pub shape: Shape,
    /// What an instance takes from the pool.
    pub needs: Needs,
    /// What the guest is granted and limited to.
    pub guest: Guest,
    /// How connections and requests are treated.
    pub serving: Serving,
}

/// What one instance of a component takes from a worker's pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Needs {
    /// Linear memories.
    pub memories: u32,
    /// The largest of them at its start, in bytes.
    pub initial_memory: u64,
    /// Tables.
    pub tables: u32,
    /// The largest of them at its start, in elements.
    pub initial_table: u64,
}

impl Needs {
    /// # Errors
    /// Fails where an instance could not even start with what it may have.
    pub fn fit(&self, limits: &GuestLimits) -> Result<(), Rejection> {
        let table = u64::from(limits.table_elements);
        let (what, needed, granted, limit) = if self.initial_memory > limits.memory_size {
            ("bytes of memory", self.initial_memory, limits.memory_size, Limit::MaxMemorySize)
        } else if self.initial_table > table {
            ("elements in a table", self.initial_table, table, Limit::MaxTableElements)
        } else {
            return Ok(());
        };
        let message = format!("the component needs {needed} {what} to start, and may have {granted}");
        Err(Rejection::past(limit, message))
    }
}

/// Worker to supervisor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FromWorker {
    /// The artifact is mapped, an instance was created, and accept is being polled.
    Ready(Ready),
    /// This worker can never become ready, and neither could another one of its generation.
    Refused(Rejection),
    /// What was to be stolen is, as far as it was still there and there was room for it.
    Stole,
    /// Something a person should read in the log.
    Report(Report),
    /// The worker lives. Said once a second, and at its end.
    Pulse(Box<Pulse>),
    /// The worker has served enough.
    Worn(Wear),
    /// The drain is over; the worker exits next.
    Drained {
        /// Requests that were cut off at the deadline.
        cut: u64,
    },
}

/// What a worker has to say of itself while it serves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pulse {
    /// What it has served so far.
    pub served: Sample,
    /// Which limits were reached since the last pulse.
    pub reached: Reached,
}

/// What a worker knows when it is ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// What it found the machine to give.
    #[serde(flatten)]
    pub conditions: Conditions,
    /// How long an instance took to start that was not the first.
    pub instance: Option<Duration>,
}

/// What a worker found the machine to give.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conditions {
    /// How instance memory is reset between requests.
    pub reset: MemoryReset,
    /// What stands between the worker and the machine.
    pub confinement: Confinement,
    /// Who the worker is.
    pub user: User,
}

/// How an instance's memory becomes fresh again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemoryReset {
    /// The kernel reports which pages were written (`PAGEMAP_SCAN`), and only those are reset.
    Pagemap,
    /// All pages are given back to the kernel; the reason says why pagemap is not used.
    Decommit {
        /// For people: `asked for by --isolation strict`, or what the guard found.
        reason: String,
    },
    /// The address space for a pool could not be reserved: every instance is mapped anew.
    OnDemand {
        /// What the reservation failed with.
        reason: String,
    },
}

/// How far the kernel keeps a worker from what it does not need.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Confinement {
    /// Not at all: `--sandbox off`.
    Off,
    /// By everything that we know of.
    Full,
    /// By some of it.
    Partial {
        /// What it does without, and why, for people: `Landlock, which this kernel does not have`.
        missing: Vec<String>,
    },
}

/// Something that happened in a worker, worth a line in the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub struct Report {
    /// What kind of thing happened.
    pub kind: ReportKind,
    /// One line for people, lower case, without a full stop.
    pub message: String,
    /// What to do about it, if there is something to do.
    pub hint: Option<String>,
    /// Where in the guest it happened, innermost first, as far as that is known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub backtrace: Vec<Frame>,
    /// What the request is called with which it happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
}

/// A function of a guest, on the way to where it trapped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frame {
    /// What it is called, where the component says so.
    pub function: Option<String>,
    /// Its number in its module.
    pub index: u32,
    /// What the module is called, where the component says so.
    pub module: Option<String>,
    /// Where in the module, in bytes from its beginning.
    pub offset: Option<u64>,
}

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.function {
            Some(name) => f.write_str(name)?,
            None => write!(f, "function {}", self.index)?,
        }
        match (&self.module, self.offset) {
            (Some(module), Some(offset)) => write!(f, " ({module}+{offset:#x})"),
            (Some(module), None) => write!(f, " ({module})"),
            (None, Some(offset)) => write!(f, " (+{offset:#x})"),
            (None, None) => Ok(()),
        }
    }
}

/// The kinds of [`Report`], so that machines can count them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReportKind {
    /// The guest trapped; the request got a 500, or was cut if its head had been sent.
    Trap,
    /// The guest wanted more of something than it may have; the request got a 500, or was cut if its head had been sent.
    Limit,
    /// The guest used up its time; the request got a 504, or was cut if its head had been sent.
    Timeout,
    /// The guest ended without a usable response.
    BadResponse,
    /// The guest asked for an outgoing request it was not granted, or that leads to a forbidden address.
    OutboundDenied,
    /// Guest output was thrown away because nobody read it fast enough.
    OutputDropped,
    /// The worker itself is in trouble: descriptors, memory, a bug.
    Worker,
}

/// Supervisor to builder.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToBuilder {
    /// Make an artifact of the component on [`fd::COMPONENT`] in the cache at [`fd::CACHE`].
    Build {
        /// What the component is called in messages, e.g. the path the user typed.
        name: String,
        /// The digest that the component must have, where it was served before.
        expected: Option<String>,
        /// Whether to keep the component in [`fd::KEPT`].
        keep: bool,
        /// What it may take.
        limits: CompileLimits,
        /// Whether the kernel confines the builder.
        sandbox: Sandbox,
    },
}

/// Builder to supervisor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FromBuilder {
    /// The artifact is not in the cache: a compilation began.
    Compiling {
        /// Size of the component in bytes.
        bytes: u64,
    },
    /// Another process compiles the same component: waiting for it.
    Waiting,
    /// The artifact is in the cache.
    Built(Built),
    /// The component cannot be served.
    Rejected(Rejection),
    /// The cache cannot be used.
    CacheFailed {
        /// What went wrong.
        message: String,
    },
}

/// A compiled and linked component in the cache.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Built {
    /// File name inside the cache directory.
    pub artifact: String,
    /// The engine it was compiled for.
    pub shape: Shape,
    /// What an instance of it takes.
    pub needs: Needs,
    /// SHA-256 of the component's bytes, in lower-case hexadecimal.
    pub digest: String,
    /// How many they are.
    pub bytes: u64,
    /// Why the component could not be kept, where that was asked for.
    pub not_kept: Option<String>,
    /// Whether the cache had it already.
    pub cached: bool,
    /// Whether an instance of it serves one request and no other, whoever wants more.
    pub single_use: bool,
    /// Whether a cache entry had to be thrown away because its content was not what was written.
    pub replaced_damaged: bool,
}

#[cfg(any(test, fuzzing))]
pub mod laws;
#[cfg(test)]
mod tests;

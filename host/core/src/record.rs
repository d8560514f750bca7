//! What an operator may want to read, as data. The words are the command's business.
//!
//! The supervisor makes them for its own log, keeps the last ones, and sends them to commands that follow what happens.

use core::net::SocketAddr;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::cluster::time::millis;
use crate::cluster::{Generation, Notice, SlotId};
use crate::message::{Conditions, Report};
use crate::recent::Recent;

/// A moment of the world's calendar, in milliseconds since 1970. Whoever has a clock makes it, and whoever shows it turns
/// it into words.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Stamp(pub u64);

/// A record, and when it was made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stamped {
    /// When.
    pub at: Stamp,
    /// What.
    pub record: Record,
}

/// One thing worth a line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "snake_case")]
pub enum Record {
    /// The component is being compiled, and has been for a while.
    Compiling {
        /// What it is called.
        component: String,
        /// Its size.
        bytes: u64,
        /// The time since compilation began.
        #[serde(rename = "elapsed_ms", with = "millis")]
        elapsed: Duration,
    },
    /// Another process compiles the same component, and has for a while.
    WaitingForBuild {
        /// What it is called.
        component: String,
        /// The time since we began to wait.
        #[serde(rename = "elapsed_ms", with = "millis")]
        elapsed: Duration,
    },
    /// A file in the cache was not what had been written there; it was compiled again.
    CacheRepaired {
        /// What the component is called.
        component: String,
    },
    /// Instances were to serve several requests each, of a component of which each can serve but one.
    ReuseRefused {
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
    /// What workers found the machine to give.
    Conditions(Conditions),
    /// We were asked to look at the component again.
    Reloading {
        /// What it is called.
        component: String,
    },
    /// A component was pushed.
    Pushed {
        /// What it is called.
        component: String,
    },
    /// Somebody wants an older generation back.
    RollingBack {
        /// What its component is called.
        component: String,
        /// Which one.
        to: Generation,
    },
    /// Another program goes on in the place of this one, as soon as nothing is built or rolled out.
    Upgrading {
        /// Its file.
        program: String,
        /// The version that goes.
        from: String,
        /// The version that comes.
        to: String,
    },
    /// This is another program than before, in the same process.
    Upgraded {
        /// The version that went.
        from: String,
        /// This one.
        to: String,
    },
    /// There is no other program that would go on, and so this one does.
    UpgradeFailed {
        /// Why.
        message: String,
        /// What to do about it.
        hint: Option<String>,
    },
    /// What is served is built again, by a new version of this program.
    Renewing {
        /// What it is called.
        component: String,
    },
    /// What was asked for is what is served already.
    Unchanged {
        /// What the component is called.
        component: String,
        /// The generation that is served.
        generation: Generation,
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
    /// The component's file was watched, and is no longer: what becomes of it is not seen until a reload.
    Unwatched {
        /// What it is called.
        component: String,
        /// Why.
        reason: String,
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
    /// A worker is ready, and has measured how long an instance takes to start.
    InstanceStarted {
        /// Its slot.
        slot: SlotId,
        /// Its process.
        pid: u32,
        /// In microseconds.
        #[serde(rename = "elapsed_us")]
        micros: u64,
    },
    /// A worker that does not answer is looked at.
    WorkerHeld {
        /// Its slot.
        slot: SlotId,
        /// Its process.
        pid: u32,
        /// What the kernel says of it.
        #[serde(flatten)]
        symptoms: Symptoms,
    },
    /// A guest trapped, and its core dump was kept.
    CoreDumped {
        /// The slot of its worker.
        slot: SlotId,
        /// The process.
        pid: u32,
        /// Where it is.
        file: String,
        /// Its size.
        bytes: u64,
    },
    /// A guest trapped, and its core dump could not be kept.
    CoreDumpFailed {
        /// The slot of its worker.
        slot: SlotId,
        /// The process.
        pid: u32,
        /// Why.
        message: String,
        /// What to do about it.
        hint: Option<String>,
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
    /// The history on disk cannot be read or written. It goes on in memory.
    HistoryFailed {
        /// Why.
        message: String,
        /// What to do about it.
        hint: Option<String>,
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

/// What the kernel says of a process, as far as it has it and this user may know.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Symptoms {
    /// What it does: `R (running)`, `T (stopped)`.
    pub state: Option<String>,
    /// The function of the kernel in which it waits.
    pub waits_in: Option<String>,
    /// The number of the system call that it is in.
    pub system_call: Option<u32>,
    /// Where in the kernel it is, innermost first.
    pub stack: Vec<String>,
    /// The last requests that it took, the oldest first.
    pub requests: Vec<Recent>,
}

/// Who wrote a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    /// Descriptor 1.
    Stdout,
    /// Descriptor 2.
    Stderr,
}

//! What a cluster is told.

use core::fmt;
use core::num::NonZeroU16;

use serde::{Deserialize, Serialize};

use super::{Generation, Plan, SlotId, Wear, WorkerId};
use crate::sample::Sample;

/// Something that happened, reported by the supervisor.
///
/// Events may come late, twice, or in another order than they happened: a channel's EOF races with the reaping of
/// its process. An event that names a worker which is gone, or that makes no sense in the worker's phase, changes
/// nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The worker is accepting: artifact mapped, instance created, probe answered.
    ///
    /// Report it before anything else that is at hand in the same moment, a [`Stop`](Self::Stop) or a timeout above
    /// all: until it is reported the worker counts as starting, and who is starting may be killed without a drain.
    WorkerReady {
        /// Which one.
        worker: WorkerId,
    },
    /// The worker says that it cannot start and that trying again would end the same way, because the component
    /// traps while starting for example. Not for a worker that merely died.
    WorkerFailed {
        /// Which one.
        worker: WorkerId,
        /// Why, in words for the operator.
        reason: String,
    },
    /// The worker is done draining and about to exit. Optional: what counts is the exit.
    WorkerDrained {
        /// Which one.
        worker: WorkerId,
        /// How many requests it cut off at its deadline.
        cut: u64,
    },
    /// The worker's process was reaped: this is what frees its place in the slot. To be reported for every process,
    /// after all that its channel still held (a refusal told after the exit is not heard), and never on EOF of the
    /// channel alone.
    WorkerExited {
        /// Which one.
        worker: WorkerId,
        /// How.
        exit: Exit,
    },
    /// The process that [`Action::Spawn`](super::Action::Spawn) asked for could not be created. Stands for the exit
    /// of the worker; there will be no other.
    SpawnFailed {
        /// Which one.
        worker: WorkerId,
        /// Why, in words for the operator.
        reason: String,
    },
    /// The operator wants another generation in every slot. Said again, with another one, the last word counts; said of
    /// the generation that is there already, it means nothing.
    Roll {
        /// Which one. It was built, and it can be linked.
        generation: Generation,
        /// How carefully.
        plan: Plan,
    },
    /// The operator wants so many slots. The last ones go first.
    Scale {
        /// How many.
        slots: NonZeroU16,
    },
    /// The operator wants another worker in a slot, of the same generation. A slot that was given up gets another chance.
    Restart {
        /// Which one.
        slot: SlotId,
    },
    /// A worker has served enough: another one is to take its place, of the same generation.
    WorkerWorn {
        /// Which one.
        worker: WorkerId,
        /// By what.
        wear: Wear,
    },
    /// A worker is alive, and this is what it has served so far. To be told for every worker, more often than
    /// [`heartbeat_timeout`](super::Settings::heartbeat_timeout).
    WorkerPulse {
        /// Which one.
        worker: WorkerId,
        /// What it has served since it is ready.
        served: Box<Sample>,
    },
    /// The operator wants the cluster to stop after finishing its requests. The second time, at once.
    Stop,
    /// The operator wants the cluster to stop at once.
    StopFast,
}

/// How a process ended.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exit {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// Nobody knows: somebody else reaped it.
    Unknown,
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
            Self::Unknown => f.write_str("unknown exit"),
        }
    }
}

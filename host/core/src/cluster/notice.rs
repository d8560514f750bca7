//! What an operator should hear about, as data. The words are the command's business.

use core::time::Duration;

use serde::{Deserialize, Serialize};

use super::time::{millis, optional_millis};
use super::{Abort, Exit, Generation, SlotId, Wear, WorkerId};

/// Something worth a line in the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "notice", rename_all = "snake_case")]
pub enum Notice {
    /// A worker became ready.
    WorkerReady {
        /// Which one.
        worker: WorkerId,
        /// Its slot.
        slot: SlotId,
        /// What it serves.
        generation: Generation,
        /// The time from its spawn.
        #[serde(rename = "took_ms", with = "millis")]
        took: Duration,
    },
    /// A slot that had nobody serving has somebody.
    SlotServing {
        /// Which one.
        slot: SlotId,
    },
    /// All slots serve that were not given up, for the first time. At most once in the life of a cluster.
    AllServing,
    /// A worker was not ready in time and is being killed. [`WorkerCrashed`](Self::WorkerCrashed) follows when it
    /// is gone.
    StartTimedOut {
        /// Which one.
        worker: WorkerId,
        /// Its slot.
        slot: SlotId,
        /// The time it was given.
        #[serde(rename = "timeout_ms", with = "millis")]
        timeout: Duration,
    },
    /// A worker said nothing for too long and is being killed. [`WorkerCrashed`](Self::WorkerCrashed) follows when it is
    /// gone.
    WorkerSilent {
        /// Which one.
        worker: WorkerId,
        /// Its slot.
        slot: SlotId,
        /// How long it has been silent.
        #[serde(rename = "silent_ms", with = "millis")]
        silent: Duration,
    },
    /// A worker has said nothing for so long that new connections go to others, as long as there are any.
    WorkerStuck {
        /// Which one.
        worker: WorkerId,
        /// Its slot.
        slot: SlotId,
        /// How long it has been silent.
        #[serde(rename = "silent_ms", with = "millis")]
        silent: Duration,
    },
    /// A worker that was wanted is gone.
    WorkerCrashed {
        /// Which one.
        worker: WorkerId,
        /// Its slot.
        slot: SlotId,
        /// What it served.
        generation: Generation,
        /// How long it had been ready, if it ever was.
        #[serde(rename = "uptime_ms", with = "optional_millis")]
        uptime: Option<Duration>,
        /// What brought it down.
        cause: Cause,
        /// The delay before its successor is spawned; none if there will be no successor.
        #[serde(rename = "restart_in_ms", with = "optional_millis")]
        restart_in: Option<Duration>,
    },
    /// A slot used up its restarts and stays empty.
    SlotErrored {
        /// Which one.
        slot: SlotId,
        /// How many unstable exits it had within the window, the last one included.
        unstable_exits: u32,
        /// The length of that window.
        #[serde(rename = "window_ms", with = "millis")]
        window: Duration,
    },
    /// A generation that never served said that it cannot start.
    GenerationRejected {
        /// Which one.
        generation: Generation,
        /// What the first of its workers to fail said.
        reason: String,
    },
    /// There are to be more slots, or fewer.
    Scaling {
        /// How many there were to be.
        from: usize,
        /// How many there are to be.
        to: usize,
    },
    /// A worker serves until another one of its generation serves in its place.
    WorkerLeaving {
        /// Which one.
        worker: WorkerId,
        /// Its slot.
        slot: SlotId,
        /// Why.
        #[serde(flatten)]
        wear: Wear,
    },
    /// Slots are to serve another generation.
    RolloutBegan {
        /// Which one.
        generation: Generation,
        /// What they return to if that fails.
        from: Generation,
    },
    /// A slot gets a worker of another generation. The one it has serves until then.
    SlotTurning {
        /// Which one.
        slot: SlotId,
        /// The generation that it gets.
        generation: Generation,
    },
    /// The first slots serve the new generation, and are given time to fail.
    RolloutBaking {
        /// Which generation.
        generation: Generation,
        /// How long.
        #[serde(rename = "bake_ms", with = "millis")]
        bake: Duration,
    },
    /// Every slot serves the new generation.
    RolloutDone {
        /// Which one.
        generation: Generation,
        /// The time since it began.
        #[serde(rename = "took_ms", with = "millis")]
        took: Duration,
    },
    /// The new generation will not be served. Unless something else is said, slots return to the old one.
    RolloutAborted {
        /// Which generation.
        generation: Generation,
        /// Why not.
        #[serde(flatten)]
        abort: Abort,
    },
    /// After a rollout that failed, every slot serves the old generation.
    RolloutReturned {
        /// Which one.
        generation: Generation,
    },
    /// A worker is still busy although its time to drain is over.
    DrainDeadlinePassed {
        /// Which one.
        worker: WorkerId,
        /// Its slot.
        slot: SlotId,
    },
    /// A worker cut off requests at its drain deadline. Not sent for none.
    RequestsCut {
        /// Which one.
        worker: WorkerId,
        /// Its slot.
        slot: SlotId,
        /// How many.
        cut: u64,
    },
    /// A worker that was no longer wanted is gone.
    WorkerStopped {
        /// Which one.
        worker: WorkerId,
        /// Its slot.
        slot: SlotId,
        /// How its process ended; none if it never began.
        exit: Option<Exit>,
    },
}

/// What brought a worker down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "cause", rename_all = "snake_case")]
pub enum Cause {
    /// It ended by itself, or by somebody else's hand.
    Exited {
        /// How.
        exit: Exit,
    },
    /// It was killed because it was not ready in time.
    StartTimedOut,
    /// It was killed because it had said nothing for too long.
    Silent {
        /// How long.
        #[serde(rename = "silent_ms", with = "millis")]
        silent: Duration,
    },
    /// It said that it cannot start, although its generation has served before.
    Failed {
        /// What it said.
        reason: String,
    },
    /// Its process could not be created.
    SpawnFailed {
        /// Why.
        reason: String,
    },
}

//! What a cluster wants done.

use serde::{Deserialize, Serialize};

use super::{Generation, Notice, SlotId, Time, WorkerId};
use crate::steering::Steering;

/// Something for the supervisor to do, in the order in which it was yielded.
///
/// No action needs an answer in place: what became of it comes back as an [`Event`](super::Event).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Start a process for this worker. It is told about at most once, and answered by
    /// [`WorkerExited`](super::Event::WorkerExited) or [`SpawnFailed`](super::Event::SpawnFailed) in the end.
    Spawn {
        /// The name of the new worker.
        worker: WorkerId,
        /// The slot whose listener it inherits.
        slot: SlotId,
        /// The version it serves.
        generation: Generation,
    },
    /// Tell the worker to finish its requests and exit. At most once for each worker.
    Drain {
        /// Which one.
        worker: WorkerId,
        /// When it must cut what is left.
        deadline: Time,
        /// Who serves in its place, and takes over its connections. None when nobody does, because everything stops.
        heir: Option<WorkerId>,
    },
    /// Send SIGKILL. At most once for each worker. The process may be gone already, but it was not reported as
    /// reaped, so its pid cannot belong to somebody else.
    Kill {
        /// Which one.
        worker: WorkerId,
    },
    /// Close the slot's socket: the cluster has fewer slots now, and this one's last worker is gone. Its number may come
    /// back, with another socket.
    Close {
        /// Which one.
        slot: SlotId,
    },
    /// Deal new connections out like this from now on. At first all slots get the same. Said when it changes; not said any
    /// more in a cluster that stops.
    Steer(Steering),
    /// Tell the operator.
    Notify(Notice),
    /// The end. Yielded once, as the last action, when no process is left.
    Stopped {
        /// Why it ended.
        outcome: Outcome,
    },
}

/// Why a cluster stopped. The first reason stands; what happens while stopping does not change it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// The operator asked for it.
    Asked,
    /// The generation cannot start, and there is no older one to return to.
    Rejected {
        /// Which generation.
        generation: Generation,
        /// What the first of its workers to fail said.
        reason: String,
    },
    /// Every slot used up its restarts.
    AllErrored,
}

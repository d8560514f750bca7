//! What a cluster can owe.

use super::super::{Action, Generation, Notice, SlotId, WorkerId};

/// One obligation. Each is met by exactly one action, within the step in which it arises.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Owed {
    Spawn(SlotId),
    Drain(WorkerId),
    Kill(WorkerId),
    Ready(WorkerId),
    SlotServing(SlotId),
    AllServing,
    StartTimedOut(WorkerId),
    Silent(WorkerId),
    Stuck(WorkerId),
    Crashed(WorkerId),
    Errored(SlotId),
    Rejected(String),
    Overdue(WorkerId),
    Cut(WorkerId, u64),
    WorkerStopped(WorkerId),
    /// To this one, from that one. A rollout may be over in the step in which it begins.
    Began(Generation, Generation),
    Turning(SlotId),
    Baking(Generation),
    Done(Generation),
    Aborted(Generation),
    Returned(Generation),
    Scaling(usize),
    Leaving(WorkerId),
    Close(SlotId),
    Stopped,
}

impl Owed {
    /// The obligation that an action meets, if it is of the kind that is owed.
    pub(super) fn by(action: &Action) -> Option<Self> {
        Some(match action {
            // Said when it changes: what counts is the last word in a step.
            Action::Steer(_) => return None,
            Action::Spawn { slot, .. } => Self::Spawn(*slot),
            Action::Drain { worker, .. } => Self::Drain(*worker),
            Action::Kill { worker } => Self::Kill(*worker),
            Action::Close { slot } => Self::Close(*slot),
            Action::Stopped { .. } => Self::Stopped,
            Action::Notify(notice) => match notice {
                Notice::WorkerReady { worker, .. } => Self::Ready(*worker),
                Notice::SlotServing { slot } => Self::SlotServing(*slot),
                Notice::AllServing => Self::AllServing,
                Notice::StartTimedOut { worker, .. } => Self::StartTimedOut(*worker),
                Notice::WorkerSilent { worker, .. } => Self::Silent(*worker),
                Notice::WorkerStuck { worker, .. } => Self::Stuck(*worker),
                Notice::WorkerCrashed { worker, .. } => Self::Crashed(*worker),
                Notice::SlotErrored { slot, .. } => Self::Errored(*slot),
                Notice::GenerationRejected { reason, .. } => Self::Rejected(reason.clone()),
                Notice::RolloutBegan { generation, from } => Self::Began(*generation, *from),
                Notice::SlotTurning { slot, .. } => Self::Turning(*slot),
                Notice::RolloutBaking { generation, .. } => Self::Baking(*generation),
                Notice::RolloutDone { generation, .. } => Self::Done(*generation),
                Notice::RolloutAborted { generation, .. } => Self::Aborted(*generation),
                Notice::RolloutReturned { generation } => Self::Returned(*generation),
                Notice::Scaling { to, .. } => Self::Scaling(*to),
                Notice::WorkerLeaving { worker, .. } => Self::Leaving(*worker),
                Notice::DrainDeadlinePassed { worker, .. } => Self::Overdue(*worker),
                Notice::RequestsCut { worker, cut, .. } => Self::Cut(*worker, *cut),
                Notice::WorkerStopped { worker, .. } => Self::WorkerStopped(*worker),
            },
        })
    }
}

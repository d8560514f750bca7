//! What a cluster owes to what workers say about themselves.

use super::super::super::{Abort, Generation, Time, WorkerId, Worse};
use super::{Ledger, Process};
use crate::sample::Sample;

impl Process {
    /// What it has served since the rollout began.
    pub(super) fn since_rollout(&self) -> Sample {
        self.served.since(&self.served_before)
    }
}

impl Ledger {
    pub(super) fn pulse(&mut self, worker: WorkerId, served: &Sample, now: Time) {
        let Some(process) = self.processes.get_mut(&worker).filter(|process| !process.reaped) else { return };
        process.heard = now;
        process.stuck = false;
        process.served = served.clone();
        let Some(rollout) = self.rollout.as_ref().filter(|rollout| !rollout.returning) else { return };
        let Some(allowed) = rollout.plan.gate.errors else { return };
        let sum = |generation: Generation| {
            let of = self.live().filter(|(_, process)| process.generation == generation);
            of.map(|(_, process)| process.since_rollout()).fold((0, 0), |(requests, errors), served| {
                (requests + served.requests, errors + served.errors)
            })
        };
        let (requests, errors) = sum(self.target);
        let (of_old, old_errors) = sum(rollout.from);
        let (of_old, old_errors) =
            (of_old + rollout.served_before.requests, old_errors + rollout.served_before.errors);
        let usual_percent = (old_errors * 100).checked_div(of_old).unwrap_or(0);
        if requests >= 10 && errors * 100 / requests > usual_percent + u64::from(allowed) {
            self.abort(Abort::Worse(Worse::Errors { errors, requests, traps: 0, usual_percent }));
        }
    }

    /// A rollout begins: what was served before is not its business.
    pub(super) fn begin_to_count(&mut self) {
        for process in self.processes.values_mut() {
            process.served_before = process.served.clone();
        }
    }
}

//! Whether everything is as it should be when a step is over.

use super::super::super::{Cluster, SlotPhase, Time, Worker};
use super::{Ledger, Process, require};

impl Ledger {
    /// The step is over: nothing may be owed, and the cluster must look as it should.
    pub(in super::super) fn settle(&mut self, cluster: &Cluster, now: Time) -> Result<(), String> {
        require(self.owed.is_empty(), &format!("still owed: {:?}", self.owed))?;
        let (expected, actual) = (self.next_deadline(), cluster.poll_timeout());
        require(expected == actual, &format!("timeout {actual:?}, not {expected:?}"))?;
        require(cluster.is_stopping() == self.is_stopping(), "wrong about stopping")?;
        require(cluster.is_stopped() == self.stopped, "wrong about being stopped")?;
        require(cluster.generation() == self.target, "wrong about the target")?;
        // Those that were killed are as good as gone. A slot that comes back while its last worker is still there makes
        // one more.
        let processes = self.live().filter(|(_, process)| !process.killed).count();
        require(processes <= self.slots.len() + 1 + self.revived, "more than one process too many")?;
        require(cluster.slots().len() == self.slots.len(), "wrong number of slots")?;
        for (slot, model) in cluster.slots().iter().zip(&self.slots) {
            let mine = |process: &Process| process.slot == slot.id();
            let workers: Vec<_> = slot.workers().iter().map(Worker::id).collect();
            let expected: Vec<_> =
                self.live().filter(|(_, process)| mine(process)).map(|(worker, _)| worker).collect();
            require(workers == expected, &format!("slot {} has {workers:?}, not {expected:?}", slot.id()))?;
            require(slot.restarts() == model.lost, "wrong count of restarts")?;
            require(slot.is_errored() == model.errored, "wrong about being errored")?;
            let serving = self.live().any(|(_, process)| mine(process) && process.is_serving());
            require(slot.is_serving() == serving, "wrong about serving")?;
            let excused = self.is_stopping() || model.retired || self.bereft.contains(&slot.id());
            require(serving || !model.served || excused, "a slot that served does not, and nobody died")?;
            let phase = slot.phase(now);
            require(slot.is_retired() == model.retired, "wrong about being retired")?;
            if !self.is_stopping() && !model.retired && workers.is_empty() {
                let expected = match self.due(slot.id()) {
                    Some(due) => SlotPhase::Waiting { restart_in: due - now },
                    None => SlotPhase::Errored,
                };
                require(phase == expected, &format!("an empty slot is {phase:?}, not {expected:?}"))?;
            }
        }
        self.check_steering()?;
        for (slot, model) in cluster.slots().iter().zip(&mut self.slots) {
            model.served = slot.is_serving();
        }
        Ok(())
    }

    /// The earliest time at which something must happen by itself.
    fn next_deadline(&self) -> Option<Time> {
        let workers = self.live().filter_map(|(_, process)| match process {
            Process { killed: true, .. } => None,
            Process { drain: Some(deadline), overdue: false, heard, .. } => {
                let killed = self.settings.heartbeat_timeout.map(|timeout| *heard + timeout);
                killed.into_iter().chain([*deadline]).min()
            }
            Process { drain: Some(deadline), overdue: true, .. } => {
                Some(*deadline + self.settings.exit_grace)
            }
            process if process.is_serving() => {
                let killed = self.settings.heartbeat_timeout.map(|timeout| process.heard + timeout);
                let stuck = self.settings.stuck_after.map(|after| process.heard + after);
                [killed, stuck.filter(|_| !process.stuck)].into_iter().flatten().min()
            }
            process => process.is_starting().then_some(process.spawned + self.settings.listen_timeout),
        });
        let baking = self.rollout.as_ref().and_then(|rollout| rollout.baking);
        workers.chain(self.slot_ids().filter_map(|slot| self.due(slot))).chain(baking).min()
    }

    /// Whether every slot that was not given up serves.
    pub(in super::super) fn all_well(&self) -> bool {
        self.active().all(|slot| {
            self.slots[slot.index()].errored
                || self.live().any(|(_, process)| process.slot == slot && process.is_serving())
        })
    }
}

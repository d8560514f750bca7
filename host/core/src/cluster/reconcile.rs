//! From what is wanted and what is there to what must be done.

use core::time::Duration;
use std::collections::VecDeque;

use super::{Action, Cause, Cluster, Life, Notice, Outcome, Phase, Slot, Time, Worker, WorkerId};

/// Whoever wakes this much later than asked was held up.
const OVERSLEPT: Duration = Duration::from_secs(1);

impl Cluster {
    /// Closes the gap between wanted and actual, in every slot, as far as it can be closed at once. Doing it twice
    /// changes nothing.
    pub(super) fn reconcile(&mut self, now: Time) {
        self.announce();
        self.advance(now);
        self.renew_next();
        // A rollout is no hope: a slot of the new generation is never given up, and on the way back there is none.
        if self.active().all(|slot| slot.is_errored() && !slot.is_serving()) {
            self.stop(Outcome::AllErrored, false);
        }
        let fast = match &self.life {
            Life::Running => false,
            Life::Stopping { fast, .. } => *fast,
            Life::Stopped => return,
        };
        for slot in 0..self.slots.len() {
            self.dismiss_unwanted(slot, fast, now);
            self.spawn_missing(slot, now);
        }
        if self.life == Life::Running {
            self.close_retired();
        }
        self.steer();
        self.finish();
    }

    /// Says once that everything serves that can.
    fn announce(&mut self) {
        let settled = |slot: &Slot| slot.is_serving() || slot.is_errored();
        if !self.announced && self.active().all(settled) && self.active().any(Slot::is_serving) {
            self.announced = true;
            self.notify(Notice::AllServing);
        }
    }

    /// Tells workers that are not wanted to go: those that serve by draining, once somebody serves in their place, and
    /// those that have nothing to lose at once.
    fn dismiss_unwanted(&mut self, slot: usize, fast: bool, now: Time) {
        let running = self.life == Life::Running;
        let wanted = self.slots[slot].wanted;
        let heir = match wanted {
            Some(_) => {
                let mut workers = self.slots[slot].workers.iter();
                workers.find(|worker| worker.is_serving() && worker.is_wanted(wanted)).map(Worker::id)
            }
            None if running => self.neighbour(slot),
            None => None,
        };
        let replaced = !running || heir.is_some();
        let mut leaving = Vec::new();
        for worker in self.slots[slot].workers.iter_mut().filter(|worker| !worker.is_wanted(wanted)) {
            if worker.phase == Phase::Serving && !replaced {
                continue;
            }
            worker.dismissed = true;
            match worker.phase {
                Phase::Starting { .. } => kill(worker, &mut self.actions),
                Phase::Serving | Phase::Draining { .. } if fast => kill(worker, &mut self.actions),
                Phase::Serving => {
                    let deadline = now + self.settings.kill_timeout;
                    worker.phase = Phase::Draining { deadline, overdue: false, heir };
                    self.actions.push_back(Action::Drain { worker: worker.id(), deadline, heir });
                    leaving.push(worker.id());
                }
                Phase::Draining { .. } | Phase::Killed => {}
            }
        }
        for worker in leaving {
            // What is still on its way to it is handed on.
            self.for_whom_it_is_heir(worker, |theirs, _| *theirs = heir);
        }
    }

    /// An heir has died: those who hand their connections over to it get them back. Time begins anew for these.
    pub(super) fn bereave(&mut self, heir: WorkerId, now: Time) {
        let anew = now + self.settings.kill_timeout;
        self.for_whom_it_is_heir(heir, |heir, deadline| (*heir, *deadline) = (None, anew));
    }

    fn for_whom_it_is_heir(
        &mut self,
        worker: WorkerId,
        mut change: impl FnMut(&mut Option<WorkerId>, &mut Time),
    ) {
        for other in self.slots.iter_mut().flat_map(|slot| &mut slot.workers) {
            if let Phase::Draining { deadline, overdue: false, heir } = &mut other.phase
                && *heir == Some(worker)
            {
                change(heir, deadline);
            }
        }
    }

    /// Who takes over what a retired slot has. Not the same one for all of them.
    fn neighbour(&self, retired: usize) -> Option<WorkerId> {
        let serving: Vec<_> =
            self.active().flat_map(|slot| slot.workers.iter().filter(|worker| worker.is_serving())).collect();
        Some(serving.get(retired.checked_rem(serving.len())?)?.id())
    }

    /// Spawns what is missing, if its time has come.
    fn spawn_missing(&mut self, slot: usize, now: Time) {
        let slot = &mut self.slots[slot];
        let Some((generation, time)) = slot.next_spawn() else { return };
        if now < time {
            return;
        }
        let worker = self.next_worker;
        self.next_worker = WorkerId(worker.0 + 1);
        slot.workers.push(Worker::new(worker, generation, &self.settings, now));
        self.actions.push_back(Action::Spawn { worker, slot: slot.id(), generation });
    }

    /// Ends the cluster when it is stopping and the last process is gone.
    fn finish(&mut self) {
        if let Life::Stopping { outcome, .. } = &self.life
            && self.slots.iter().all(|slot| slot.workers.is_empty())
        {
            let outcome = outcome.clone();
            self.life = Life::Stopped;
            self.actions.push_back(Action::Stopped { outcome });
        }
    }

    /// Deals with workers whose time is up.
    pub(super) fn expire(&mut self, now: Time) {
        for slot in 0..self.slots.len() {
            for index in 0..self.slots[slot].workers.len() {
                // A late call may find both the deadline of a drain and its grace in the past.
                while self.expire_worker(slot, index, now) {}
            }
        }
    }

    /// Deals with the next thing for which a worker's time is up. False if there is none.
    fn expire_worker(&mut self, slot: usize, index: usize, now: Time) -> bool {
        let slot_id = self.slots[slot].id();
        let worker = &mut self.slots[slot].workers[index];
        if worker.timeout(&self.settings).is_none_or(|time| now < time) {
            return false;
        }
        let id = worker.id();
        match worker.phase {
            Phase::Starting { .. } => {
                let timeout = self.settings.listen_timeout;
                self.notify(Notice::StartTimedOut { worker: id, slot: slot_id, timeout });
                self.condemn(slot, index, Cause::StartTimedOut);
            }
            Phase::Draining { deadline, overdue: false, heir } if deadline <= now => {
                worker.phase = Phase::Draining { deadline, overdue: true, heir };
                self.notify(Notice::DrainDeadlinePassed { worker: id, slot: slot_id });
            }
            Phase::Draining { overdue: true, .. } => kill(worker, &mut self.actions),
            Phase::Serving | Phase::Draining { .. } => {
                let (silent, patience) = (now - worker.heard, worker.patience(&self.settings));
                // Nobody looked for so long that what it said may still be on its way: we were held up ourselves.
                if patience.is_some_and(|patience| silent > patience + OVERSLEPT) {
                    worker.heard = now;
                    return true;
                }
                // As precise as it is written down.
                let silent = Duration::from_millis(u64::try_from(silent.as_millis()).unwrap_or(u64::MAX));
                if patience != self.settings.heartbeat_timeout {
                    worker.stuck = true;
                    self.notify(Notice::WorkerStuck { worker: id, slot: slot_id, silent });
                } else {
                    self.notify(Notice::WorkerSilent { worker: id, slot: slot_id, silent });
                    self.condemn(slot, index, Cause::Silent { silent });
                }
            }
            Phase::Killed => return false,
        }
        true
    }

    /// Kills a worker that was wanted, and remembers why.
    pub(super) fn condemn(&mut self, slot: usize, index: usize, cause: Cause) {
        let worker = &mut self.slots[slot].workers[index];
        worker.condemned = Some(cause);
        kill(worker, &mut self.actions);
    }
}

/// Asks for SIGKILL, unless that was done.
fn kill(worker: &mut Worker, actions: &mut VecDeque<Action>) {
    if worker.phase != Phase::Killed {
        worker.phase = Phase::Killed;
        actions.push_back(Action::Kill { worker: worker.id() });
    }
}

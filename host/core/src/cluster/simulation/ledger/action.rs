//! What a cluster did: was it owed, and is it right?

use core::time::Duration;

use super::super::super::{Action, Cause, Generation, Notice, SlotId, Time, WorkerId};
use super::super::owed::Owed;
use super::{Ledger, Process, Stop, require};
use crate::sample::Sample;

impl Ledger {
    /// The cluster did something: was it owed, and is it right?
    pub(in super::super) fn action(&mut self, action: &Action, now: Time) -> Result<(), String> {
        if self.stopped {
            return Err(format!("{action:?} after the end"));
        }
        if let Some(owed) = Owed::by(action)
            && !self.owed.remove(&owed)
        {
            return Err(format!("{action:?} was not owed, but {:?}", self.owed));
        }
        let too_late = self.dealt.act();
        match action {
            Action::Spawn { worker, slot, generation } => self.spawned(*worker, *slot, *generation, now),
            Action::Drain { worker, deadline, heir } => {
                let process = self.alive(*worker)?;
                (process.drain, process.heir) = (Some(*deadline), *heir);
                let slot = process.slot;
                self.check_nothing_comes_to(slot)?;
                self.inherits(*heir, *worker)?;
                for other in self.processes.values_mut().filter(|other| other.heir == Some(*worker)) {
                    other.heir = *heir;
                }
                require(*deadline == now + self.settings.kill_timeout, "wrong drain deadline")
            }
            Action::Kill { worker } => {
                self.alive(*worker)?.killed = true;
                Ok(())
            }
            Action::Close { slot } => {
                require(slot.index() + 1 == self.slots.len(), "closed out of order")?;
                self.slots.pop();
                Ok(())
            }
            Action::Steer(steering) => self.steered(steering, too_late),
            Action::Notify(notice) => self.notice(notice, now),
            Action::Stopped { outcome } => {
                self.stopped = true;
                require(self.live().next().is_none(), "stopped before the last process was gone")?;
                require(self.owed.is_empty(), "stopped is not the last action")?;
                match &self.stop {
                    Stop::Graceful(expected) | Stop::Fast(expected) if expected == outcome => Ok(()),
                    other => Err(format!("ended with {outcome:?}, not with {other:?}")),
                }
            }
        }
    }

    fn alive(&mut self, worker: WorkerId) -> Result<&mut Process, String> {
        let process =
            self.processes.get_mut(&worker).ok_or_else(|| format!("worker {worker} never lived"))?;
        require(!process.reaped, "told to a worker that is gone")?;
        require(!process.killed, "told to a worker that was killed")?;
        Ok(process)
    }

    /// Connections go to somebody who serves in the same slot and stays, or for a retired slot in one that is not; in a
    /// stop there is nobody.
    fn inherits(&self, heir: Option<WorkerId>, worker: WorkerId) -> Result<(), String> {
        if self.is_stopping() {
            return require(heir.is_none(), "an heir in a stop");
        }
        let Some(heir) = heir else { return Err(format!("worker {worker} drains without an heir")) };
        let slot = self.processes[&worker].slot;
        let heir = self.processes.get(&heir).ok_or_else(|| format!("the heir {heir} never lived"))?;
        if self.slots[slot.index()].retired {
            require(!self.slots[heir.slot.index()].retired, "an heir that retires, too")?;
            return require(heir.is_serving(), "an heir that does not serve");
        }
        require(heir.slot == slot, "an heir in another slot")?;
        require(heir.is_serving() && !heir.dismissed, "an heir that does not serve, or is to go")?;
        require(self.slots[slot.index()].wanted == Some(heir.generation), "an heir that nobody wants")
    }

    fn spawned(
        &mut self,
        worker: WorkerId,
        slot: SlotId,
        generation: Generation,
        now: Time,
    ) -> Result<(), String> {
        require(self.slots[slot.index()].wanted == Some(generation), "wrong generation")?;
        require(!self.is_stopping(), "spawn while stopping")?;
        let process = Process {
            slot,
            generation,
            spawned: now,
            ready: None,
            drain: None,
            heir: None,
            overdue: false,
            killed: false,
            dismissed: false,
            worn: None,
            leaving: false,
            heard: now,
            stuck: false,
            served: Sample::default(),
            served_before: Sample::default(),
            cause: None,
            reported: false,
            reaped: false,
        };
        require(self.processes.insert(worker, process).is_none(), "worker id used twice")
    }

    fn notice(&mut self, notice: &Notice, now: Time) -> Result<(), String> {
        match notice {
            Notice::WorkerReady { worker, slot, took, .. } => {
                let process = &self.processes[worker];
                require(process.slot == *slot && now - process.spawned == *took, "wrong words about a worker")
            }
            Notice::WorkerSilent { worker, silent, .. } => require(
                self.processes[worker].cause == Some(Cause::Silent { silent: *silent }),
                "wrong silence",
            ),
            Notice::WorkerCrashed { worker, slot, uptime, cause, restart_in, .. } => {
                let Some(verdict) = self.verdicts.remove(worker) else { return Err("no verdict".to_owned()) };
                require(self.processes[worker].slot == *slot, "wrong slot")?;
                require(*uptime == verdict.uptime && *cause == verdict.cause, "wrong words about a crash")?;
                let Some(law) = verdict.law else {
                    return require(restart_in.is_none(), "errored, yet restarted");
                };
                let Some(delay) = *restart_in else {
                    return Err("not errored, yet not restarted".to_owned());
                };
                require(
                    law / 2 <= delay && delay <= law,
                    &format!("delay {delay:?} under the law of {law:?}"),
                )?;
                if law > Duration::from_micros(1) {
                    self.jitter
                        .push(u64::try_from(delay.as_nanos() * 100 / law.as_nanos()).unwrap_or(u64::MAX));
                }
                self.slots[slot.index()].not_before = Some(now + delay);
                self.spawns_due(now);
                Ok(())
            }
            Notice::SlotErrored { unstable_exits, .. } => {
                require(*unstable_exits == self.settings.max_restarts + 1, "wrong count of exits")
            }
            Notice::Scaling { from, .. } => {
                require(*from == self.scaled_from, "wrong number of slots before")
            }
            Notice::WorkerLeaving { worker, slot, wear } => {
                let process = &self.processes[worker];
                require(process.slot == *slot && process.worn == Some(*wear), "leaves for another reason")
            }
            Notice::SlotTurning { slot, generation } => {
                require(self.slots[slot.index()].wanted == Some(*generation), "turns to something else")
            }
            Notice::RolloutBaking { bake, .. } => {
                require(self.rollout.as_ref().is_some_and(|rollout| rollout.plan.bake == *bake), "wrong bake")
            }
            Notice::RolloutDone { took, .. } => require(*took == self.took, "wrong time of a rollout"),
            Notice::RolloutAborted { abort, .. } => require(
                !self.aborts.is_empty() && self.aborts.remove(0) == *abort,
                "aborted for another reason",
            ),
            Notice::DrainDeadlinePassed { worker, .. } => {
                self.alive(*worker)?.overdue = true;
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

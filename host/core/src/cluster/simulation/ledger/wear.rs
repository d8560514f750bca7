//! What a cluster owes to workers that have served enough.

use super::super::super::{Abort, SlotId, Wear, WorkerId};
use super::super::owed::Owed;
use super::{Ledger, Process};

impl Ledger {
    pub(super) fn restart(&mut self, slot: SlotId) {
        if self.is_stopping() || !self.active().any(|active| active == slot) {
            return;
        }
        let wanted = self.slots[slot.index()].wanted;
        let mine =
            |process: &&mut Process| process.slot == slot && !process.reaped && process.is_wanted(wanted);
        match self.processes.values_mut().find(mine) {
            Some(process) if process.is_serving() => {
                process.worn.get_or_insert(Wear::Asked);
            }
            Some(_) => {}
            None => {
                self.revived += usize::from(self.slots[slot.index()].errored);
                self.slots[slot.index()].begin_anew();
            }
        }
    }

    pub(super) fn worn(&mut self, worker: WorkerId, wear: Wear) {
        let Some(process) = self.processes.get_mut(&worker) else { return };
        let wanted = self.slots.get(process.slot.index()).and_then(|slot| slot.wanted);
        if !process.is_serving() || !process.is_wanted(wanted) {
            return;
        }
        let generation = process.generation;
        if let Wear::Memory { bytes } = wear
            && self.rolls_to(generation)
        {
            return self.abort(Abort::Outgrown { worker, bytes });
        }
        if let Some(process) = self.processes.get_mut(&worker) {
            process.worn.get_or_insert(wear);
        }
    }

    /// One at a time, when no rollout has anything to do.
    pub(super) fn somebody_leaves(&mut self) {
        let rolling = self.rollout.as_ref().is_some_and(|rollout| rollout.baking.is_none());
        if self.is_stopping() || rolling || self.slot_ids().any(|slot| self.crowded(slot)) {
            return;
        }
        let slots = &self.slots;
        let ready = |process: &Process| {
            let wanted = slots.get(process.slot.index()).and_then(|slot| slot.wanted);
            process.worn.is_some() && process.is_serving() && process.is_wanted(wanted)
        };
        let of_first = self.processes.iter_mut().filter(|(_, process)| ready(process));
        if let Some((&worker, process)) = of_first.min_by_key(|(_, process)| process.slot) {
            process.leaving = true;
            self.owe(Owed::Leaving(worker));
        }
    }
}

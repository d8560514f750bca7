//! What a cluster owes when there are to be more slots, or fewer.

use super::super::super::Time;
use super::super::owed::Owed;
use super::{Ledger, Process, Slot};

impl Ledger {
    pub(super) fn scale(&mut self, to: usize) {
        let from = self.active().count();
        if self.is_stopping() || from == to {
            return;
        }
        self.scaled_from = from;
        self.owe(Owed::Scaling(to));
        // Somebody who came now would be no canary.
        let careful = self.rollout.as_ref().is_some_and(|rollout| rollout.is_careful());
        let wanted = self.rollout.as_ref().filter(|_| careful).map_or(self.target, |rollout| rollout.from);
        for slot in self.slots.iter_mut().skip(to) {
            (slot.retired, slot.wanted) = (true, None);
        }
        for slot in self.slots.iter_mut().take(to).filter(|slot| slot.retired) {
            let Slot { lost, served, .. } = *slot;
            *slot =
                Slot { wanted: Some(wanted), not_before: Some(Time::START), lost, served, ..Slot::default() };
            self.revived += 1;
        }
        for slot in self.slots.iter_mut().filter(|slot| slot.errored) {
            slot.begin_anew();
            // Whoever still serves there is now one too many.
            self.revived += 1;
        }
        while self.slots.len() < to {
            self.slots.push(Slot { wanted: Some(wanted), not_before: Some(Time::START), ..Slot::default() });
        }
    }

    /// Retired slots go when they are empty, the last one first.
    pub(super) fn closures(&mut self) {
        for slot in self.slot_ids().rev() {
            if !self.slots[slot.index()].retired || self.inhabitants(slot).next().is_some() {
                return;
            }
            self.owe(Owed::Close(slot));
        }
    }

    /// Whether nobody is on the way out.
    pub(in super::super) fn is_settled(&self) -> bool {
        let leaving =
            |(_, process): (_, &Process)| process.leaving && !self.slots[process.slot.index()].errored;
        self.active().count() == self.slots.len() && !self.live().any(leaving)
    }
}

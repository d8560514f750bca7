//! More slots, or fewer.
//!
//! Slots come and go at the end. One that goes is *retired*: nothing is wanted there any more, but whoever serves does so
//! until somebody can take over what it has, and its socket is closed when its last worker is gone.

use core::num::NonZeroU16;

use super::rollout::Stage;
use super::{Action, Cluster, Generation, Life, Notice, Slot, SlotId};

impl Cluster {
    /// Wants so many slots.
    pub(super) fn scale(&mut self, slots: NonZeroU16) {
        let (from, to) = (self.active().count(), usize::from(slots.get()));
        if self.life != Life::Running || from == to {
            return;
        }
        self.notify(Notice::Scaling { from, to });
        let generation = self.wanted_by_new_slots();
        for slot in self.slots.iter_mut().skip(to) {
            slot.retire();
        }
        for slot in self.slots.iter_mut().take(to).filter(|slot| slot.is_retired()) {
            slot.revive(generation);
        }
        // Those that were given up get another chance: they may be all that is left.
        for slot in self.slots.iter_mut().filter(|slot| slot.is_errored()) {
            slot.restarts.begin_anew();
        }
        for id in (0..slots.get()).skip(self.slots.len()) {
            self.slots.push(Slot::new(SlotId(id), generation));
        }
    }

    /// A new slot is no canary.
    fn wanted_by_new_slots(&self) -> Generation {
        match &self.rollout {
            Some(rollout) if matches!(rollout.stage, Stage::Canary(_) | Stage::Baking { .. }) => rollout.from,
            _ => self.generation,
        }
    }

    /// Slots that were not retired.
    pub fn active(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter().filter(|slot| !slot.is_retired())
    }

    /// Lets retired slots go that are empty, the last one first, so that ids stay indices.
    pub(super) fn close_retired(&mut self) {
        while let Some(slot) = self.slots.pop_if(|slot| slot.is_retired() && slot.workers.is_empty()) {
            self.actions.push_back(Action::Close { slot: slot.id() });
        }
    }
}

impl Slot {
    /// Whether the cluster was told to do without it.
    #[must_use]
    pub fn is_retired(&self) -> bool {
        self.retired
    }

    fn retire(&mut self) {
        self.retired = true;
        self.wanted = None;
    }

    fn revive(&mut self, generation: Generation) {
        self.retired = false;
        self.want(generation);
    }
}

//! What a cluster owes while it goes from one generation to another.

use super::super::super::{Abort, Generation, Plan, SlotId, Time};
use super::super::owed::Owed;
use super::{Ledger, Slot};
use crate::sample::Sample;

/// A rollout, as it should be.
#[derive(Debug)]
pub(super) struct Rollout {
    pub(super) from: Generation,
    pub(super) plan: Plan,
    pub(super) baking: Option<Time>,
    pub(super) baked: bool,
    pub(super) returning: bool,
    began: Time,
    pub(super) served_before: Sample,
}

impl Rollout {
    /// Whether it still is about the first slots.
    pub(super) fn is_careful(&self) -> bool {
        !self.baked && !self.returning
    }
}

impl Ledger {
    pub(super) fn roll(&mut self, generation: Generation, plan: Plan, now: Time) {
        if self.is_stopping() || generation == self.target {
            return;
        }
        let from = self.rollout.as_ref().map_or(self.target, |rollout| rollout.from);
        if generation == from {
            return self.abort(Abort::Superseded { by: generation });
        }
        let ahead = self.rolls_to(self.target);
        self.abandon(Abort::Superseded { by: generation });
        self.owe(Owed::Began(generation, from));
        let (baking, served_before) = (None, Sample::default());
        self.rollout =
            Some(Rollout { from, plan, baking, baked: false, returning: false, began: now, served_before });
        self.begin_to_count();
        self.aim(generation, ahead);
    }

    pub(super) fn abandon(&mut self, abort: Abort) {
        if self.rollout.take().is_some_and(|rollout| !rollout.returning) {
            self.owe(Owed::Aborted(self.target));
            self.aborts.push(abort);
        }
    }

    pub(super) fn abort(&mut self, abort: Abort) {
        let Some(rollout) = &mut self.rollout else { return };
        rollout.returning = true;
        rollout.baking = None;
        let from = rollout.from;
        self.owe(Owed::Aborted(self.target));
        self.aborts.push(abort);
        self.aim(from, true);
    }

    /// Whoever is on the way turns round, if that was the way ahead.
    fn aim(&mut self, target: Generation, ahead: bool) {
        let before = core::mem::replace(&mut self.target, target);
        for slot in self.slot_ids().filter(|_| ahead) {
            if self.on_its_way(slot, before) {
                self.turn(slot);
            }
        }
    }

    fn turn(&mut self, slot: SlotId) {
        let Slot { lost, served, .. } = self.slots[slot.index()];
        let (wanted, not_before) = (Some(self.target), Some(Time::START));
        self.slots[slot.index()] = Slot { wanted, not_before, lost, served, ..Slot::default() };
        self.owe(Owed::Turning(slot));
    }

    /// Whether a slot has somebody beside the one it wants, and that one may come; or beside its last one.
    pub(super) fn crowded(&self, slot: SlotId) -> bool {
        let Slot { wanted, errored, retired, .. } = self.slots[slot.index()];
        if retired {
            return self.inhabitants(slot).count() > 1;
        }
        !errored && self.inhabitants(slot).any(|process| !process.is_wanted(wanted))
    }

    /// The next step is due as soon as every slot has taken the last one.
    pub(super) fn rollout_goes_on(&mut self, now: Time) {
        loop {
            let busy = self.slot_ids().any(|slot| self.on_its_way(slot, self.target) || self.crowded(slot));
            let turned = |slot: &SlotId| self.slots[slot.index()].wanted == Some(self.target);
            let count = self.active().filter(turned).count();
            let next = self.active().find(|slot| !turned(slot));
            let (target, slots) = (self.target, self.active().count());
            let Some(rollout) = &mut self.rollout else { return };
            if rollout.baking.take_if(|until| *until <= now).is_some() {
                rollout.baked = true;
            }
            if busy || rollout.baking.is_some() {
                return;
            }
            let canaries = usize::from(rollout.plan.canaries).clamp(1, slots);
            if !rollout.baked && !rollout.returning && count >= canaries {
                if rollout.plan.bake.is_zero() {
                    rollout.baked = true;
                    continue;
                }
                rollout.baking = Some(now + rollout.plan.bake);
                self.owe(Owed::Baking(target));
            } else if let Some(next) = next {
                self.turn(next);
            } else {
                let owed = if rollout.returning { Owed::Returned(target) } else { Owed::Done(target) };
                self.owe(owed);
                if let Some(Rollout { returning: false, began, .. }) = self.rollout.take() {
                    self.took = now - began;
                }
                return;
            }
        }
    }
}

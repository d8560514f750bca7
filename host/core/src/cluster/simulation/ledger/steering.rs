//! Where a cluster should send new connections.

use super::super::super::SlotId;
use super::{Ledger, Process, require};
use crate::steering::Steering;

/// What a cluster has said about new connections.
#[derive(Debug, Default)]
pub(super) struct Dealt {
    /// None until it said anything: then all slots are equal.
    last: Option<Steering>,
    /// Whether anything was done in this step: what is said of a step is true once it is said.
    too_late: bool,
}

impl Dealt {
    pub(super) fn begin_step(&mut self) {
        self.too_late = false;
    }

    /// Takes note that something is done. True if something was done before in this step.
    pub(super) fn act(&mut self) -> bool {
        core::mem::replace(&mut self.too_late, true)
    }
}

impl Ledger {
    pub(super) fn steered(&mut self, steering: &Steering, too_late: bool) -> Result<(), String> {
        require(!self.is_stopping(), "steers while it stops")?;
        require(self.dealt.last.as_ref() != Some(steering), "steers as it did before")?;
        require(!too_late, "steers after something else")?;
        self.dealt.last = Some(steering.clone());
        Ok(())
    }

    /// Nothing may come the way of a slot any more by the time that its last worker goes.
    pub(super) fn check_nothing_comes_to(&self, slot: SlotId) -> Result<(), String> {
        let share = self.dealt.last.as_ref().map_or(1, |steering| steering.share(slot));
        let retired = self.slots[slot.index()].retired && !self.is_stopping();
        require(!retired || share == 0, &format!("slot {slot} gets new connections, and its worker goes"))
    }

    /// What slots get, in percent of everything, must be what they should get.
    pub(super) fn check_steering(&self) -> Result<(), String> {
        if self.is_stopping() {
            return Ok(());
        }
        let dealt = |slot| self.dealt.last.as_ref().map_or(1, |steering| steering.share(slot));
        let all: f64 = self.slot_ids().map(|slot| f64::from(dealt(slot))).sum();
        for (slot, due) in self.slot_ids().zip(self.due_shares()) {
            let actual = 100.0 * f64::from(dealt(slot)) / all;
            let right = (actual - due).abs() < 0.001;
            require(right, &format!("slot {slot} gets {actual} % of new connections, not {due} %"))?;
        }
        Ok(())
    }

    /// What each slot should get, in percent.
    fn due_shares(&self) -> Vec<f64> {
        let serving = |slot: &SlotId| self.serves(*slot, |_| true);
        let mut eligible: Vec<_> = self.active().filter(serving).collect();
        if eligible.is_empty() {
            eligible = self.slot_ids().filter(serving).collect();
        }
        if eligible.is_empty() {
            eligible = self.active().collect();
        }
        let heard_of = |slot: &SlotId| self.serves(*slot, |process| !process.stuck);
        if eligible.iter().any(heard_of) {
            eligible.retain(heard_of);
        }
        let among = |slots: &[SlotId], slot: &SlotId, percent: f64| {
            if slots.contains(slot) { percent / slots.len() as f64 } else { 0.0 }
        };
        if let Some(rollout) = self.rollout.as_ref().filter(|rollout| !rollout.baked)
            && let Some(percent) = rollout.plan.share
        {
            let is_old = |process: &Process| process.generation == rollout.from;
            let (old, new): (Vec<_>, Vec<_>) = eligible.iter().partition(|slot| self.serves(**slot, is_old));
            if !old.is_empty() && !new.is_empty() {
                let percent = f64::from(percent);
                let due = |slot| among(&new, &slot, percent) + among(&old, &slot, 100.0 - percent);
                return self.slot_ids().map(due).collect();
            }
        }
        self.slot_ids().map(|slot| among(&eligible, &slot, 100.0)).collect()
    }

    fn serves(&self, slot: SlotId, which: impl Fn(&Process) -> bool) -> bool {
        self.inhabitants(slot).any(|process| process.is_serving() && which(process))
    }
}

//! Which slots new connections should go to.

use super::{Cluster, Generation, Life, Slot};
use crate::stealing::Hand;
use crate::steering::Steering;

impl Cluster {
    /// Says who gets which share of new connections, if that has changed.
    pub(super) fn steer(&mut self) {
        // Who stops takes what comes to the last.
        if self.life != Life::Running {
            return;
        }
        let steering = self.steering();
        if steering != self.steered {
            self.steered = steering.clone();
            self.to_steer = Some(steering);
        }
    }

    /// Everybody who serves. A generation that is tried with a share of its own is not to get more by stealing.
    #[must_use]
    pub fn hands(&self) -> Vec<Hand> {
        let from = self.trial().map(|(from, _)| from);
        let hands = self.slots.iter().flat_map(|slot| {
            let serving = slot.workers().iter().filter(|worker| worker.is_serving());
            serving.map(|worker| Hand {
                worker: worker.id(),
                slot: slot.id(),
                rationed: from.is_some_and(|from| worker.generation() != from),
            })
        });
        hands.collect()
    }

    /// Slots where somebody serves who is not stuck; if there is none, where somebody serves. That is no retired one, unless
    /// nobody else serves: its worker drains as soon as somebody does. Where nobody serves at all it makes no difference, and
    /// all are equal that will.
    fn steering(&self) -> Steering {
        let all = &self.slots;
        let kinds: [fn(&Slot) -> bool; 3] = [Slot::is_attentive, Slot::is_serving, |slot| !slot.is_retired()];
        let first = kinds.into_iter().find(|is_eligible| all.iter().any(is_eligible));
        let eligible: Vec<_> = all.iter().map(|slot| first.is_some_and(|first| first(slot))).collect();
        let equal = || eligible.iter().map(|eligible| u32::from(*eligible)).collect();
        let Some((from, share)) = self.trial() else { return Steering::new(equal()) };

        let old: Vec<_> = all.iter().map(|slot| slot.serves(from)).collect();
        let count = |which: bool| {
            let slots = eligible.iter().zip(&old).filter(|(eligible, old)| **eligible && **old == which);
            u32::try_from(slots.count()).unwrap_or(u32::MAX)
        };
        let (known, new) = (count(true), count(false));
        if known == 0 || new == 0 {
            return Steering::new(equal());
        }
        let share = u32::from(share.min(100));
        let shares = eligible.iter().zip(&old).map(|(eligible, old)| match (eligible, old) {
            (false, _) => 0,
            (true, true) => (100 - share) * new,
            (true, false) => share * known,
        });
        Steering::new(shares.collect())
    }
}

impl Slot {
    /// Whether somebody serves here who was heard of lately.
    fn is_attentive(&self) -> bool {
        self.workers().iter().any(|worker| worker.is_serving() && !worker.stuck)
    }

    /// Whether somebody serves this generation here.
    fn serves(&self, generation: Generation) -> bool {
        self.workers().iter().any(|worker| worker.is_serving() && worker.generation() == generation)
    }
}

//! From one generation to another: a few slots first, then, after a while, one after the other.
//!
//! A rollout decides only which generation each slot wants; how a slot gets there is the business of `reconcile`. At any
//! time at most one slot is on its way, so that there is at most one process more than there are slots. When the new
//! generation fails, the old one is the target again, and the same steps lead back.

use core::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Cause, Cluster, Gate, Generation, Life, Notice, Slot, Time, Worker, WorkerId, Worse};
use crate::sample::Sample;

/// How careful a rollout is.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// How many slots go first. All that there are, if there are no more; at least one.
    pub canaries: u16,
    /// How long they must serve before the others follow.
    pub bake: Duration,
    /// How many percent of the new connections they get, together, until the others follow. The same as others if none.
    pub share: Option<u8>,
    /// What they are judged by while they serve beside others.
    pub gate: Gate,
}

/// A rollout that is under way.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Rollout {
    /// What slots return to if it fails.
    pub(super) from: Generation,
    pub(super) stage: Stage,
    /// What the new generation gets of the new connections, in percent, as long as it is only tried.
    share: Option<u8>,
    began: Time,
    pub(super) gate: Gate,
    /// What workers of the old generation that are gone have served since it began.
    pub(super) served_before: Sample,
}

/// How far a rollout is.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Stage {
    /// The first slots are replaced.
    Canary(Plan),
    /// They serve, and nothing else happens.
    Baking { until: Time },
    /// One slot after the other is replaced.
    Rolling,
    /// The new generation failed: slots return to the old one.
    Returning,
}

/// Why a rollout did not come to its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "abort", rename_all = "snake_case")]
pub enum Abort {
    /// A worker of the new generation said that it cannot start.
    Refused {
        /// What it said.
        reason: String,
    },
    /// A worker of the new generation went down.
    Crashed {
        /// Which one.
        worker: WorkerId,
        /// What brought it down.
        cause: Cause,
    },
    /// It does worse than the old one.
    Worse(Worse),
    /// A worker of the new generation soon used more memory than one may.
    Outgrown {
        /// Which one.
        worker: WorkerId,
        /// How much it used, in bytes.
        bytes: u64,
    },
    /// Another generation is wanted instead.
    Superseded {
        /// Which one.
        by: Generation,
    },
    /// The cluster stops.
    Stopping,
}

impl Cluster {
    /// Wants `generation` in every slot.
    pub(super) fn roll(&mut self, generation: Generation, plan: Plan, now: Time) {
        if self.life != Life::Running || self.generation == generation {
            return;
        }
        // What failed before this or was not finished is nothing to return to.
        let from = self.rollout.as_ref().map_or(self.generation, |rollout| rollout.from);
        if generation == from {
            return self.abort_rollout(Abort::Superseded { by: generation });
        }
        let left = self.rolling_to();
        self.end_rollout(Abort::Superseded { by: generation });
        let (stage, gate) = (Stage::Canary(plan), plan.gate);
        self.rollout = Some(Rollout {
            from,
            stage,
            share: plan.share,
            began: now,
            gate,
            served_before: Sample::default(),
        });
        for worker in self.slots.iter_mut().flat_map(|slot| &mut slot.workers) {
            worker.served_before = worker.served.clone();
        }
        self.notify(Notice::RolloutBegan { generation, from });
        self.generation = generation;
        if let Some(left) = left {
            self.turn_round(left);
        }
    }

    /// The generation that slots want to get to, as long as they are on their way there.
    pub(super) fn rolling_to(&self) -> Option<Generation> {
        let rollout = self.rollout.as_ref()?;
        (rollout.stage != Stage::Returning).then_some(self.generation)
    }

    /// What slots return to if the rollout that is under way fails, or are on their way back to because it has.
    #[must_use]
    pub fn replaced(&self) -> Option<Generation> {
        self.rollout.as_ref().map(|rollout| rollout.from)
    }

    /// Returns to the old generation.
    pub(super) fn abort_rollout(&mut self, abort: Abort) {
        let Some(rollout) = &mut self.rollout else { return };
        let (failed, from) = (self.generation, rollout.from);
        rollout.stage = Stage::Returning;
        self.notify(Notice::RolloutAborted { generation: failed, abort });
        self.generation = from;
        self.turn_round(failed);
    }

    /// Forgets the rollout, and says so if it was not on its way back already.
    pub(super) fn end_rollout(&mut self, abort: Abort) {
        if let Some(generation) = self.rolling_to() {
            self.notify(Notice::RolloutAborted { generation, abort });
        }
        self.rollout = None;
    }

    /// Turns whoever is on the way to `left`, which nobody wants any more: the slot whose turn it was, and one that had
    /// arrived and has just lost its worker.
    fn turn_round(&mut self, left: Generation) {
        for slot in 0..self.slots.len() {
            if self.slots[slot].is_on_its_way_to(left) {
                self.turn(slot);
            }
        }
    }

    /// Lets a slot want the target.
    fn turn(&mut self, slot: usize) {
        let generation = self.generation;
        let slot = &mut self.slots[slot];
        slot.want(generation);
        let slot = slot.id();
        self.notify(Notice::SlotTurning { slot, generation });
    }

    /// Takes the next step of the rollout, when nobody is on the way any more.
    pub(super) fn advance(&mut self, now: Time) {
        while let Some(rollout) = &mut self.rollout {
            if let Stage::Baking { until } = rollout.stage
                && until <= now
            {
                rollout.trust();
            }
            let target = self.generation;
            if self.slots.iter().any(|slot| slot.is_on_its_way_to(target) || slot.is_crowded()) {
                return;
            }
            let next = self.active().position(|slot| slot.wanted != Some(target));
            let turned = self.active().filter(|slot| slot.wanted == Some(target)).count();
            let slots = self.active().count();
            let Some(rollout) = &mut self.rollout else { return };
            match (rollout.stage, next) {
                (Stage::Canary(Plan { canaries, bake, .. }), _)
                    if turned >= usize::from(canaries.max(1)).min(slots) =>
                {
                    if bake.is_zero() {
                        rollout.trust();
                    } else {
                        rollout.stage = Stage::Baking { until: now + bake };
                        self.notify(Notice::RolloutBaking { generation: target, bake });
                    }
                }
                (Stage::Baking { .. }, _) => return,
                // It may serve the target already: what failed lives on in a slot that could not return.
                (_, Some(next)) => self.turn(next),
                (stage, None) => {
                    let took = now - rollout.began;
                    self.rollout = None;
                    self.notify(match stage {
                        Stage::Returning => Notice::RolloutReturned { generation: target },
                        _ => Notice::RolloutDone { generation: target, took },
                    });
                }
            }
        }
    }

    /// What a generation that is being tried is tried beside, and what it gets of the new connections, in percent.
    pub(super) fn trial(&self) -> Option<(Generation, u8)> {
        let rollout = self.rollout.as_ref()?;
        Some((rollout.from, rollout.share?))
    }

    /// When the rollout must go on, if nothing happens before.
    pub(super) fn rollout_timeout(&self) -> Option<Time> {
        match self.rollout.as_ref()?.stage {
            Stage::Baking { until } => Some(until),
            Stage::Canary(_) | Stage::Rolling | Stage::Returning => None,
        }
    }
}

impl Rollout {
    /// The canaries have served for long enough: the others follow, and all are equal.
    fn trust(&mut self) {
        self.stage = Stage::Rolling;
        self.share = None;
    }
}

impl Slot {
    /// Wants another generation: what the last one did is not held against it.
    pub(super) fn want(&mut self, generation: Generation) {
        self.wanted = Some(generation);
        self.restarts.begin_anew();
    }

    /// Whether it has a process more than a slot should. In one that was given up the worker that is wanted will not come,
    /// so whoever still serves there may go on; and one that is retired may have its last worker.
    pub(super) fn is_crowded(&self) -> bool {
        let unwanted = self.workers().iter().any(|worker| !worker.is_wanted(self.wanted));
        if self.is_retired() { self.workers().len() > 1 } else { !self.is_errored() && unwanted }
    }

    /// Whether it wants `target` and does not serve it yet, but may in the end.
    fn is_on_its_way_to(&self, target: Generation) -> bool {
        let serves = |worker: &Worker| worker.is_serving() && worker.is_wanted(Some(target));
        self.wanted == Some(target) && !self.is_errored() && !self.workers().iter().any(serves)
    }
}

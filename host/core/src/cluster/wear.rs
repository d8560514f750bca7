//! Workers that have served enough: one at a time, each gets a successor of its own generation.

use serde::{Deserialize, Serialize};

use super::rollout::Stage;
use super::{Abort, Cluster, Life, Notice, Slot, SlotId, Worker, WorkerId};

/// Why a worker that is well makes room for another one.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "wear", rename_all = "snake_case")]
pub enum Wear {
    /// The operator wants it so.
    Asked,
    /// It has served as many requests as one worker may.
    Requests {
        /// How many.
        served: u64,
    },
    /// It uses more memory than one worker may.
    Memory {
        /// How much, in bytes.
        bytes: u64,
    },
}

impl Cluster {
    /// Wants another worker in a slot. Where none serves, the next one comes at once.
    pub(super) fn restart(&mut self, id: SlotId) {
        let running = self.life == Life::Running;
        let slot = self.slots.get_mut(id.index()).filter(|slot| running && !slot.is_retired());
        let Some(slot) = slot else { return };
        let wanted = slot.wanted;
        let mut staff = slot.workers.iter_mut().filter(|worker| worker.is_wanted(wanted));
        match staff.next() {
            Some(worker) if worker.is_serving() => {
                worker.worn.get_or_insert(Wear::Asked);
            }
            // On its way already.
            Some(_) => {}
            None => slot.restarts.begin_anew(),
        }
    }

    /// Takes note that a worker has served enough.
    pub(super) fn worker_worn(&mut self, id: WorkerId, wear: Wear) {
        let Some((slot, index)) = self.find(id) else { return };
        let wanted = self.slots[slot].wanted;
        let rolling_to = self.rolling_to();
        let worker = &mut self.slots[slot].workers[index];
        if !worker.is_serving() || !worker.is_wanted(wanted) {
            return;
        }
        match wear {
            // A version that outgrows its workers while it is rolled out would go on to do so.
            Wear::Memory { bytes } if rolling_to == Some(worker.generation()) => {
                self.abort_rollout(Abort::Outgrown { worker: id, bytes });
            }
            wear => {
                worker.worn.get_or_insert(wear);
            }
        }
    }

    /// Lets the next worker that is worn make room, once nobody else does. A rollout replaces workers anyway; only while
    /// it waits there is time for others.
    pub(super) fn renew_next(&mut self) {
        let waits = |stage| matches!(stage, Stage::Baking { .. });
        if self.life != Life::Running
            || self.rollout.as_ref().is_some_and(|rollout| !waits(rollout.stage))
            || self.slots.iter().any(Slot::is_crowded)
        {
            return;
        }
        let mut serving = self.slots.iter_mut().flat_map(|slot| {
            let (id, wanted) = (slot.id(), slot.wanted);
            let serves = move |worker: &&mut Worker| worker.is_serving() && worker.is_wanted(wanted);
            slot.workers.iter_mut().filter(serves).map(move |worker| (id, worker))
        });
        if let Some((slot, wear, worker)) =
            serving.find_map(|(slot, worker)| Some((slot, worker.worn?, worker)))
        {
            worker.leaving = true;
            let worker = worker.id();
            self.notify(Notice::WorkerLeaving { worker, slot, wear });
        }
    }
}

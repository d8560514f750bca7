//! Where connections go: new ones, and those that wait in the wrong place.

use std::io;

use tokio::time::Instant;
use wasmcluster_core::message::ToWorker;
use wasmcluster_core::record::Record;
use wasmcluster_core::stealing::Queue;
use wasmcluster_core::steering::Steering;

use super::Supervisor;

impl Supervisor<'_> {
    /// Deals new connections out as the cluster wants them.
    pub(super) fn steer(&mut self, steering: Steering) {
        let steered = self.claim.slots.steer(steering);
        self.say_if_unsteered(steered);
    }

    /// Two looks at all queues have shown what stands still: workers that have time take that, and what has been left by
    /// everybody goes.
    pub(super) fn tend(&mut self, queues: &[Queue]) {
        for slot in self.claim.slots.departing(queues, Instant::now()) {
            self.queues.forget(&self.claim.slots, slot);
            let removed = self.claim.slots.remove(slot);
            self.say_if_unsteered(removed);
        }
        for theft in self.stealing.decide(queues, &self.cluster.hands()) {
            let listener = self.claim.slots.socket(theft.from).and_then(|socket| socket.try_clone().ok());
            match (self.workers.get(&theft.by), listener) {
                (Some(placed), Some(listener)) => {
                    placed.handle.tell_with(ToWorker::Steal { most: theft.most }, listener.into());
                }
                // It will be asked again.
                _ => self.stealing.answered(theft.by),
            }
        }
    }

    fn say_if_unsteered(&mut self, steered: io::Result<()>) {
        if let Err(error) = steered
            && !std::mem::replace(&mut self.unsteered, true)
        {
            (self.means.records)(Record::Unsteered { reason: error.to_string() });
        }
    }
}

//! Doing what the cluster wants done.

use std::io;
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use tokio::time::Instant;
use wasmcluster_core::cluster::{Action, Event, Generation, Notice, SlotId, Time, WorkerId};
use wasmcluster_core::message::{Start, ToWorker};
use wasmcluster_core::record::{Record, Stamped};

use super::{Placed, Supervisor};
use crate::generation::Build;
use crate::history::now;
use crate::symptoms::symptoms;
use crate::worker::WorkerHandle;

impl Supervisor<'_> {
    /// Does what the cluster wants done.
    pub(super) fn act(&mut self) {
        while let Some(action) = self.cluster.poll_action() {
            match action {
                Action::Spawn { worker, slot, generation } => match self.spawn(worker, slot, generation) {
                    Ok(handle) => {
                        self.workers.insert(worker, Placed { slot, handle });
                    }
                    Err(error) => self.tell(Event::SpawnFailed { worker, reason: error.to_string() }),
                },
                Action::Drain { worker, deadline, heir } => {
                    self.drain(worker, deadline, heir);
                    if self.asked_to_stop {
                        // The worker's is the last socket now: what it finds when it has emptied the queue and closes
                        // is all there will be. With ours open, connections would queue up until nobody takes them.
                        self.claim.slots.close();
                    }
                }
                Action::Kill { worker } => {
                    if let Some(placed) = self.workers.get(&worker) {
                        placed.handle.kill();
                    }
                }
                // What is on its way there still comes.
                Action::Close { slot } => self.claim.slots.retire(slot, Instant::now()),
                Action::Steer(steering) => self.steer(steering),
                Action::Notify(notice) => self.notify(notice),
                Action::Stopped { outcome } => self.outcome = Some(outcome),
            }
        }
        let ended = self.waiting.look(&self.cluster);
        self.means.chronicle.then_say(ended);
    }

    fn spawn(&mut self, worker: WorkerId, slot: SlotId, generation: Generation) -> io::Result<WorkerHandle> {
        let dump = self.next_dump(worker, (slot, generation))?;
        let slots = &mut self.claim.slots;
        if slots.add(slot)? {
            self.queues.watch(slots, slot)?;
        }
        let listener = slots.socket(slot).ok_or(io::ErrorKind::NotConnected)?;
        let Build { artifact, executable, built, guest, serving, .. } =
            self.builds.get(&generation).ok_or(io::ErrorKind::NotFound)?;
        let (guest, serving) = (guest.clone(), serving.of_worker(worker));
        let start =
            Start { worker, slot, generation, shape: built.shape, needs: built.needs, guest, serving };
        let (listener, artifact) = (listener.try_clone()?.into(), artifact.try_clone()?);
        WorkerHandle::spawn(executable, (listener, artifact, dump), start, self.inputs.clone())
    }

    /// Lets a worker finish. Where somebody serves in its place, the two get a socket between them for the connections.
    fn drain(&self, worker: WorkerId, deadline: Time, heir: Option<WorkerId>) {
        let within_ms = u64::try_from((deadline - self.now()).as_millis()).unwrap_or(u64::MAX);
        let Some(Placed { handle, .. }) = self.workers.get(&worker) else { return };
        let heir = heir.and_then(|heir| self.workers.get(&heir));
        // Without a descriptor to spare, connections are closed politely, which most clients do not notice either.
        match heir.and_then(|heir| Some((heir, passage().ok()?))) {
            Some((heir, (from, to))) => {
                heir.handle.tell_with(ToWorker::Adopt, to);
                handle.tell_with(ToWorker::Drain { within_ms, heir: true }, from);
            }
            None => handle.tell(ToWorker::Drain { within_ms, heir: false }),
        }
    }

    fn notify(&mut self, notice: Notice) {
        self.means.chronicle.note(&notice);
        if notice == Notice::AllServing {
            self.serving = true;
            (self.means.records)(Record::Serving {
                addr: self.claim.addr,
                instances: self.cluster.active().count(),
            });
            if let Some(conditions) = self.conditions.clone() {
                (self.means.records)(Record::Conditions(conditions));
            }
            return;
        }
        if matches!(notice, Notice::RolloutDone { .. } | Notice::RolloutReturned { .. }) {
            let serving = self.cluster.generation();
            self.builds.retain(|generation, _| *generation == serving);
        }
        let placed = about(&notice).and_then(|worker| self.workers.get(&worker));
        let pid = placed.map(|placed| placed.handle.pid);
        // It is still there: what is done about it comes after what is said of it.
        if let (Notice::WorkerStuck { .. } | Notice::WorkerSilent { .. }, Some(placed)) = (&notice, placed) {
            let (slot, handle) = (placed.slot, &placed.handle);
            let symptoms = symptoms(handle.pid, handle.requests.as_ref());
            (self.means.records)(Record::WorkerHeld { slot, pid: handle.pid, symptoms });
        }
        let slots = self.cluster.active().count();
        let record = Record::Cluster { pid, notice: notice.clone() };
        let ended = self.waiting.note(&notice, &Stamped { at: now(), record: record.clone() }, slots);
        (self.means.records)(record);
        self.means.chronicle.then_say(ended);
    }
}

/// Both ends of what connections are handed over through, one to a message.
fn passage() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?)
}

/// The worker that a notice is about.
fn about(notice: &Notice) -> Option<WorkerId> {
    match notice {
        Notice::WorkerReady { worker, .. }
        | Notice::WorkerSilent { worker, .. }
        | Notice::WorkerStuck { worker, .. }
        | Notice::WorkerLeaving { worker, .. }
        | Notice::StartTimedOut { worker, .. }
        | Notice::WorkerCrashed { worker, .. }
        | Notice::DrainDeadlinePassed { worker, .. }
        | Notice::RequestsCut { worker, .. }
        | Notice::WorkerStopped { worker, .. } => Some(*worker),
        Notice::SlotServing { .. }
        | Notice::AllServing
        | Notice::SlotErrored { .. }
        | Notice::SlotTurning { .. }
        | Notice::Scaling { .. }
        | Notice::RolloutBegan { .. }
        | Notice::RolloutBaking { .. }
        | Notice::RolloutDone { .. }
        | Notice::RolloutAborted { .. }
        | Notice::RolloutReturned { .. }
        | Notice::GenerationRejected { .. } => None,
    }
}

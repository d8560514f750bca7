//! The loop: wait for one input, tell the cluster, do what it says.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;

use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::{Instant, sleep_until};
use wasmcluster_core::app::{Guest, Serving};
use wasmcluster_core::cluster::{
    Action, Cluster, Event, Generation, Notice, Outcome, Settings, SlotId, Time, WorkerId,
};
use wasmcluster_core::message::{Built, FromWorker, MemoryReset, Start, ToWorker};
use wasmcluster_core::rejection::Rejection;

use crate::child::Executable;
use crate::error::ServeError;
use crate::record::{Record, Source};
use crate::signals::StopSignals;
use crate::singleton::Claim;
use crate::worker::{WorkerHandle, WorkerInput};

/// Inputs of workers that may wait. Full, it slows down the workers that have most to say.
const QUEUE: usize = 64;

/// What every worker of the generation gets.
#[derive(Debug)]
pub(crate) struct Build {
    pub(crate) artifact: OwnedFd,
    pub(crate) built: Built,
    pub(crate) guest: Guest,
    pub(crate) serving: Serving,
}

/// One thing to react to.
enum Input {
    /// A person or an init system wants us to stop.
    StopSignal,
    /// The time that the cluster asked to be woken at.
    Timeout,
    /// A worker did something.
    Worker(WorkerId, WorkerInput),
}

/// A worker that was not yet reaped, and where it serves.
struct Placed {
    slot: SlotId,
    handle: WorkerHandle,
}

/// The acting half of an app; the deciding half is its [`Cluster`].
pub(crate) struct Supervisor<R> {
    claim: Claim,
    executable: Executable,
    build: Build,
    records: R,
    cluster: Cluster,
    started: Instant,
    workers: BTreeMap<WorkerId, Placed>,
    inputs: Sender<(WorkerId, WorkerInput)>,
    received: Receiver<(WorkerId, WorkerInput)>,
    asked_to_stop: bool,
    /// What the first worker that refused to start said, in full.
    rejection: Option<Rejection>,
    /// How memory is reset, once a worker said so. Told when everything serves, and when it changes.
    reset: Option<MemoryReset>,
    serving: bool,
    outcome: Option<Outcome>,
}

impl<R: FnMut(Record)> Supervisor<R> {
    /// Has nothing running yet; [`run`](Self::run) does.
    pub(crate) fn new(
        claim: Claim,
        executable: Executable,
        build: Build,
        settings: Settings,
        records: R,
    ) -> Self {
        let (inputs, received) = channel(QUEUE);
        Self {
            claim,
            executable,
            build,
            records,
            cluster: Cluster::new(settings, Time::START),
            started: Instant::now(),
            workers: BTreeMap::new(),
            inputs,
            received,
            asked_to_stop: false,
            rejection: None,
            reset: None,
            serving: false,
            outcome: None,
        }
    }

    /// Until the cluster has stopped and its last process is reaped.
    pub(crate) async fn run(mut self, mut signals: StopSignals) -> Result<(), ServeError> {
        self.act();
        loop {
            if let Some(outcome) = self.outcome {
                return match outcome {
                    Outcome::Asked => Ok(()),
                    Outcome::Rejected { reason, .. } => {
                        let in_full = self.rejection.unwrap_or(Rejection { message: reason, hint: None });
                        Err(ServeError::Rejected(in_full))
                    }
                    Outcome::AllErrored => Err(ServeError::AllErrored),
                };
            }
            let timeout =
                self.cluster.poll_timeout().and_then(|time| self.started.checked_add(time.since_start()));
            let input = tokio::select! {
                () = signals.next() => Input::StopSignal,
                () = sleep_until(timeout.unwrap_or(self.started)), if timeout.is_some() => Input::Timeout,
                // We hold a sender ourselves, so there is always another one to come.
                Some((worker, input)) = self.received.recv() => Input::Worker(worker, input),
            };
            if !matches!(input, Input::Worker(..)) {
                self.catch_up().await;
            }
            self.handle(input);
        }
    }

    /// Hears what workers have said up to now. One that just became ready may have requests already: until the cluster
    /// knows, a stop or a timeout would kill it with them.
    async fn catch_up(&mut self) {
        tokio::task::yield_now().await;
        // No more than fits the queue: a worker that never stops talking must not put off a stop.
        for _ in 0..QUEUE {
            let Ok((worker, input)) = self.received.try_recv() else { return };
            self.handle(Input::Worker(worker, input));
        }
    }

    fn now(&self) -> Time {
        Time::after_start(self.started.elapsed())
    }

    fn tell(&mut self, event: Event) {
        let now = self.now();
        self.cluster.handle_event(event, now);
    }

    /// Tells the cluster what an input means, and does what follows.
    fn handle(&mut self, input: Input) {
        match input {
            Input::StopSignal => {
                (self.records)(Record::Stopping { fast: self.asked_to_stop });
                self.asked_to_stop = true;
                self.tell(Event::Stop);
            }
            Input::Timeout => {
                let now = self.now();
                self.cluster.handle_timeout(now);
            }
            Input::Worker(worker, WorkerInput::Exited(exit)) => {
                self.tell(Event::WorkerExited { worker, exit });
                // What the cluster says about this exit is to name the pid, so the worker leaves after it.
                self.act();
                self.workers.remove(&worker);
            }
            Input::Worker(worker, input) => self.listen_to(worker, input),
        }
        self.act();
    }

    fn listen_to(&mut self, worker: WorkerId, input: WorkerInput) {
        let Some(&Placed { slot, ref handle }) = self.workers.get(&worker) else { return };
        let pid = handle.pid;
        match input {
            WorkerInput::Said(FromWorker::Ready { reset }) => {
                self.note_reset(reset);
                self.tell(Event::WorkerReady { worker });
            }
            WorkerInput::Said(FromWorker::Refused(rejection)) => {
                let reason = rejection.message.clone();
                self.rejection.get_or_insert(rejection);
                self.tell(Event::WorkerFailed { worker, reason });
            }
            WorkerInput::Said(FromWorker::Report(report)) => {
                (self.records)(Record::Worker { slot, pid, report })
            }
            WorkerInput::Said(FromWorker::Drained { cut }) => self.tell(Event::WorkerDrained { worker, cut }),
            WorkerInput::Wrote { stream, text, unfinished } => {
                let source = Source::Worker { slot, pid };
                (self.records)(Record::Output { source, stream, text, unfinished });
            }
            WorkerInput::Broke { reason } => (self.records)(Record::WorkerBroke { slot, pid, reason }),
            // Told before: nothing comes after it.
            WorkerInput::Exited(_) => {}
        }
    }

    /// All workers reset memory in the same way, so it is said once, and again when it changes.
    fn note_reset(&mut self, reset: MemoryReset) {
        if self.reset.as_ref() == Some(&reset) {
            return;
        }
        if self.serving {
            (self.records)(Record::MemoryReset { reset: reset.clone() });
        }
        self.reset = Some(reset);
    }

    /// Does what the cluster wants done.
    fn act(&mut self) {
        while let Some(action) = self.cluster.poll_action() {
            match action {
                Action::Spawn { worker, slot, generation } => match self.spawn(worker, slot, generation) {
                    Ok(handle) => {
                        self.workers.insert(worker, Placed { slot, handle });
                    }
                    Err(error) => self.tell(Event::SpawnFailed { worker, reason: error.to_string() }),
                },
                Action::Drain { worker, deadline } => {
                    let within = deadline - self.now();
                    let within_ms = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
                    if let Some(placed) = self.workers.get(&worker) {
                        placed.handle.tell(ToWorker::Drain { within_ms });
                    }
                    if self.asked_to_stop {
                        // The worker's is the last socket now: what it finds when it has emptied the queue and closes
                        // is all there will be. With ours open, connections would queue up until nobody takes them.
                        self.claim.slots.clear();
                    }
                }
                Action::Kill { worker } => {
                    if let Some(placed) = self.workers.get(&worker) {
                        placed.handle.kill();
                    }
                }
                Action::Notify(notice) => self.notify(notice),
                Action::Stopped { outcome } => self.outcome = Some(outcome),
            }
        }
    }

    fn spawn(&self, worker: WorkerId, slot: SlotId, generation: Generation) -> io::Result<WorkerHandle> {
        let listener =
            self.claim.slots.get(slot.index()).and_then(Option::as_ref).ok_or(io::ErrorKind::NotConnected)?;
        let Build { artifact, built, guest, serving } = &self.build;
        let (guest, serving) = (guest.clone(), serving.clone());
        let start =
            Start { worker, slot, generation, shape: built.shape, needs: built.needs, guest, serving };
        let (listener, artifact) = (listener.try_clone()?.into(), artifact.try_clone()?);
        WorkerHandle::spawn(&self.executable, listener, artifact, start, self.inputs.clone())
    }

    fn notify(&mut self, notice: Notice) {
        if notice == Notice::AllServing {
            self.serving = true;
            (self.records)(Record::Serving { addr: self.claim.addr, instances: self.claim.slots.len() });
            if let Some(reset) = self.reset.clone() {
                (self.records)(Record::MemoryReset { reset });
            }
            return;
        }
        if let Notice::SlotErrored { slot, .. } = notice
            && let Some(listener) = self.claim.slots.get_mut(slot.index())
        {
            // Nobody will accept from it again. As long as it is open the kernel gives it its share of the connections.
            *listener = None;
        }
        let pid = about(&notice).and_then(|worker| self.workers.get(&worker)).map(|placed| placed.handle.pid);
        (self.records)(Record::Cluster { pid, notice });
    }
}

/// The worker that a notice is about.
fn about(notice: &Notice) -> Option<WorkerId> {
    match notice {
        Notice::WorkerReady { worker, .. }
        | Notice::StartTimedOut { worker, .. }
        | Notice::WorkerCrashed { worker, .. }
        | Notice::DrainDeadlinePassed { worker, .. }
        | Notice::RequestsCut { worker, .. }
        | Notice::WorkerStopped { worker, .. } => Some(*worker),
        Notice::SlotServing { .. }
        | Notice::AllServing
        | Notice::SlotErrored { .. }
        | Notice::GenerationRejected { .. } => None,
    }
}

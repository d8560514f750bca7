//! The loop: wait for one input, tell the cluster, do what it says.

mod act;
mod coredump;
mod renew;
mod requests;
mod scale;
mod traffic;
mod upgrade;
mod waiting;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use tokio::sync::mpsc::{Receiver, Sender, UnboundedReceiver, UnboundedSender, channel, unbounded_channel};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use wasmcluster_core::cluster::{
    Cluster, Event, Generation, Outcome, Plan, Settings, SlotId, Time, WorkerId,
};
use wasmcluster_core::history::Way;
use wasmcluster_core::limit::Reached;
use wasmcluster_core::message::{Conditions, FromWorker, Pulse, Ready};
use wasmcluster_core::record::{Record, Source};
use wasmcluster_core::rejection::Rejection;
use wasmcluster_core::stealing::{Queue, Stealing};

use crate::Options;
use crate::Records;
use crate::configuration::Reread;
use crate::control::{Answers, Control, ControlInput};
use crate::error::ServeError;
use crate::generation::{Build, Origin};
use crate::history::Chronicle;
use crate::log::Log;
use crate::queues::Queues;
use crate::signals::{Signals, Wish};
use crate::singleton::Claim;
use crate::upgrade::{Estate, Program, Tried, Unfit};
use crate::watch::Watch;
use crate::worker::{WorkerHandle, WorkerInput};

use self::coredump::Dumped;
use self::renew::{Coming, entry, next};
use self::upgrade::Upgrade;
use self::waiting::Waiting;

pub(crate) use self::upgrade::{Left, TakenOver};

/// Inputs of workers that may wait. Full, it slows down the workers that have most to say.
const QUEUE: usize = 64;

/// One thing to react to.
enum Input {
    /// A person or an init system wants something.
    Signal(Wish),
    /// The component's file is another one.
    Changed,
    /// The builder of a new generation has something to tell.
    BuilderSaid(Record),
    /// There is a new generation, or there is none.
    Rebuilt(Box<Result<Build, ServeError>>),
    /// The time that the cluster asked to be woken at.
    Timeout,
    /// A worker did something.
    Worker(WorkerId, WorkerInput),
    /// Somebody has looked at the queues of waiting connections, and something stands still.
    Standing(Vec<Queue>),
    /// Somebody came to the control socket.
    Control(ControlInput),
    /// Nobody is left there who has still to say what they want.
    Quiet,
    /// Another program has said whether it would go on.
    Tried(Result<Tried, Unfit>),
    /// A worker has written a core dump of its guest, or may write another one.
    Dumped(Dumped),
}

/// A worker that was not yet reaped, and where it serves.
struct Placed {
    slot: SlotId,
    handle: WorkerHandle,
}

/// What a supervisor acts with that is its own, whoever began.
pub(crate) struct Means<'a> {
    /// As they were given. What may change of them is beside this.
    pub(crate) options: Options,
    pub(crate) origin: Origin,
    pub(crate) rollout: Plan,
    pub(crate) reread: Reread,
    pub(crate) watch: Option<Watch>,
    pub(crate) control: Control,
    pub(crate) chronicle: Chronicle,
    pub(crate) records: Records<'a>,
    /// The end of the log. Whatever goes to `records` is noted there first.
    pub(crate) log: Rc<RefCell<Log>>,
    /// What may go on in our place.
    pub(crate) program: Program,
}

/// How a supervisor ended that did not fail.
#[derive(Debug)]
pub enum Served {
    /// As it was asked to. Nothing is left running.
    Stopped,
    /// Another program is to go on in its place.
    Upgrading(Estate),
}

/// The acting half of an app; the deciding half is its [`Cluster`].
pub(crate) struct Supervisor<'a> {
    means: Means<'a>,
    claim: Claim,
    queues: Queues,
    stealing: Stealing,
    /// Whether the kernel would not be told who gets new connections. Told once.
    unsteered: bool,
    /// What the generations are that may be spawned.
    builds: BTreeMap<Generation, Build>,
    /// The one that everything began with.
    first: Generation,
    newest: Generation,
    /// The build of the next generation, at most one. Dropping it ends its builder.
    rebuilding: JoinSet<Result<Build, ServeError>>,
    /// What it is that is being built.
    coming: Option<Coming>,
    /// Commands that wait for a generation.
    waiting: Waiting,
    builder_says: UnboundedSender<Record>,
    builder_said: UnboundedReceiver<Record>,
    cluster: Cluster,
    started: Instant,
    workers: BTreeMap<WorkerId, Placed>,
    inputs: Sender<(WorkerId, WorkerInput)>,
    received: Receiver<(WorkerId, WorkerInput)>,
    upgrade: Option<Upgrade>,
    /// Another program that is asked whether it would go on, at most one.
    trials: JoinSet<Result<Tried, Unfit>>,
    /// Core dumps that may still come.
    dumps: JoinSet<Dumped>,
    /// How many of them are being written.
    dumping: usize,
    asked_to_stop: bool,
    /// Commands that wait for the end.
    awaiting_end: Vec<Answers>,
    /// What the first worker that refused to start said, in full.
    rejection: Option<Rejection>,
    /// What the machine gives, once a worker said so. Told when everything serves, and when it changes.
    conditions: Option<Conditions>,
    /// Which limits were reached in all workers there were.
    reached: Reached,
    serving: bool,
    outcome: Option<Outcome>,
}

impl<'a> Supervisor<'a> {
    /// Has nothing running yet; [`run`](Self::run) does.
    pub(crate) fn new(means: Means<'a>, claim: (Claim, Queues), first: Build, settings: Settings) -> Self {
        let generation = means.chronicle.history().next();
        let cluster = Cluster::new(settings, generation, Time::START);
        let mut supervisor = Self::idle(means, claim, cluster, BTreeMap::new());
        supervisor.means.chronicle.start(supervisor.builder_says.clone());
        supervisor.means.chronicle.begin(entry(generation, &first, Way::Start));
        supervisor.builds.insert(generation, first);
        supervisor
    }

    fn idle(
        means: Means<'a>,
        (claim, queues): (Claim, Queues),
        cluster: Cluster,
        builds: BTreeMap<Generation, Build>,
    ) -> Self {
        let (inputs, received) = channel(QUEUE);
        let (builder_says, builder_said) = unbounded_channel();
        Self {
            means,
            claim,
            queues,
            stealing: Stealing::default(),
            unsteered: false,
            builds,
            first: cluster.generation(),
            newest: cluster.generation(),
            rebuilding: JoinSet::new(),
            coming: None,
            waiting: Waiting::default(),
            builder_says,
            builder_said,
            cluster,
            started: Instant::now(),
            workers: BTreeMap::new(),
            inputs,
            received,
            upgrade: None,
            trials: JoinSet::new(),
            dumps: JoinSet::new(),
            dumping: 0,
            asked_to_stop: false,
            awaiting_end: Vec::new(),
            rejection: None,
            conditions: None,
            reached: Reached::default(),
            serving: false,
            outcome: None,
        }
    }

    /// Until the cluster has stopped and its last process is reaped, or another program is to go on.
    pub(crate) async fn run(mut self, mut signals: Signals) -> Result<Served, ServeError> {
        self.act();
        loop {
            if let Some(outcome) = self.outcome.take() {
                return self.end(outcome).await;
            }
            if self.is_leaving() {
                return self.leave(signals).await.map(Served::Upgrading);
            }
            let timeout =
                self.cluster.poll_timeout().and_then(|time| self.started.checked_add(time.since_start()));
            let (closing, quiet) = (self.is_closing(), self.means.control.quiet());
            let input = tokio::select! {
                wish = signals.next() => Input::Signal(wish),
                Some(record) = self.builder_said.recv() => Input::BuilderSaid(record),
                Some(built) = next(&mut self.rebuilding) => Input::Rebuilt(Box::new(built)),
                Some(tried) = next(&mut self.trials) => Input::Tried(tried),
                Some(dumped) = next(&mut self.dumps) => Input::Dumped(dumped),
                () = sleep_until(timeout.unwrap_or(self.started)), if timeout.is_some() => Input::Timeout,
                // We hold a sender ourselves, so there is always another one to come.
                Some((worker, input)) = self.received.recv() => Input::Worker(worker, input),
                queues = self.queues.standing(&self.claim.slots) => Input::Standing(queues),
                () = changed(&mut self.means.watch) => Input::Changed,
                Some(input) = self.means.control.next() => Input::Control(input),
                () = quiet, if closing => Input::Quiet,
            };
            if !matches!(input, Input::Worker(..)) {
                self.catch_up().await;
            }
            self.handle(input);
        }
    }

    /// Gives back the address and then the name. Whoever asked for the end learns of it last.
    async fn end(mut self, outcome: Outcome) -> Result<Served, ServeError> {
        drop(self.claim);
        self.means.chronicle.close();
        // Whoever still waits for a generation, or reads along, has heard all there was.
        drop(self.waiting);
        self.means.log.borrow_mut().close();
        self.means.control.close(self.awaiting_end).await;
        match outcome {
            Outcome::Asked => Ok(Served::Stopped),
            Outcome::Rejected { reason, .. } => {
                let in_full = self.rejection.unwrap_or_else(|| Rejection::without_hint(reason));
                Err(ServeError::Rejected(in_full))
            }
            Outcome::AllErrored => Err(ServeError::AllErrored),
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
            // The second signal is for those who cannot wait.
            Input::Signal(Wish::Stop) => self.stop(self.asked_to_stop),
            Input::Signal(Wish::Reload) => self.reload(),
            Input::Signal(Wish::Scale(by)) => self.scale_by(by),
            Input::Signal(Wish::Upgrade) => self.upgrade(None),
            Input::Changed => self.look_again(),
            Input::BuilderSaid(record) => self.pass_on(record),
            Input::Rebuilt(built) => self.rebuilt(*built),
            Input::Timeout => {
                let now = self.now();
                self.cluster.handle_timeout(now);
            }
            Input::Worker(worker, WorkerInput::Exited(exit)) => {
                self.tell(Event::WorkerExited { worker, exit });
                // What the cluster says about this exit is to name the pid, so the worker leaves after it.
                self.act();
                self.workers.remove(&worker);
                self.stealing.answered(worker);
            }
            Input::Worker(worker, input) => self.listen_to(worker, input),
            Input::Standing(queues) => self.tend(&queues),
            Input::Control(ControlInput::Asked { request, descriptor, answers }) => {
                self.answer(request, descriptor, answers);
            }
            Input::Control(ControlInput::Stranger { uid, pid }) => {
                (self.means.records)(Record::StrangerRefused { uid, pid });
            }
            Input::Quiet => self.quiet(),
            Input::Tried(tried) => self.tried(tried),
            Input::Dumped(dumped) => self.dumped(dumped),
        }
        self.act();
        self.advance_upgrade();
    }

    fn listen_to(&mut self, worker: WorkerId, input: WorkerInput) {
        let Some(&Placed { slot, ref handle }) = self.workers.get(&worker) else { return };
        let pid = handle.pid;
        match input {
            WorkerInput::Said(FromWorker::Ready(Ready { conditions, instance })) => {
                self.note(conditions);
                if let Some(micros) = instance.and_then(|instance| u64::try_from(instance.as_micros()).ok()) {
                    (self.means.records)(Record::InstanceStarted { slot, pid, micros });
                }
                self.tell(Event::WorkerReady { worker });
            }
            WorkerInput::Said(FromWorker::Refused(rejection)) => {
                self.count(&rejection);
                let reason = rejection.message.clone();
                if self.newest == self.first {
                    self.rejection.get_or_insert(rejection);
                }
                self.tell(Event::WorkerFailed { worker, reason });
            }
            WorkerInput::Said(FromWorker::Stole) => self.stealing.answered(worker),
            WorkerInput::Said(FromWorker::Report(report)) => {
                (self.means.records)(Record::Worker { slot, pid, report })
            }
            WorkerInput::Said(FromWorker::Pulse(pulse)) => {
                let Pulse { served, reached } = *pulse;
                self.reached.add(&reached);
                self.tell(Event::WorkerPulse { worker, served: Box::new(served) });
            }
            WorkerInput::Said(FromWorker::Worn(wear)) => self.tell(Event::WorkerWorn { worker, wear }),
            WorkerInput::Said(FromWorker::Drained { cut }) => self.tell(Event::WorkerDrained { worker, cut }),
            WorkerInput::Wrote { stream, text, unfinished } => {
                let source = Source::Worker { slot, pid };
                (self.means.records)(Record::Output { source, stream, text, unfinished });
            }
            WorkerInput::Broke { reason } => (self.means.records)(Record::WorkerBroke { slot, pid, reason }),
            // Told before: nothing comes after it.
            WorkerInput::Exited(_) => {}
        }
    }

    /// Counts the limit that a component was rejected for.
    fn count(&mut self, rejection: &Rejection) {
        self.reached.add(&rejection.limit.map(|limit| (limit, 1)).into_iter().collect());
    }

    /// All workers find the same, so it is said once, and again when it changes.
    fn note(&mut self, conditions: Conditions) {
        if self.conditions.as_ref() == Some(&conditions) {
            return;
        }
        if self.serving {
            (self.means.records)(Record::Conditions(conditions.clone()));
        }
        self.conditions = Some(conditions);
    }

    fn stop(&mut self, fast: bool) {
        (self.means.records)(Record::Stopping { fast });
        self.asked_to_stop = true;
        self.stop_building();
        self.give_up_upgrade("the app is stopping".into(), None);
        self.tell(if fast { Event::StopFast } else { Event::Stop });
    }
}

/// Returns when the file that is watched is another one. Never, where none is.
async fn changed(watch: &mut Option<Watch>) {
    match watch {
        Some(watch) => watch.changed().await,
        None => std::future::pending().await,
    }
}

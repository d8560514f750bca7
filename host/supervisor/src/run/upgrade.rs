//! Making room for another program: this one's half until it is executed, and that one's from there on.

mod left;

use core::time::Duration;
use std::io;
use std::path::Path;

use nix::time::{ClockId, clock_gettime};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use wasmcluster_core::cluster::{Settings, WorkerId};
use wasmcluster_core::control::{Ended, Fault, FromSupervisor};
use wasmcluster_core::history::Way;
use wasmcluster_core::record::Record;
use wasmcluster_core::rejection::Rejection;

use self::left::{LeftOptions, LeftWorker};
use super::waiting::Asker;
use super::{Input, Means, Placed, Supervisor};
use crate::control::{Answers, Control, FAREWELL};
use crate::error::ServeError;
use crate::generation::{Build, Origin, Source};
use crate::history::NotKept;
use crate::queues::Queues;
use crate::signals::{Signals, Wish};
use crate::singleton::Claim;
use crate::upgrade::{Descriptors, Estate, Tried, Unfit, VERSION};
use crate::watch::Watch;
use crate::worker::{WorkerHandle, WorkerInput};

pub(crate) use self::left::Left;

/// How long workers are listened to, at most, before anything else happens.
const FIRST_LISTEN: Duration = Duration::from_millis(50);

/// How long we look for what may have come already: signals before they were held back, and words of workers.
const LAST_LOOK: Duration = Duration::from_millis(1);

/// An upgrade that is under way.
#[derive(Debug)]
pub(super) struct Upgrade {
    /// None where nobody waits: a signal has no one to answer to.
    asker: Option<Asker>,
    stage: Stage,
    /// Whether it was said that it is under way.
    told: bool,
}

#[derive(Debug)]
enum Stage {
    /// The new program is asked whether it would go on.
    Trying,
    /// It would, and waits for what is being built, rolled out or dumped. If that takes time, it is asked again.
    Waiting { tried: Tried, waited: bool },
    /// Nobody is let in at the control socket any more, and those who were have their answers soon.
    Closing(Tried),
    /// There is nothing left to wait for.
    Leaving(Tried),
}

impl Supervisor<'_> {
    /// Has another program go on in the place of this one, if there is one that would.
    pub(super) fn upgrade(&mut self, asker: Option<Asker>) {
        if self.upgrade.is_some() || self.cluster.is_stopping() {
            let what = if self.upgrade.is_some() {
                "an upgrade is under way already"
            } else {
                "the app is stopping"
            };
            return self.say_why_not(asker, what.into(), None);
        }
        self.upgrade = Some(Upgrade { asker, stage: Stage::Trying, told: false });
        self.ask_program();
    }

    fn ask_program(&mut self) {
        let program = self.means.program.clone();
        self.trials.spawn(async move { program.try_out().await });
    }

    /// The same, for somebody who waits for what becomes of it.
    pub(super) fn upgrade_for(&mut self, mut answers: Answers) {
        answers.send(FromSupervisor::Heard);
        self.upgrade(Some(Asker::new(answers)));
    }

    /// Goes on with the upgrade, if the new program would.
    pub(super) fn tried(&mut self, tried: Result<Tried, Unfit>) {
        let Some(upgrade) = &mut self.upgrade else { return };
        match tried {
            Ok(tried) => {
                let told = std::mem::replace(&mut upgrade.told, true);
                let program = self.means.program.path().display().to_string();
                let record = Record::Upgrading { program, from: VERSION.into(), to: tried.version.clone() };
                upgrade.stage = Stage::Waiting { tried, waited: false };
                if told {
                    return;
                }
                if let Some(asker) = &mut upgrade.asker {
                    asker.tell(&record);
                }
                (self.means.records)(record);
            }
            Err(Unfit { message, hint }) => self.give_up_upgrade(message, hint),
        }
    }

    /// Takes the next step of an upgrade that waited for this one.
    pub(super) fn advance_upgrade(&mut self) {
        if self.cluster.is_stopping() {
            return self.give_up_upgrade("the app is stopping".into(), None);
        }
        let busy = self.coming.is_some() || self.cluster.replaced().is_some() || self.dumping > 0;
        let Some(upgrade) = &mut self.upgrade else { return };
        let stage = std::mem::replace(&mut upgrade.stage, Stage::Trying);
        upgrade.stage = match stage {
            Stage::Waiting { tried, .. } if busy => Stage::Waiting { tried, waited: true },
            Stage::Waiting { waited: true, .. } => Stage::Trying,
            Stage::Waiting { tried, waited: false } => {
                self.means.control.open(false);
                Stage::Closing(tried)
            }
            // Somebody who was let in before has begun something.
            Stage::Closing(tried) if busy => {
                self.means.control.open(true);
                Stage::Waiting { tried, waited: true }
            }
            stage => {
                upgrade.stage = stage;
                return;
            }
        };
        if matches!(upgrade.stage, Stage::Trying) {
            self.ask_program();
        }
    }

    /// Whether the conversations at the control socket are waited for.
    pub(super) fn is_closing(&self) -> bool {
        matches!(self.upgrade, Some(Upgrade { stage: Stage::Closing(_), .. }))
    }

    /// Nobody is there any more who has still to say what they want.
    pub(super) fn quiet(&mut self) {
        let Some(Upgrade { stage, .. }) = &mut self.upgrade else { return };
        let Stage::Closing(tried) = stage else { return };
        if !self.means.control.is_heard() {
            return;
        }
        *stage = Stage::Leaving(tried.clone());
    }

    /// Whether it is time to leave.
    pub(super) fn is_leaving(&self) -> bool {
        matches!(self.upgrade, Some(Upgrade { stage: Stage::Leaving(_), .. }))
    }

    /// Goes on as it is.
    pub(super) fn give_up_upgrade(&mut self, message: String, hint: Option<String>) {
        self.trials.abort_all();
        if let Some(Upgrade { asker, .. }) = self.upgrade.take() {
            self.means.control.open(true);
            self.say_why_not(asker, message, hint);
        }
    }

    fn say_why_not(&mut self, asker: Option<Asker>, message: String, hint: Option<String>) {
        let message = format!("{message}; version {VERSION} goes on");
        if let Some(asker) = asker {
            let (message, hint) = (message.clone(), hint.clone());
            let refused = Ended::Refused { fault: Fault::Other, message, hint, serving: None };
            asker.end(FromSupervisor::Ended(refused));
        }
        (self.means.records)(Record::UpgradeFailed { message, hint });
    }

    /// Lets go of everything, for another program. Signals are held back from here on, until somebody listens to them.
    pub(super) async fn leave(mut self, mut signals: Signals) -> Result<Estate, ServeError> {
        signals.hold_back().map_err(ServeError::Setup)?;
        let mut wishes = Vec::new();
        while let Ok(wish) = timeout(LAST_LOOK, signals.next()).await {
            wishes.push(wish);
        }
        self.lose_dumps();
        let mut descriptors = Descriptors::default();
        let (workers, inputs) = self.release_workers(&mut descriptors).await.map_err(ServeError::Setup)?;
        let Some(Upgrade { asker, stage: Stage::Leaving(tried), .. }) = self.upgrade else {
            return Err(ServeError::Setup(io::Error::other("there is no program to leave anything to")));
        };
        // All at once, and only then one after the other, so that they have the same time.
        let (asker, waiting) = (asker.map(Asker::release), self.waiting.release());
        let (log, deadline) = (self.means.log.take().release(), Instant::now() + FAREWELL);
        let asker = match asker {
            Some(asker) => asker.pass(deadline, &mut descriptors).await,
            None => None,
        };
        let waiting = waiting.pass(deadline, &mut descriptors).await;
        let log = log.pass(deadline, &mut descriptors).await;
        self.means.chronicle.close();
        // Those that are not passed on have had their last answers by now.
        self.means.control.part().await;
        let builds = self
            .builds
            .into_iter()
            .map(|(generation, build)| build.pass(&mut descriptors).map(|build| (generation, build)));
        let builds = builds.collect::<Result<_, _>>().map_err(ServeError::Setup)?;
        let Origin { component, guest, serving, cache, executable, .. } = self.means.origin;
        let left = Left {
            options: LeftOptions::of(self.means.options, component, guest, serving, self.means.rollout),
            cache: descriptors.put(cache.directory().map_err(ServeError::Setup)?),
            watch: self.means.watch.map(Watch::pass),
            program: self.means.program.path().to_owned(),
            before: executable.pass(&mut descriptors).map_err(ServeError::Setup)?,
            started: since_boot().saturating_sub(self.started.elapsed()),
            control: self.means.control.pass(&mut descriptors).map_err(ServeError::Setup)?,
            claim: self.claim.pass(&mut descriptors),
            stealing: self.stealing,
            unsteered: self.unsteered,
            cluster: self.cluster,
            builds,
            first: self.first,
            newest: self.newest,
            workers,
            inputs,
            wishes,
            waiting,
            asker,
            log,
            history: self.means.chronicle.history().entries().to_vec(),
            conditions: self.conditions,
            reached: self.reached,
            rejection: self.rejection,
            serving: self.serving,
        };
        Ok(Estate::new(left, descriptors, self.means.program, tried).rehearse().await)
    }

    /// Has all workers let go of. What they have done until then comes along.
    async fn release_workers(
        &mut self,
        descriptors: &mut Descriptors,
    ) -> io::Result<(Vec<LeftWorker>, Vec<(WorkerId, WorkerInput)>)> {
        let mut releases = JoinSet::new();
        for (worker, Placed { slot, handle }) in std::mem::take(&mut self.workers) {
            releases.spawn(async move { (worker, slot, handle.pid, handle.release().await) });
        }
        let (mut workers, mut inputs) = (Vec::new(), Vec::new());
        loop {
            tokio::select! {
                // Whoever attends to a worker may have to tell something before it hears us.
                Some(input) = self.received.recv() => inputs.push(input),
                released = releases.join_next() => match released {
                    Some(Ok((worker, slot, pid, released))) => {
                        let passed = released.map(|released| released.pass(descriptors)).transpose()?;
                        workers.push(LeftWorker { worker, slot, pid, passed });
                    }
                    Some(Err(error)) => return Err(error.into()),
                    None => break,
                },
            }
        }
        while let Ok(input) = self.received.try_recv() {
            inputs.push(input);
        }
        Ok((workers, inputs))
    }
}

/// An app that another program had.
pub(crate) struct TakenOver<'a> {
    supervisor: Supervisor<'a>,
    inputs: Vec<Input>,
    asker: Option<Asker>,
    /// The version that left it.
    version: String,
    /// Why it is not the new program that goes on, if so.
    failure: Option<String>,
}

impl<'a> TakenOver<'a> {
    /// Takes everything over. `means` is what the new program has of its own.
    pub(crate) fn new(
        left: Left,
        (version, failure): (String, Option<String>),
        means: impl FnOnce(Control) -> Means<'a>,
        (settings, run_dir): (Settings, &Path),
        mut descriptors: Descriptors,
    ) -> io::Result<Self> {
        let descriptors = &mut descriptors;
        let control = Control::take_over(left.control, run_dir, descriptors)?;
        let claim = Claim::take(left.claim, descriptors)?;
        let queues = Queues::of(&claim.slots)?;
        let waiting = super::Waiting::take(left.waiting, &control, descriptors);
        let asker = left.asker.and_then(|asker| Asker::take(asker, &control, descriptors));
        let means = means(control);
        means.log.borrow_mut().take(left.log, &means.control, descriptors);
        let builds = left
            .builds
            .into_iter()
            .map(|(generation, build)| Build::take(build, descriptors).map(|build| (generation, build)));
        let builds = builds.collect::<Result<_, _>>()?;
        let mut supervisor = Supervisor::idle(means, (claim, queues), left.cluster.under(settings), builds);
        supervisor.started = started(left.started);
        supervisor.stealing = left.stealing;
        supervisor.unsteered = left.unsteered;
        (supervisor.first, supervisor.newest) = (left.first, left.newest);
        supervisor.waiting = waiting;
        (supervisor.conditions, supervisor.rejection) = (left.conditions, left.rejection);
        supervisor.reached = left.reached;
        supervisor.serving = left.serving;
        if let (Some(watch), Some(passed)) = (&mut supervisor.means.watch, &left.watch) {
            watch.go_on(passed);
        }
        for LeftWorker { worker, slot, pid, passed } in left.workers {
            let inputs = supervisor.inputs.clone();
            let handle = WorkerHandle::take(pid, passed, descriptors, worker, inputs)?;
            supervisor.workers.insert(worker, Placed { slot, handle });
            supervisor.expect_dump(worker);
        }
        let wishes = left.wishes.into_iter().map(Input::Signal);
        let inputs = left.inputs.into_iter().map(|(worker, input)| Input::Worker(worker, input));
        Ok(Self { supervisor, inputs: inputs.chain(wishes).collect(), asker, version, failure })
    }

    /// Goes on.
    pub(crate) async fn run(self, mut signals: Signals) -> Result<super::Served, ServeError> {
        let Self { mut supervisor, inputs, asker, version, failure } = self;
        supervisor.means.chronicle.start(supervisor.builder_says.clone());
        for input in inputs {
            if matches!(input, Input::Signal(Wish::Stop)) {
                signals.stop_was_asked_for();
            }
            supervisor.handle(input);
        }
        supervisor.listen().await;
        match failure {
            Some(message) => {
                supervisor.say_why_not(asker, message, None);
            }
            None => {
                (supervisor.means.records)(Record::Upgraded { from: version, to: VERSION.into() });
                supervisor.renew_workers(asker);
            }
        }
        supervisor.run(signals).await
    }
}

impl Supervisor<'_> {
    /// Hears what workers have said while nobody listened: it comes before any judgement on what they have not.
    async fn listen(&mut self) {
        // A guest that never stops writing has no end to be waited for.
        let end = Instant::now() + FIRST_LISTEN;
        while let Ok(Some((worker, input))) = timeout(LAST_LOOK, self.received.recv()).await {
            self.handle(Input::Worker(worker, input));
            if Instant::now() >= end {
                break;
            }
        }
    }

    /// Builds with this program what another one has built, so that workers are of this program, too.
    fn renew_workers(&mut self, asker: Option<Asker>) {
        if self.cluster.is_stopping() || self.coming.is_some() {
            // It is built by this program anyway.
            if let Some(asker) = asker {
                asker.end(FromSupervisor::Ended(Ended::Superseded { generation: None }));
            }
            return;
        }
        match self.serving_source() {
            Ok(source) => self.renew(Way::Upgrade, source, asker),
            Err(reason) => {
                let hint =
                    "the workers are those of the version before until something is pushed or reloaded";
                self.fail(&ServeError::Rejected(Rejection::new(reason.to_string(), hint)), asker);
            }
        }
    }

    /// The component of the generation that serves, from where it is kept, or from where it came.
    fn serving_source(&self) -> Result<Source, NotKept> {
        let (history, own) = (self.means.chronicle.history(), &self.means.origin.component);
        let serving = self.cluster.generation();
        let entry =
            history.entries().iter().find(|entry| entry.generation == serving).ok_or(NotKept::Nothing)?;
        let bytes = match (self.means.chronicle.component(entry), own.open()) {
            (Ok(kept), _) => kept,
            (Err(_), Ok(own_bytes)) if entry.component == own.name() => own_bytes,
            (Err(not_kept), _) => return Err(not_kept),
        };
        Ok(Source::Kept { name: entry.component.clone(), bytes, digest: entry.digest.clone() })
    }
}

/// The time since the machine was started.
fn since_boot() -> Duration {
    // The clock is there on every machine.
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from)
}

/// When something began, of which another program said so.
fn started(since: Duration) -> Instant {
    let now = Instant::now();
    now.checked_sub(since_boot().saturating_sub(since)).unwrap_or(now)
}

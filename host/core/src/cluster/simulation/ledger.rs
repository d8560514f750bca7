//! What a cluster owes, by the rules, told apart from how it keeps them.

mod action;
mod pulse;
mod rollout;
mod scale;
mod settle;
mod steering;
mod wear;

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use self::rollout::Rollout;
use self::steering::Dealt;
use super::super::{Abort, Cause, Event, Generation, Outcome, Settings, SlotId, Time, Wear, WorkerId};
use super::owed::Owed;
use crate::sample::Sample;

/// A process as far as the cluster was told about it.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) slot: SlotId,
    generation: Generation,
    spawned: Time,
    ready: Option<Time>,
    drain: Option<Time>,
    /// Who gets what it has, and what was to come to it.
    heir: Option<WorkerId>,
    overdue: bool,
    killed: bool,
    /// Told to go because something else is wanted.
    dismissed: bool,
    worn: Option<Wear>,
    /// Serves until another one of its generation does.
    leaving: bool,
    cause: Option<Cause>,
    heard: Time,
    stuck: bool,
    served: Sample,
    served_before: Sample,
    reported: bool,
    pub(super) reaped: bool,
}

impl Process {
    fn is_wanted(&self, wanted: Option<Generation>) -> bool {
        Some(self.generation) == wanted && !self.dismissed && !self.leaving
    }

    fn is_starting(&self) -> bool {
        !self.reaped && self.ready.is_none() && !self.killed
    }

    /// Whether it was told to go, and has time for that.
    fn is_draining_at(&self, now: Time) -> bool {
        let condemned = self.killed || self.cause.is_some();
        !self.reaped && !condemned && !self.overdue && self.drain.is_some_and(|deadline| now < deadline)
    }

    fn is_serving(&self) -> bool {
        let condemned = self.killed || self.cause.is_some();
        !self.reaped && self.ready.is_some() && self.drain.is_none() && !condemned
    }
}

#[derive(Debug, Default)]
struct Slot {
    wanted: Option<Generation>,
    retired: bool,
    lost: u64,
    streak: u32,
    unstable: Vec<Time>,
    errored: bool,
    /// When the next worker may come; none until the crash that it follows was told.
    not_before: Option<Time>,
    /// Whether it served when the last step was over.
    served: bool,
}

impl Slot {
    /// What happened is not held against it any more.
    fn begin_anew(&mut self) {
        (self.errored, self.streak, self.not_before) = (false, 0, Some(Time::START));
        self.unstable.clear();
    }
}

/// What a crash must be answered with.
struct Verdict {
    uptime: Option<Duration>,
    cause: Cause,
    /// The longest delay the law allows; none if there must be no restart.
    law: Option<Duration>,
}

#[derive(Debug, PartialEq, Eq)]
enum Stop {
    Not,
    Graceful(Outcome),
    Fast(Outcome),
}

/// The obligations of one cluster, and what they follow from.
pub(super) struct Ledger {
    settings: Settings,
    pub(super) processes: BTreeMap<WorkerId, Process>,
    slots: Vec<Slot>,
    stop: Stop,
    target: Generation,
    rollout: Option<Rollout>,
    /// What the next notices of an aborted rollout must say.
    aborts: Vec<Abort>,
    /// Slots that lost a worker which served in this step: only those may have nobody who serves.
    bereft: BTreeSet<SlotId>,
    served: BTreeSet<Generation>,
    announced: bool,
    scaled_from: usize,
    /// Slots that were wanted again while they were retired or given up.
    revived: usize,
    pub(super) stopped: bool,
    /// How long the last rollout took that came to its end.
    took: Duration,
    /// Who gets which part of new connections, by the last word about it.
    dealt: Dealt,
    owed: BTreeSet<Owed>,
    verdicts: BTreeMap<WorkerId, Verdict>,
    /// Jitter seen, as the share of the law, in percent.
    pub(super) jitter: Vec<u64>,
}

impl Ledger {
    pub(super) fn new(settings: Settings) -> Self {
        let wanted = Some(Generation::FIRST);
        let slot = |_| Slot { wanted, not_before: Some(Time::START), ..Slot::default() };
        let slots = (0..settings.slots.get()).map(slot).collect();
        Self {
            settings,
            processes: BTreeMap::new(),
            slots,
            stop: Stop::Not,
            target: Generation::FIRST,
            rollout: None,
            aborts: Vec::new(),
            bereft: BTreeSet::new(),
            served: BTreeSet::new(),
            announced: false,
            scaled_from: 0,
            revived: 0,
            stopped: false,
            took: Duration::ZERO,
            dealt: Dealt::default(),
            owed: BTreeSet::new(),
            verdicts: BTreeMap::new(),
            jitter: Vec::new(),
        }
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stop != Stop::Not
    }

    fn slot_ids(&self) -> impl DoubleEndedIterator<Item = SlotId> + use<> {
        (0..u16::try_from(self.slots.len()).unwrap_or(u16::MAX)).map(SlotId)
    }

    /// Slots that were not retired.
    fn active(&self) -> impl Iterator<Item = SlotId> + use<'_> {
        self.slot_ids().filter(|slot| !self.slots[slot.index()].retired)
    }

    fn live(&self) -> impl Iterator<Item = (WorkerId, &Process)> {
        self.processes
            .iter()
            .filter(|(_, process)| !process.reaped)
            .map(|(&worker, process)| (worker, process))
    }

    fn starting(&mut self, worker: WorkerId) -> Option<&mut Process> {
        self.processes.get_mut(&worker).filter(|process| process.is_starting())
    }

    fn owe(&mut self, owed: Owed) {
        self.owed.insert(owed);
    }

    /// Whether a rollout is on its way to `generation`.
    fn rolls_to(&self, generation: Generation) -> bool {
        self.target == generation && self.rollout.as_ref().is_some_and(|rollout| !rollout.returning)
    }

    pub(super) fn is_rolling(&self) -> bool {
        self.rollout.is_some()
    }

    fn inhabitants(&self, slot: SlotId) -> impl Iterator<Item = &Process> {
        self.processes.values().filter(move |process| process.slot == slot && !process.reaped)
    }

    /// Whether a slot wants `target` and neither serves it nor was given up.
    fn on_its_way(&self, slot: SlotId, target: Generation) -> bool {
        let model = &self.slots[slot.index()];
        let serves = |process: &Process| process.is_wanted(Some(target)) && process.is_serving();
        model.wanted == Some(target) && !model.errored && !self.inhabitants(slot).any(serves)
    }

    /// When the next worker of a slot is due.
    fn due(&self, slot: SlotId) -> Option<Time> {
        let model = &self.slots[slot.index()];
        let wanted = model.wanted?;
        let staffed = self.inhabitants(slot).any(|process| process.is_wanted(Some(wanted)));
        let room = self.inhabitants(slot).count() < 2;
        if staffed || model.errored || !room { None } else { model.not_before }
    }

    /// The cluster was created, or woken, or told something: what follows at once?
    pub(super) fn input(&mut self, event: Option<&Event>, now: Time) {
        self.bereft.clear();
        self.dealt.begin_step();
        match event {
            None => self.time_passed(now),
            Some(Event::WorkerReady { worker }) => self.ready(*worker, now),
            Some(Event::WorkerFailed { worker, reason }) => self.failed(*worker, reason),
            Some(Event::WorkerDrained { worker, cut }) => {
                if let Some(process) = self.processes.get_mut(worker)
                    && !process.reaped
                    && (process.drain.is_some() || process.killed)
                    && !core::mem::replace(&mut process.reported, true)
                    && *cut > 0
                {
                    self.owe(Owed::Cut(*worker, *cut));
                }
            }
            Some(Event::WorkerExited { worker, exit }) => {
                self.gone(*worker, Cause::Exited { exit: *exit }, now);
            }
            Some(Event::SpawnFailed { worker, reason }) => {
                self.gone(*worker, Cause::SpawnFailed { reason: reason.clone() }, now);
            }
            Some(Event::Roll { generation, plan }) => self.roll(*generation, *plan, now),
            Some(Event::Scale { slots }) => self.scale(slots.get().into()),
            Some(Event::Restart { slot }) => self.restart(*slot),
            Some(Event::WorkerPulse { worker, served }) => self.pulse(*worker, served, now),
            Some(Event::WorkerWorn { worker, wear }) => self.worn(*worker, *wear),
            Some(Event::Stop) => self.stop_asked(false),
            Some(Event::StopFast) => self.stop_asked(true),
        }
        let well = |slot: SlotId| {
            self.slots[slot.index()].errored || self.inhabitants(slot).any(Process::is_serving)
        };
        let serves = |slot: SlotId| self.inhabitants(slot).any(Process::is_serving);
        if !self.announced && self.active().all(well) && self.active().any(serves) {
            self.announced = true;
            self.owe(Owed::AllServing);
        }
        self.rollout_goes_on(now);
        self.somebody_leaves();
        let hopeless = |slot: SlotId| {
            self.slots[slot.index()].errored && !self.inhabitants(slot).any(Process::is_serving)
        };
        if !self.is_stopping() && self.active().all(hopeless) {
            self.begin_stop(Outcome::AllErrored);
        }
        self.dismissals();
        self.spawns_due(now);
        if !self.is_stopping() {
            self.closures();
        }
        if self.is_stopping() && !self.stopped && self.live().next().is_none() {
            self.owe(Owed::Stopped);
        }
    }

    fn spawns_due(&mut self, now: Time) {
        for slot in self.slot_ids() {
            if self.due(slot).is_some_and(|due| due <= now) {
                self.owe(Owed::Spawn(slot));
            }
        }
    }

    /// Who must go: at a fast stop everybody, otherwise who is not wanted, and if they serve, not before somebody else
    /// does.
    fn dismissals(&mut self) {
        let fast = matches!(self.stop, Stop::Fast(_));
        let (mut owed, mut dismissed) = (Vec::new(), Vec::new());
        for (worker, process) in self.live() {
            let wanted = self.slots[process.slot.index()].wanted;
            let serves = |process: &Process| process.is_wanted(wanted) && process.is_serving();
            let elsewhere = |slot: SlotId| self.inhabitants(slot).any(Process::is_serving);
            let replaced = match wanted {
                Some(_) => self.inhabitants(process.slot).any(serves),
                None => self.is_stopping() || self.active().any(elsewhere),
            };
            let unwanted = !process.is_wanted(wanted) && !process.dismissed;
            if fast && !process.killed || unwanted && process.is_starting() {
                owed.push(Owed::Kill(worker));
            } else if unwanted && process.is_serving() && replaced {
                owed.push(Owed::Drain(worker));
            }
            if unwanted && (!process.is_serving() || replaced) {
                dismissed.push(worker);
            }
        }
        self.owed.extend(owed);
        for worker in dismissed {
            if let Some(process) = self.processes.get_mut(&worker) {
                process.dismissed = true;
            }
        }
    }

    fn time_passed(&mut self, now: Time) {
        let mut owed = Vec::new();
        for (&worker, process) in self.processes.iter_mut().filter(|(_, process)| !process.reaped) {
            if process.is_starting() && process.spawned + self.settings.listen_timeout <= now {
                process.cause = Some(Cause::StartTimedOut);
                owed.extend([Owed::StartTimedOut(worker), Owed::Kill(worker)]);
            }
            if let Some(after) = self.settings.stuck_after
                && self.settings.heartbeat_timeout.is_none_or(|timeout| after < timeout)
                && process.is_serving()
                && !process.stuck
                && process.heard + after <= now
            {
                if now - process.heard > after + Duration::from_secs(1) {
                    process.heard = now;
                } else {
                    process.stuck = true;
                    owed.push(Owed::Stuck(worker));
                }
            }
            if let Some(timeout) = self.settings.heartbeat_timeout
                && (process.is_serving() || process.is_draining_at(now))
                && process.heard + timeout <= now
            {
                let silent = now - process.heard;
                if silent > timeout + Duration::from_secs(1) {
                    process.heard = now;
                } else {
                    // In whole milliseconds, as everything that is said.
                    let millis = u64::try_from(silent.as_millis()).unwrap_or(u64::MAX);
                    if process.is_serving() {
                        self.bereft.insert(process.slot);
                    }
                    process.cause = Some(Cause::Silent { silent: Duration::from_millis(millis) });
                    owed.extend([Owed::Silent(worker), Owed::Kill(worker)]);
                }
            }
            if let Some(deadline) = process.drain
                && !process.killed
            {
                if !process.overdue && deadline <= now {
                    owed.push(Owed::Overdue(worker));
                }
                if deadline + self.settings.exit_grace <= now {
                    owed.push(Owed::Kill(worker));
                }
            }
        }
        self.owed.extend(owed);
    }

    fn ready(&mut self, worker: WorkerId, now: Time) {
        let Some(process) = self.starting(worker) else { return };
        process.ready = Some(now);
        process.heard = now;
        let (slot, generation) = (process.slot, process.generation);
        self.served.insert(generation);
        self.owe(Owed::Ready(worker));
        if self.inhabitants(slot).filter(|process| process.is_serving()).count() == 1 {
            self.owe(Owed::SlotServing(slot));
        }
    }

    fn failed(&mut self, worker: WorkerId, reason: &str) {
        let Some(process) = self.starting(worker) else { return };
        let generation = process.generation;
        if self.rolls_to(generation) {
            return self.abort(Abort::Refused { reason: reason.to_owned() });
        }
        let excused = self.served.contains(&generation) || self.rollout.is_some();
        let Some(process) = self.starting(worker).filter(|_| excused) else {
            self.owe(Owed::Rejected(reason.to_owned()));
            return self.begin_stop(Outcome::Rejected { generation, reason: reason.to_owned() });
        };
        {
            process.cause = Some(Cause::Failed { reason: reason.to_owned() });
            self.owe(Owed::Kill(worker));
        }
    }

    /// Those who drain have time once more for what they get back.
    fn comes_back_from(&mut self, heir: WorkerId, now: Time) {
        let anew = now + self.settings.kill_timeout;
        for process in self.processes.values_mut() {
            if process.heir == Some(heir) && !process.overdue {
                (process.drain, process.heir) = (Some(anew), None);
            }
        }
    }

    fn gone(&mut self, worker: WorkerId, how: Cause, now: Time) {
        let stopping = self.is_stopping();
        let Some(process) = self.processes.get_mut(&worker).filter(|process| !process.reaped) else { return };
        let served = process.is_serving();
        process.reaped = true;
        let (slot_id, uptime) = (process.slot, process.ready.map(|ready| now - ready));
        let (cause, generation) = (process.cause.clone().unwrap_or(how), process.generation);
        let wanted = process.is_wanted(self.slots[slot_id.index()].wanted);
        if let Some(rollout) = self.rollout.as_mut().filter(|rollout| rollout.from == generation) {
            rollout.served_before.add(&self.processes[&worker].since_rollout());
        }
        if served {
            self.bereft.insert(slot_id);
        }
        self.comes_back_from(worker, now);
        if stopping || !wanted {
            self.owe(Owed::WorkerStopped(worker));
            return;
        }
        if self.rolls_to(generation) {
            return self.abort(Abort::Crashed { worker, cause });
        }
        let slot = &mut self.slots[slot_id.index()];
        slot.lost += 1;
        slot.not_before = None;
        let law = if uptime.is_some_and(|uptime| uptime >= self.settings.min_uptime) {
            slot.streak = 0;
            Some(Duration::ZERO)
        } else {
            slot.unstable.push(now);
            let window = self.settings.restart_window;
            let recent = slot.unstable.iter().filter(|&&exit| now - exit <= window).count();
            slot.errored = recent > self.settings.max_restarts as usize;
            slot.streak += 1;
            let doubled =
                (2..slot.streak).fold(self.settings.backoff_base, |delay, _| delay.saturating_mul(2));
            let law = if slot.streak == 1 { Duration::ZERO } else { doubled.min(self.settings.backoff_cap) };
            (!slot.errored).then_some(law)
        };
        if slot.errored {
            self.owe(Owed::Errored(slot_id));
        }
        self.owe(Owed::Crashed(worker));
        self.verdicts.insert(worker, Verdict { uptime, cause, law });
    }

    fn stop_asked(&mut self, fast: bool) {
        if self.stopped {
            return;
        }
        let again = self.is_stopping();
        if !again {
            self.begin_stop(Outcome::Asked);
        }
        if (fast || again)
            && let Stop::Graceful(outcome) | Stop::Fast(outcome) = &self.stop
        {
            self.stop = Stop::Fast(outcome.clone());
        }
    }

    fn begin_stop(&mut self, outcome: Outcome) {
        self.stop = Stop::Graceful(outcome);
        self.abandon(Abort::Stopping);
        for slot in &mut self.slots {
            slot.wanted = None;
        }
    }
}

fn require(holds: bool, otherwise: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise.to_owned()) }
}

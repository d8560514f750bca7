//! What a cluster owes, by the rules, told apart from how it keeps them.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use super::super::{
    Action, Cause, Cluster, Event, Generation, Notice, Outcome, Settings, SlotId, SlotPhase, Time, Worker,
    WorkerId,
};
use super::owed::Owed;

/// A process as far as the cluster was told about it.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) slot: SlotId,
    spawned: Time,
    ready: Option<Time>,
    drain: Option<Time>,
    overdue: bool,
    killed: bool,
    cause: Option<Cause>,
    reported: bool,
    pub(super) reaped: bool,
}

impl Process {
    fn is_starting(&self) -> bool {
        !self.reaped && self.ready.is_none() && !self.killed
    }

    fn is_serving(&self) -> bool {
        !self.reaped && self.ready.is_some() && self.drain.is_none() && !self.killed
    }
}

#[derive(Debug, Default)]
struct Slot {
    lost: u64,
    streak: u32,
    unstable: Vec<Time>,
    errored: bool,
    /// When the next worker is due.
    due: Option<Time>,
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
    served: bool,
    announced: bool,
    pub(super) stopped: bool,
    owed: BTreeSet<Owed>,
    verdicts: BTreeMap<WorkerId, Verdict>,
    /// Jitter seen, as the share of the law, in percent.
    pub(super) jitter: Vec<u64>,
}

impl Ledger {
    pub(super) fn new(settings: Settings) -> Self {
        let slots =
            (0..settings.slots.get()).map(|_| Slot { due: Some(Time::START), ..Slot::default() }).collect();
        Self {
            settings,
            processes: BTreeMap::new(),
            slots,
            stop: Stop::Not,
            served: false,
            announced: false,
            stopped: false,
            owed: BTreeSet::new(),
            verdicts: BTreeMap::new(),
            jitter: Vec::new(),
        }
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stop != Stop::Not
    }

    fn slot_ids(&self) -> impl Iterator<Item = SlotId> + use<> {
        (0..self.settings.slots.get()).map(SlotId)
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

    /// The cluster was created, or woken, or told something: what follows at once?
    pub(super) fn input(&mut self, event: Option<&Event>, now: Time) {
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
            Some(Event::Stop) => self.stop_asked(false),
            Some(Event::StopFast) => self.stop_asked(true),
        }
        self.spawns_due(now);
        if self.is_stopping() && !self.stopped && self.live().next().is_none() {
            self.owe(Owed::Stopped);
        }
    }

    fn spawns_due(&mut self, now: Time) {
        for slot in self.slot_ids() {
            if self.slots[slot.index()].due.is_some_and(|due| due <= now) {
                self.owe(Owed::Spawn(slot));
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
        let slot = process.slot;
        self.served = true;
        self.owe(Owed::Ready(worker));
        self.owe(Owed::SlotServing(slot));
        let serving: BTreeSet<_> = self
            .processes
            .values()
            .filter(|process| process.is_serving())
            .map(|process| process.slot)
            .collect();
        if serving.len() == self.slots.len() && !self.announced {
            self.announced = true;
            self.owe(Owed::AllServing);
        }
    }

    fn failed(&mut self, worker: WorkerId, reason: &str) {
        let served = self.served;
        let Some(process) = self.starting(worker) else { return };
        if served {
            process.cause = Some(Cause::Failed { reason: reason.to_owned() });
            self.owe(Owed::Kill(worker));
        } else {
            self.owe(Owed::Rejected(reason.to_owned()));
            self.begin_stop(Outcome::Rejected { generation: Generation::FIRST, reason: reason.to_owned() });
        }
    }

    fn gone(&mut self, worker: WorkerId, how: Cause, now: Time) {
        let stopping = self.is_stopping();
        let Some(process) = self.processes.get_mut(&worker).filter(|process| !process.reaped) else { return };
        process.reaped = true;
        if stopping {
            self.owe(Owed::WorkerStopped(worker));
            return;
        }
        let (slot_id, uptime) = (process.slot, process.ready.map(|ready| now - ready));
        let cause = process.cause.clone().unwrap_or(how);
        let slot = &mut self.slots[slot_id.index()];
        slot.lost += 1;
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
            if self.slots.iter().all(|slot| slot.errored) {
                self.begin_stop(Outcome::AllErrored);
            }
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
        if !fast && !again {
            return;
        }
        if let Stop::Graceful(outcome) | Stop::Fast(outcome) = &self.stop {
            self.stop = Stop::Fast(outcome.clone());
        }
        let alive: Vec<_> = self.live().filter(|(_, p)| !p.killed).map(|(worker, _)| worker).collect();
        for worker in alive {
            self.owed.remove(&Owed::Drain(worker));
            self.owe(Owed::Kill(worker));
        }
    }

    fn begin_stop(&mut self, outcome: Outcome) {
        self.stop = Stop::Graceful(outcome);
        let mut owed = Vec::new();
        for (worker, process) in self.live() {
            if process.is_starting() {
                owed.push(Owed::Kill(worker));
            } else if process.is_serving() {
                owed.push(Owed::Drain(worker));
            }
        }
        self.owed.extend(owed);
        for slot in &mut self.slots {
            slot.due = None;
        }
    }

    /// The cluster did something: was it owed, and is it right?
    pub(super) fn action(&mut self, action: &Action, now: Time) -> Result<(), String> {
        if self.stopped {
            return Err(format!("{action:?} after the end"));
        }
        let owed = Owed::by(action);
        if !self.owed.remove(&owed) {
            return Err(format!("{action:?} was not owed, but {:?}", self.owed));
        }
        match action {
            Action::Spawn { worker, slot, generation } => self.spawned(*worker, *slot, *generation, now),
            Action::Drain { worker, deadline } => {
                let process = self.alive(*worker)?;
                process.drain = Some(*deadline);
                require(*deadline == now + self.settings.kill_timeout, "wrong drain deadline")
            }
            Action::Kill { worker } => {
                self.alive(*worker)?.killed = true;
                Ok(())
            }
            Action::Notify(notice) => self.notice(notice, now),
            Action::Stopped { outcome } => {
                self.stopped = true;
                require(self.live().next().is_none(), "stopped before the last process was gone")?;
                require(self.owed.is_empty(), "stopped is not the last action")?;
                match &self.stop {
                    Stop::Graceful(expected) | Stop::Fast(expected) if expected == outcome => Ok(()),
                    other => Err(format!("ended with {outcome:?}, not with {other:?}")),
                }
            }
        }
    }

    fn alive(&mut self, worker: WorkerId) -> Result<&mut Process, String> {
        let process =
            self.processes.get_mut(&worker).ok_or_else(|| format!("worker {worker} never lived"))?;
        require(!process.reaped, "told to a worker that is gone")?;
        require(!process.killed, "told to a worker that was killed")?;
        Ok(process)
    }

    fn spawned(
        &mut self,
        worker: WorkerId,
        slot: SlotId,
        generation: Generation,
        now: Time,
    ) -> Result<(), String> {
        require(generation == Generation::FIRST, "wrong generation")?;
        require(!self.is_stopping(), "spawn while stopping")?;
        self.slots[slot.index()].due = None;
        let process = Process {
            slot,
            spawned: now,
            ready: None,
            drain: None,
            overdue: false,
            killed: false,
            cause: None,
            reported: false,
            reaped: false,
        };
        require(self.processes.insert(worker, process).is_none(), "worker id used twice")
    }

    fn notice(&mut self, notice: &Notice, now: Time) -> Result<(), String> {
        match notice {
            Notice::WorkerReady { worker, slot, took, .. } => {
                let process = &self.processes[worker];
                require(process.slot == *slot && now - process.spawned == *took, "wrong words about a worker")
            }
            Notice::WorkerCrashed { worker, slot, uptime, cause, restart_in, .. } => {
                let Some(verdict) = self.verdicts.remove(worker) else { return Err("no verdict".to_owned()) };
                require(self.processes[worker].slot == *slot, "wrong slot")?;
                require(*uptime == verdict.uptime && *cause == verdict.cause, "wrong words about a crash")?;
                let Some(law) = verdict.law else {
                    return require(restart_in.is_none(), "errored, yet restarted");
                };
                let Some(delay) = *restart_in else {
                    return Err("not errored, yet not restarted".to_owned());
                };
                require(
                    law / 2 <= delay && delay <= law,
                    &format!("delay {delay:?} under the law of {law:?}"),
                )?;
                if law > Duration::from_micros(1) {
                    self.jitter
                        .push(u64::try_from(delay.as_nanos() * 100 / law.as_nanos()).unwrap_or(u64::MAX));
                }
                self.slots[slot.index()].due = Some(now + delay);
                self.spawns_due(now);
                Ok(())
            }
            Notice::SlotErrored { slot, unstable_exits, .. } => {
                let expected = self.settings.max_restarts + 1;
                require(
                    self.slots[slot.index()].errored && *unstable_exits == expected,
                    "wrong count of exits",
                )
            }
            Notice::DrainDeadlinePassed { worker, .. } => {
                self.alive(*worker)?.overdue = true;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// The step is over: nothing may be owed, and the cluster must look as it should.
    pub(super) fn settle(&self, cluster: &Cluster, now: Time) -> Result<(), String> {
        require(self.owed.is_empty(), &format!("still owed: {:?}", self.owed))?;
        let (expected, actual) = (self.next_deadline(), cluster.poll_timeout());
        require(expected == actual, &format!("timeout {actual:?}, not {expected:?}"))?;
        require(cluster.is_stopping() == self.is_stopping(), "wrong about stopping")?;
        require(cluster.is_stopped() == self.stopped, "wrong about being stopped")?;
        for (slot, model) in cluster.slots().iter().zip(&self.slots) {
            let mine = |process: &Process| process.slot == slot.id();
            let workers: Vec<_> = slot.workers().iter().map(Worker::id).collect();
            let expected: Vec<_> =
                self.live().filter(|(_, process)| mine(process)).map(|(worker, _)| worker).collect();
            require(workers == expected, &format!("slot {} has {workers:?}, not {expected:?}", slot.id()))?;
            require(workers.len() <= 1, "more processes than slots")?;
            require(slot.restarts() == model.lost, "wrong count of restarts")?;
            require(slot.is_errored() == model.errored, "wrong about being errored")?;
            let serving = self.live().any(|(_, process)| mine(process) && process.is_serving());
            require(slot.is_serving() == serving, "wrong about serving")?;
            let phase = slot.phase(now);
            if !self.is_stopping() && workers.is_empty() {
                let expected = match model.due {
                    Some(due) => SlotPhase::Waiting { restart_in: due - now },
                    None => SlotPhase::Errored,
                };
                require(phase == expected, &format!("an empty slot is {phase:?}, not {expected:?}"))?;
            }
        }
        Ok(())
    }

    /// The earliest time at which something must happen by itself.
    fn next_deadline(&self) -> Option<Time> {
        let workers = self.live().filter_map(|(_, process)| match process {
            Process { killed: true, .. } => None,
            Process { drain: Some(deadline), overdue: false, .. } => Some(*deadline),
            Process { drain: Some(deadline), overdue: true, .. } => {
                Some(*deadline + self.settings.exit_grace)
            }
            process => process.is_starting().then_some(process.spawned + self.settings.listen_timeout),
        });
        workers.chain(self.slots.iter().filter_map(|slot| slot.due)).min()
    }

    /// Whether every slot that was not given up serves.
    pub(super) fn all_well(&self) -> bool {
        self.slot_ids().all(|slot| {
            self.slots[slot.index()].errored
                || self.live().any(|(_, process)| process.slot == slot && process.is_serving())
        })
    }
}

fn require(holds: bool, otherwise: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise.to_owned()) }
}

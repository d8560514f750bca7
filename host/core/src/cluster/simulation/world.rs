//! A virtual machine room: a clock, processes with a life of their own, a slow messenger and an operator.

use core::num::NonZeroU16;
use core::time::Duration;
use std::collections::BTreeMap;

use fastrand::Rng;

use super::super::{
    Action, Cluster, Event, Exit, Gate, Generation, Plan, Settings, Slot, SlotId, SlotPhase, Time, Wear,
    WorkerId,
};
use super::ledger::Ledger;
use super::tally::Tally;
use super::temper::{Temper, character, settings, temper};
use crate::sample::Sample;

/// After so many steps every world turns kind, lest one that crashes every millisecond goes on for ever.
const ROUGH_STEPS: u32 = 250;

/// How the processes of a world like to end by themselves.
const ENDS: [Exit; 5] = [Exit::Code(0), Exit::Code(1), Exit::Code(101), Exit::Signal(11), Exit::Unknown];

/// The longest time that canaries are watched.
const LONGEST_BAKE: Duration = Duration::from_secs(3);

/// How they end when they are killed.
const SIGKILL: Exit = Exit::Signal(9);

/// What happens outside the cluster.
#[derive(Clone, Debug)]
enum Happening {
    /// A process does something on its own.
    Process(WorkerId, Deed),
    /// The messenger arrives.
    Deliver(Event),
    /// The cluster is woken without a reason.
    Wake,
}

#[derive(Clone, Debug)]
enum Deed {
    Ready,
    Refuse,
    Report(u64),
    /// Says that it lives, and goes on to do so.
    Pulse(Box<Sample>),
    Die(Exit),
}

pub(super) struct World<'a> {
    rng: Rng,
    /// For what must make no difference: with its own, the rest of the world stays as it is.
    upgrades: Rng,
    now: Time,
    settings: Settings,
    temper: Temper,
    kind: bool,
    cluster: Cluster,
    ledger: Ledger,
    /// Which processes are alive, whatever the cluster knows.
    alive: BTreeMap<WorkerId, bool>,
    agenda: BTreeMap<(Time, u64), Happening>,
    sequence: u64,
    steps: u32,
    trace: Option<&'a mut Vec<String>>,
    tally: &'a mut Tally,
}

impl<'a> World<'a> {
    pub(super) fn new(
        seed: u64,
        trace: Option<&'a mut Vec<String>>,
        tally: &'a mut Tally,
    ) -> Result<Self, String> {
        let mut rng = Rng::with_seed(seed);
        let character = character(&mut rng);
        let settings = settings(&mut rng, character);
        let temper = temper(&mut rng, &settings, character);
        let mut world = Self {
            now: Time::START,
            temper,
            kind: false,
            cluster: Cluster::new(settings.clone(), Generation::FIRST, Time::START),
            ledger: Ledger::new(settings.clone()),
            alive: BTreeMap::new(),
            agenda: BTreeMap::new(),
            sequence: 0,
            steps: 0,
            settings,
            trace,
            tally,
            rng,
            upgrades: Rng::with_seed(seed),
        };
        world.note(|world| format!("{:?}", world.settings));
        world.plan_operator();
        world.ledger.input(None, Time::START);
        world.act()?;
        Ok(world)
    }

    /// Rough times, then kind ones in which everything must come right, then the end.
    pub(super) fn run(mut self) -> Result<(), String> {
        let rough = self.now + self.random(20_000);
        while self.steps < ROUGH_STEPS && self.step(rough)? {}
        self.turn_kind();
        let lag = Duration::from_millis(self.temper.lag);
        // Somebody may hang, be killed, be reaped, wait for the longest backoff, and start.
        let recovery =
            self.settings.listen_timeout + self.settings.backoff_cap + lag * 8 + Duration::from_secs(1);
        // A rollout may be under way in every slot: to the new generation, and back.
        let replacement = self.settings.kill_timeout + self.settings.exit_grace + lag * 8;
        let slots = u32::try_from(self.cluster.slots().len()).unwrap_or(u32::MAX);
        let recovery = recovery + LONGEST_BAKE + replacement * 4 * slots;
        let well = self.now + recovery;
        while self.step(well)? {}
        if !self.ledger.is_stopping() && !self.ledger.all_well() {
            return Err("in a kind world a slot does not come back".to_owned());
        }
        if !self.ledger.is_stopping() && self.ledger.is_rolling() {
            return Err("in a kind world a rollout does not end".to_owned());
        }
        if !self.ledger.is_stopping() && !self.ledger.is_settled() {
            return Err("in a kind world somebody who is to leave does not".to_owned());
        }
        if self.rng.bool() {
            self.deliver(Event::Stop)?;
        }
        if self.rng.bool() {
            self.deliver(Event::Stop)?;
        }
        if !self.ledger.is_stopping() {
            self.deliver(Event::StopFast)?;
        }
        let end = self.now + self.settings.kill_timeout + self.settings.exit_grace + lag * 8;
        while self.step(end)? {}
        if !self.ledger.stopped {
            return Err("the end does not come".to_owned());
        }
        // Whatever is said to a cluster that has ended, it stays silent: echoes, operators, clocks.
        let late = self.now + Duration::from_secs(3_600);
        while self.step(late)? {}
        self.deliver(Event::Stop)?;
        self.deliver(Event::StopFast)?;
        self.tally.jitter.append(&mut self.ledger.jitter);
        Ok(())
    }

    /// Lets the next thing happen, unless it lies after `end`.
    fn step(&mut self, end: Time) -> Result<bool, String> {
        let happening = self.agenda.first_key_value().map(|(&(time, _), _)| time);
        // On a coarse grid timers are exact.
        let lag = if self.temper.tick > 1 { Duration::ZERO } else { self.random(self.temper.lag / 2) };
        let timer = self.cluster.poll_timeout().map(|time| time.max(self.now) + lag);
        let next = [happening, timer].into_iter().flatten().min();
        let Some(next) = next.filter(|&next| next <= end) else {
            self.now = self.now.max(end);
            return Ok(false);
        };
        self.now = next;
        self.steps += 1;
        if happening == Some(next) {
            let Some((_, happening)) = self.agenda.pop_first() else { return Ok(false) };
            match happening {
                Happening::Process(worker, deed) => self.process(worker, deed),
                Happening::Deliver(event) => self.deliver(event)?,
                Happening::Wake => self.wake()?,
            }
        } else {
            self.wake()?;
        }
        Ok(true)
    }

    fn wake(&mut self) -> Result<(), String> {
        self.note(|_| "wake".to_owned());
        self.ledger.input(None, self.now);
        self.cluster.handle_timeout(self.now);
        self.act()?;
        match self.cluster.poll_timeout() {
            Some(time) if time <= self.now => Err(format!("a timeout that is over remains: {time:?}")),
            _ => Ok(()),
        }
    }

    fn deliver(&mut self, event: Event) -> Result<(), String> {
        self.note(|_| format!("{event:?}"));
        let waits = |slot: &Slot| matches!(slot.phase(self.now), SlotPhase::Waiting { .. });
        if matches!(event, Event::Stop | Event::StopFast)
            && !self.ledger.is_stopping()
            && self.cluster.slots().iter().any(waits)
        {
            self.tally.count("stopped from backoff");
        }
        self.ledger.input(Some(&event), self.now);
        self.cluster.handle_event(event, self.now);
        self.act()
    }

    /// Does what the cluster wants done.
    fn act(&mut self) -> Result<(), String> {
        while let Some(action) = self.cluster.poll_action() {
            self.note(|_| format!("    {action:?}"));
            self.ledger.action(&action, self.now)?;
            self.tally.action(&action);
            match action {
                Action::Spawn { worker, .. } => self.spawn(worker),
                Action::Drain { worker, deadline, .. } => self.drain(worker, deadline),
                Action::Kill { worker } => self.later(self.temper.lag, worker, Deed::Die(SIGKILL)),
                Action::Close { .. } | Action::Steer(_) | Action::Notify(_) | Action::Stopped { .. } => {}
            }
        }
        if self.upgrades.u8(..) == 0 {
            self.upgrade()?;
        }
        self.ledger.settle(&self.cluster, self.now)
    }

    /// Somebody else drives the cluster from here on, who knows only what was written down.
    fn upgrade(&mut self) -> Result<(), String> {
        self.note(|_| "upgrade".to_owned());
        self.tally.count("upgraded");
        let text = serde_json::to_string(&self.cluster).map_err(|error| error.to_string())?;
        let read: Cluster = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        let (before, after) = (format!("{:?}", self.cluster), format!("{read:?}"));
        if before != after {
            return Err(format!("an upgrade makes a difference:\n{before}\n{after}"));
        }
        self.cluster = read;
        Ok(())
    }

    fn spawn(&mut self, worker: WorkerId) {
        let Temper { spawn_fails, hangs, refuses, dies_early, crashes, start, life, .. } = self.temper;
        self.alive.insert(worker, true);
        if self.kind {
            return self.later(10, worker, Deed::Ready);
        }
        let start = self.random(start);
        let deed = |deed| Happening::Process(worker, deed);
        if self.chance(spawn_fails) {
            self.alive.insert(worker, false);
            self.send(Event::SpawnFailed { worker, reason: "no more processes".to_owned() });
        } else if self.chance(hangs) {
            // Only a signal ends it.
        } else if self.chance(refuses) {
            self.agenda_in(start, deed(Deed::Refuse));
            if self.rng.bool() {
                let wait = start + self.random(self.temper.lag);
                self.agenda_in(wait, deed(Deed::Die(Exit::Code(2))));
            }
        } else if self.chance(dies_early) {
            let exit = self.end();
            self.agenda_in(start, deed(Deed::Die(exit)));
        } else {
            self.agenda_in(start, deed(Deed::Ready));
            if self.chance(crashes) {
                let (exit, life) = (self.end(), self.random(life));
                self.agenda_in(start + life, deed(Deed::Die(exit)));
            }
        }
    }

    fn drain(&mut self, worker: WorkerId, deadline: Time) {
        if self.chance(self.temper.ignores_drain) {
            return;
        }
        let left = deadline - self.now;
        let (wait, cut) = match self.rng.u8(0..4) {
            0 => (Duration::ZERO, 0),
            1 => (left / 2, 0),
            2 => (left, self.rng.u64(0..5)),
            _ => (left + self.settings.exit_grace / 2, self.rng.u64(1..5)),
        };
        let exit = self.end();
        self.agenda_in(wait, Happening::Process(worker, Deed::Report(cut)));
        self.agenda_in(wait, Happening::Process(worker, Deed::Die(exit)));
    }

    /// A process does something, if it still lives; the cluster hears of it some time later.
    fn process(&mut self, worker: WorkerId, deed: Deed) {
        if !self.alive[&worker] {
            return;
        }
        self.note(|_| format!("  (worker {worker}: {deed:?})"));
        match deed {
            Deed::Ready => {
                self.send(Event::WorkerReady { worker });
                if !self.chance(self.temper.falls_silent) || self.kind {
                    self.pulse(worker, Box::default());
                }
            }
            Deed::Refuse => {
                self.send(Event::WorkerFailed { worker, reason: format!("trap in worker {worker}") })
            }
            Deed::Pulse(served) => self.pulse(worker, served),
            Deed::Report(cut) => self.send(Event::WorkerDrained { worker, cut }),
            Deed::Die(exit) => {
                self.alive.insert(worker, false);
                self.send(Event::WorkerExited { worker, exit });
            }
        }
    }

    /// A worker says what it has served, and will again in time, unless it falls silent.
    fn pulse(&mut self, worker: WorkerId, mut served: Box<Sample>) {
        self.send(Event::WorkerPulse { worker, served: served.clone() });
        // In a kind world nobody is judged by what it serves, only by whether it lives.
        let over = if self.kind {
            self.settings.heartbeat_timeout.is_none()
        } else {
            self.chance(self.temper.falls_silent / 4)
        };
        if over {
            return;
        }
        if !self.kind && self.chance(self.temper.grows) {
            self.send(Event::WorkerWorn { worker, wear: Wear::Memory { bytes: 1 << 30 } });
        }
        served.requests += 10;
        served.errors += if self.chance(self.temper.fails) && !self.kind { self.rng.u64(0..=10) } else { 0 };
        // A message may take long, and another one longer.
        let often = self.settings.heartbeat_timeout.unwrap_or(Duration::from_secs(1)) / 2;
        let wait = often.saturating_sub(Duration::from_millis(self.temper.lag));
        self.agenda_in(wait, Happening::Process(worker, Deed::Pulse(served)));
    }

    /// Sends the messenger off. Messages overtake each other, and some come twice.
    fn send(&mut self, event: Event) {
        if self.chance(self.temper.echoes) {
            let echo = self.random(self.temper.lag * 20);
            self.agenda_in(echo, Happening::Deliver(event.clone()));
        }
        let lag = self.random(self.temper.lag);
        self.agenda_in(lag, Happening::Deliver(event));
    }

    fn plan_operator(&mut self) {
        for event in [Event::Stop, Event::Stop, Event::StopFast] {
            if self.chance(20) {
                let wait = self.random(10_000);
                self.agenda_in(wait, Happening::Deliver(event));
            }
        }
        let mut rolls = Vec::new();
        while self.chance(45) && rolls.len() < 4 {
            rolls.push(self.random(10_000));
        }
        rolls.sort_unstable();
        for (number, wait) in rolls.into_iter().enumerate() {
            // Mostly a new one; sometimes one that was there before, or is.
            let newest = 2 + number as u64;
            let generation = Generation(if self.chance(80) { newest } else { self.rng.u64(1..=newest) });
            let bake = if self.rng.bool() { Duration::ZERO } else { self.random(2_900).min(LONGEST_BAKE) };
            let share = self.chance(50).then(|| self.rng.u8(1..=100));
            let gate = Gate { errors: [None, Some(5), Some(20)][self.rng.usize(0..3)], slowness: None };
            let plan = Plan { canaries: self.rng.u16(0..4), bake, share, gate };
            self.agenda_in(wait, Happening::Deliver(Event::Roll { generation, plan }));
        }
        for _ in 0..4 {
            let (wait, worker) = (self.random(10_000), WorkerId(self.rng.u64(1..12)));
            let wish = match self.rng.u8(0..5) {
                0 | 1 => Event::Scale { slots: NonZeroU16::MIN.saturating_add(self.rng.u16(0..6)) },
                2 => Event::Restart { slot: SlotId(self.rng.u16(0..7)) },
                3 => Event::WorkerWorn { worker, wear: Wear::Requests { served: 1_000 } },
                _ => Event::WorkerWorn { worker, wear: Wear::Memory { bytes: 1 << 30 } },
            };
            if self.chance(30) {
                self.agenda_in(wait, Happening::Deliver(wish));
            }
        }
        for _ in 0..3 {
            let (wait, worker) = (self.random(10_000), WorkerId(self.rng.u64(0..8)));
            self.agenda_in(wait, Happening::Wake);
            let nonsense = match self.rng.u8(0..4) {
                0 => Event::WorkerDrained { worker, cut: 3 },
                1 => Event::WorkerReady { worker },
                2 => Event::WorkerExited { worker: WorkerId(1_000_000), exit: Exit::Unknown },
                _ => Event::WorkerFailed { worker, reason: "nonsense".to_owned() },
            };
            let wait = self.random(10_000);
            if self.chance(30) {
                self.agenda_in(wait, Happening::Deliver(nonsense));
            }
        }
    }

    /// From now on workers start and stay. What is under way happens; what was planned for later does not.
    fn turn_kind(&mut self) {
        self.note(|_| "the world turns kind".to_owned());
        self.kind = true;
        let soon = self.now + Duration::from_millis(self.temper.lag);
        let planned_crash = |happening: &Happening| match happening {
            Happening::Process(_, Deed::Die(exit)) => *exit != SIGKILL,
            _ => false,
        };
        let planned = |happening: &Happening| {
            let wish = matches!(
                happening,
                Happening::Deliver(
                    Event::Roll { .. }
                        | Event::Scale { .. }
                        | Event::Restart { .. }
                        | Event::WorkerWorn { .. }
                )
            );
            planned_crash(happening) || wish
        };
        self.agenda.retain(|&(time, _), happening| time <= soon || !planned(happening));
    }

    fn later(&mut self, millis: u64, worker: WorkerId, deed: Deed) {
        let wait = self.random(millis);
        self.agenda_in(wait, Happening::Process(worker, deed));
    }

    fn agenda_in(&mut self, wait: Duration, happening: Happening) {
        self.sequence += 1;
        self.agenda.insert((self.now + wait, self.sequence), happening);
    }

    /// Up to so many milliseconds in whole ticks, but never none, so that the clock moves.
    fn random(&mut self, millis: u64) -> Duration {
        let tick = self.temper.tick;
        Duration::from_micros(self.rng.u64(1..=(millis * 1_000 / tick).max(1)) * tick)
    }

    fn chance(&mut self, percent: u8) -> bool {
        self.rng.u8(0..100) < percent
    }

    fn end(&mut self) -> Exit {
        ENDS[self.rng.usize(0..ENDS.len())]
    }

    fn note(&mut self, line: impl FnOnce(&Self) -> String) {
        if self.trace.is_some() {
            let line = format!("{:>12?} {}", self.now.since_start(), line(self));
            if let Some(trace) = &mut self.trace {
                trace.push(line);
            }
        }
    }
}

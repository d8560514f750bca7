//! One test per rule. Times are milliseconds; actions are compared as short lines, which [`words`] writes.

use core::num::NonZeroU16;
use core::time::Duration;

use super::{
    Abort, Action, Cause, Cluster, Event, Exit, Generation, Notice, Outcome, Settings, Status, Time, Wear,
    WorkerId, Worse,
};
use crate::steering::Steering;

mod pulse;
mod refusal;
mod restarts;
mod rollout;
mod scale;
mod start;
mod status;
mod steering;
mod stop;
mod stray;
mod wear;

const CRASH: Exit = Exit::Signal(11);

/// A cluster with a clock that only its test moves.
struct Rig {
    cluster: Cluster,
    now: Time,
    /// The last word about new connections.
    steering: Option<Steering>,
}

impl Rig {
    /// Round numbers, so that a test can be read: ready within 1,000, drained within 2,000, gone 500 later,
    /// stable after 100, three restarts in 10,000. No test depends on the seed.
    fn settings(slots: u16) -> Settings {
        Settings {
            listen_timeout: Duration::from_millis(1_000),
            kill_timeout: Duration::from_millis(2_000),
            exit_grace: Duration::from_millis(500),
            max_restarts: 3,
            restart_window: Duration::from_millis(10_000),
            min_uptime: Duration::from_millis(100),
            ..Settings::new(NonZeroU16::new(slots).expect("at least one slot"))
        }
    }

    /// A cluster of which every slot was told to spawn its first worker.
    fn new(slots: u16) -> Self {
        Self::with(Self::settings(slots))
    }

    fn with(settings: Settings) -> Self {
        let mut rig = Self {
            cluster: Cluster::new(settings, Generation::FIRST, Time::START),
            now: Time::START,
            steering: None,
        };
        rig.actions();
        rig
    }

    /// A cluster of which every slot serves, since 10.
    fn serving(slots: u16) -> Self {
        let mut rig = Self::new(slots);
        for worker in 1..=u64::from(slots) {
            rig.event(10, ready(worker));
        }
        rig
    }

    fn event(&mut self, millis: u64, event: Event) -> Vec<String> {
        self.now = at(millis);
        self.cluster.handle_event(event, self.now);
        self.actions()
    }

    fn wake(&mut self, millis: u64) -> Vec<String> {
        self.now = at(millis);
        self.cluster.handle_timeout(self.now);
        self.actions()
    }

    fn actions(&mut self) -> Vec<String> {
        let mut said = Vec::new();
        while let Some(action) = self.cluster.poll_action() {
            match action {
                // Follows nearly everything, and has tests of its own.
                Action::Steer(steering) => self.steering = Some(steering),
                action => said.push(words(&action)),
            }
        }
        said
    }

    fn status(&self) -> Status {
        self.cluster.status(self.now, |worker| u32::try_from(100 + worker.0).ok())
    }

    /// Lets a worker die, and returns what the operator was told: the delay of the restart, if there is one.
    fn crash(&mut self, millis: u64, worker: u64) -> Option<Duration> {
        self.now = at(millis);
        self.cluster.handle_event(exited(worker), self.now);
        let crashed = self.first_but_steering();
        let Some(Action::Notify(Notice::WorkerCrashed { restart_in, .. })) = crashed else {
            panic!("expected a crash, got {crashed:?}");
        };
        self.actions();
        restart_in
    }

    /// What is done first, or right after new connections are dealt out otherwise.
    fn first_but_steering(&mut self) -> Option<Action> {
        let first = self.cluster.poll_action();
        if matches!(first, Some(Action::Steer(_))) { self.cluster.poll_action() } else { first }
    }
}

fn at(millis: u64) -> Time {
    Time::after_start(Duration::from_millis(millis))
}

fn ready(worker: u64) -> Event {
    Event::WorkerReady { worker: WorkerId(worker) }
}

pub(super) fn failed(worker: u64, reason: &str) -> Event {
    Event::WorkerFailed { worker: WorkerId(worker), reason: reason.to_owned() }
}

fn drained(worker: u64, cut: u64) -> Event {
    Event::WorkerDrained { worker: WorkerId(worker), cut }
}

fn exited(worker: u64) -> Event {
    Event::WorkerExited { worker: WorkerId(worker), exit: CRASH }
}

fn words(action: &Action) -> String {
    match action {
        Action::Spawn { worker, slot, generation } => {
            format!("spawn {worker} in slot {slot}, generation {generation}")
        }
        Action::Drain { worker, deadline, heir } => {
            let heir = heir.map(|heir| format!(" for {heir}")).unwrap_or_default();
            format!("drain {worker} by {}{heir}", deadline.since_start().as_millis())
        }
        Action::Kill { worker } => format!("kill {worker}"),
        Action::Close { slot } => format!("close slot {slot}"),
        Action::Steer(steering) => format!("{steering:?}"),
        Action::Stopped { outcome: Outcome::Asked } => "stopped".to_owned(),
        Action::Stopped { outcome: Outcome::AllErrored } => "stopped: all errored".to_owned(),
        Action::Stopped { outcome: Outcome::Rejected { reason, .. } } => {
            format!("stopped: rejected: {reason}")
        }
        Action::Notify(notice) => match notice {
            Notice::WorkerReady { worker, took, .. } => format!("{worker} ready after {}", took.as_millis()),
            Notice::SlotServing { slot } => format!("slot {slot} serving"),
            Notice::AllServing => "all serving".to_owned(),
            Notice::StartTimedOut { worker, timeout, .. } => {
                format!("{worker} not ready within {}", timeout.as_millis())
            }
            Notice::WorkerStuck { worker, silent, .. } => {
                format!("{worker} stuck for {}", silent.as_millis())
            }
            Notice::WorkerSilent { worker, silent, .. } => {
                format!("{worker} silent for {}", silent.as_millis())
            }
            Notice::WorkerCrashed { worker, uptime, cause, restart_in, .. } => {
                let cause = match cause {
                    Cause::Exited { exit } => exit.to_string(),
                    Cause::StartTimedOut => "timed out".to_owned(),
                    Cause::Silent { .. } => "silent".to_owned(),
                    Cause::Failed { reason } => format!("failed: {reason}"),
                    Cause::SpawnFailed { reason } => format!("not spawned: {reason}"),
                };
                let uptime =
                    uptime.map_or("never ready".to_owned(), |uptime| format!("up {}", uptime.as_millis()));
                let restart = match restart_in {
                    None => "no restart",
                    Some(Duration::ZERO) => "restart at once",
                    Some(_) => "restart later",
                };
                format!("{worker} crashed: {cause}, {uptime}, {restart}")
            }
            Notice::SlotErrored { slot, unstable_exits, .. } => {
                format!("slot {slot} errored after {unstable_exits}")
            }
            Notice::GenerationRejected { generation, reason } => {
                format!("generation {generation} rejected: {reason}")
            }
            Notice::Scaling { from, to } => format!("from {from} slots to {to}"),
            Notice::WorkerLeaving { worker, slot, wear } => {
                let wear = match wear {
                    Wear::Asked => "asked".to_owned(),
                    Wear::Requests { served } => format!("{served} requests"),
                    Wear::Memory { bytes } => format!("{bytes} bytes"),
                };
                format!("{worker} leaves slot {slot}: {wear}")
            }
            Notice::RolloutBegan { generation, from } => format!("rollout of {generation}, from {from}"),
            Notice::SlotTurning { slot, generation } => format!("slot {slot} turns to {generation}"),
            Notice::RolloutBaking { generation, bake } => format!("{generation} bakes {}", bake.as_millis()),
            Notice::RolloutDone { generation, took } => format!("{generation} done in {}", took.as_millis()),
            Notice::RolloutReturned { generation } => format!("back at {generation}"),
            Notice::RolloutAborted { generation, abort } => match abort {
                Abort::Refused { reason } => format!("{generation} aborted: refused: {reason}"),
                Abort::Crashed { worker, .. } => format!("{generation} aborted: {worker} crashed"),
                Abort::Worse(Worse::Errors { errors, requests, .. }) => {
                    format!("{generation} aborted: {errors} of {requests} failed")
                }
                Abort::Worse(Worse::Latency { .. }) => format!("{generation} aborted: slow"),
                Abort::Outgrown { worker, bytes } => format!("{generation} aborted: {worker} uses {bytes}"),
                Abort::Superseded { by } => format!("{generation} aborted: superseded by {by}"),
                Abort::Stopping => format!("{generation} aborted: stopping"),
            },
            Notice::DrainDeadlinePassed { worker, .. } => format!("{worker} overdue"),
            Notice::RequestsCut { worker, cut, .. } => format!("{worker} cut {cut}"),
            Notice::WorkerStopped { worker, exit: Some(exit), .. } => format!("{worker} stopped: {exit}"),
            Notice::WorkerStopped { worker, exit: None, .. } => format!("{worker} stopped: never began"),
        },
    }
}

#[track_caller]
fn check(actual: Vec<String>, expected: &[&str]) {
    assert_eq!(actual, expected);
}

const NOTHING: &[&str] = &[];

//! One test per rule. Times are milliseconds; actions are compared as short lines, which [`words`] writes.

use core::num::NonZeroU16;
use core::time::Duration;

use super::{
    Abort, Action, Cause, Cluster, Event, Exit, Generation, Notice, Outcome, Settings, SlotPhase, Status,
    Time, Wear, WorkerId, WorkerPhase, Worse,
};
use crate::steering::Steering;

mod pulse;
mod rollout;
mod scale;
mod steering;
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
        let crashed = self.cluster.poll_action();
        let Some(Action::Notify(Notice::WorkerCrashed { restart_in, .. })) = crashed else {
            panic!("expected a crash, got {crashed:?}");
        };
        self.actions();
        restart_in
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

// Start.

#[test]
fn every_slot_gets_a_worker_at_the_start() {
    let mut rig = Rig {
        cluster: Cluster::new(Rig::settings(2), Generation::FIRST, Time::START),
        now: Time::START,
        steering: None,
    };
    check(rig.actions(), &["spawn 1 in slot 0, generation 1", "spawn 2 in slot 1, generation 1"]);
}

#[test]
fn all_serving_is_told_once_and_when_the_last_slot_serves() {
    let mut rig = Rig::new(2);
    check(rig.event(10, ready(2)), &["2 ready after 10", "slot 1 serving"]);
    check(rig.event(30, ready(1)), &["1 ready after 30", "slot 0 serving", "all serving"]);
    check(
        rig.event(500, exited(1)),
        &["1 crashed: signal 11, up 470, restart at once", "spawn 3 in slot 0, generation 1"],
    );
    check(rig.event(510, ready(3)), &["3 ready after 10", "slot 0 serving"]);
}

#[test]
fn a_worker_that_is_not_ready_in_time_is_killed_and_replaced_when_it_is_gone() {
    let mut rig = Rig::new(1);
    assert_eq!(rig.cluster.poll_timeout(), Some(at(1_000)));
    check(rig.wake(999), NOTHING);
    check(rig.wake(1_000), &["1 not ready within 1000", "kill 1"]);
    assert_eq!(rig.cluster.poll_timeout(), None, "only its exit is waited for");
    check(rig.event(1_001, ready(1)), NOTHING);
    check(
        rig.event(1_005, exited(1)),
        &["1 crashed: timed out, never ready, restart at once", "spawn 2 in slot 0, generation 1"],
    );
}

#[test]
fn a_worker_that_becomes_ready_before_the_clock_was_looked_at_serves() {
    let mut rig = Rig::new(1);
    check(rig.event(1_001, ready(1)), &["1 ready after 1001", "slot 0 serving", "all serving"]);
    check(rig.wake(1_002), NOTHING);
}

#[test]
fn a_process_that_cannot_be_created_is_an_unstable_exit() {
    let mut rig = Rig::new(1);
    let event = Event::SpawnFailed { worker: WorkerId(1), reason: "no more processes".to_owned() };
    check(
        rig.event(0, event.clone()),
        &[
            "1 crashed: not spawned: no more processes, never ready, restart at once",
            "spawn 2 in slot 0, generation 1",
        ],
    );
    check(rig.event(1, event), NOTHING);
}

// Restart.

#[test]
fn a_stable_run_is_min_uptime_long() {
    // ready at 10, min_uptime 100
    for (exit, unstable) in [(109, true), (110, false)] {
        let mut rig = Rig::with(Settings { max_restarts: 0, ..Rig::settings(1) });
        rig.event(10, ready(1));
        assert_eq!(rig.crash(exit, 1).is_none(), unstable, "exit at {exit}");
    }
}

#[test]
fn stable_exits_never_make_a_slot_errored() {
    let mut rig = Rig::new(1);
    for worker in 1..100 {
        rig.event(worker * 110, ready(worker));
        assert_eq!(rig.crash(worker * 110 + 100, worker), Some(Duration::ZERO));
    }
}

/// Crashes a slot's worker as soon as it is spawned, again and again, and returns the delays.
fn delays(settings: &Settings, seed: u64, count: u64) -> Vec<u128> {
    let settings = Settings { max_restarts: u32::MAX, seed, ..settings.clone() };
    let mut cluster = Cluster::new(settings, Generation::FIRST, Time::START);
    let mut now = Time::START;
    let mut delays = Vec::new();
    for worker in 1..=count {
        cluster.handle_event(exited(worker), now);
        while let Some(action) = cluster.poll_action() {
            if let Action::Notify(Notice::WorkerCrashed { restart_in: Some(delay), .. }) = action {
                delays.push(delay.as_millis());
                now = now + delay;
            }
        }
        cluster.handle_timeout(now);
    }
    delays
}

#[test]
fn delays_double_up_to_the_cap_and_jitter_takes_away_up_to_half() {
    let law = [0, 100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 15_000, 15_000, 15_000];
    let mut shares = Vec::new();
    for seed in 0..100 {
        let delays = delays(&Rig::settings(1), seed, law.len() as u64);
        for (n, (&delay, &law)) in delays.iter().zip(&law).enumerate() {
            assert!(law / 2 <= delay && delay <= law, "seed {seed}, restart {n}: {delay} under {law}");
            shares.extend((delay * 100).checked_div(law));
        }
    }
    let (least, most) = (shares.iter().min(), shares.iter().max());
    assert!(least < Some(&55) && most > Some(&95), "jitter from {least:?}% to {most:?}%");
}

#[test]
fn delays_stay_at_the_cap_for_ever() {
    let delays = delays(&Rig::settings(1), 0, 200);
    assert!(delays[20..].iter().all(|delay| (7_500..=15_000).contains(delay)), "{delays:?}");
}

#[test]
fn a_stable_run_resets_the_backoff() {
    let mut rig = Rig::with(Settings { max_restarts: 10, ..Rig::settings(1) });
    assert_eq!(rig.crash(1, 1), Some(Duration::ZERO));
    assert!(rig.crash(2, 2) > Some(Duration::ZERO));
    rig.wake(200);
    rig.event(210, ready(3));
    assert_eq!(rig.crash(310, 3), Some(Duration::ZERO), "after a stable run");
    assert_eq!(rig.crash(311, 4), Some(Duration::ZERO), "the first unstable exit in a new row");
    assert!(rig.crash(312, 5) > Some(Duration::ZERO), "the second one");
}

#[test]
fn a_slot_that_waits_spawns_at_its_time_and_not_before() {
    let mut rig = Rig::new(1);
    rig.crash(0, 1);
    let delay = rig.crash(0, 2).expect("a restart");
    let time = Time::START + delay;
    assert_eq!(rig.cluster.poll_timeout(), Some(time));
    assert_eq!(rig.status().slots[0].phase, SlotPhase::Waiting { restart_in: delay });
    rig.cluster.handle_timeout(Time::START + (delay - Duration::from_nanos(1)));
    check(rig.actions(), NOTHING);
    rig.cluster.handle_timeout(time);
    check(rig.actions(), &["spawn 3 in slot 0, generation 1"]);
}

#[test]
fn one_unstable_exit_more_than_max_restarts_makes_a_slot_errored() {
    let mut rig = Rig::new(2);
    rig.event(1, ready(2));
    for (millis, worker) in [(1_000, 1), (2_000, 3), (3_000, 4)] {
        assert!(rig.crash(millis, worker).is_some(), "worker {worker}");
        rig.wake(millis + 500);
    }
    check(
        rig.event(4_000, exited(5)),
        &["5 crashed: signal 11, never ready, no restart", "slot 0 errored after 4", "all serving"],
    );
    assert_eq!(rig.status().slots[0].phase, SlotPhase::Errored);
    assert_eq!(rig.status().slots[1].phase, SlotPhase::Serving);
    check(rig.wake(100_000), NOTHING);
    assert_eq!(rig.cluster.poll_timeout(), None);
}

#[test]
fn only_unstable_exits_within_the_window_count() {
    // Three at 0, a fourth when the first three are just inside the window of 10,000, or just outside.
    for (millis, errored) in [(10_000, true), (10_001, false)] {
        let mut rig = Rig::with(Settings {
            backoff_base: Duration::ZERO,
            min_uptime: Duration::from_secs(60),
            ..Rig::settings(1)
        });
        for worker in 1..=3 {
            assert!(rig.crash(0, worker).is_some());
        }
        rig.event(1, ready(4));
        assert_eq!(rig.crash(millis, 4).is_none(), errored, "at {millis}");
    }
}

#[test]
fn all_slots_errored_is_the_end() {
    let mut rig = Rig::with(Settings { max_restarts: 0, ..Rig::settings(2) });
    check(
        rig.event(1, exited(1)),
        &["1 crashed: signal 11, never ready, no restart", "slot 0 errored after 1"],
    );
    check(
        rig.event(2, exited(2)),
        &["2 crashed: signal 11, never ready, no restart", "slot 1 errored after 1", "stopped: all errored"],
    );
    assert_eq!(rig.status().slots[0].phase, SlotPhase::Errored);
}

// Refusal.

#[test]
fn a_generation_that_never_served_is_rejected_for_the_first_reason() {
    let mut rig = Rig::new(3);
    check(rig.event(5, failed(2, "trap")), &["generation 1 rejected: trap", "kill 1", "kill 2", "kill 3"]);
    check(rig.event(6, failed(1, "also a trap")), NOTHING);
    check(rig.event(7, exited(1)), &["1 stopped: signal 11"]);
    check(rig.event(7, exited(2)), &["2 stopped: signal 11"]);
    check(rig.event(8, Event::Stop), NOTHING);
    check(rig.event(9, exited(3)), &["3 stopped: signal 11", "stopped: rejected: trap"]);
}

#[test]
fn a_refusal_of_a_generation_that_served_is_an_unstable_exit() {
    let mut rig = Rig::new(2);
    rig.event(5, ready(1));
    check(rig.event(6, failed(2, "out of luck")), &["kill 2"]);
    check(rig.event(7, failed(2, "out of luck")), NOTHING);
    check(
        rig.event(8, exited(2)),
        &["2 crashed: failed: out of luck, never ready, restart at once", "spawn 3 in slot 1, generation 1"],
    );
}

#[test]
fn a_worker_that_serves_cannot_fail_to_start() {
    let mut rig = Rig::serving(1);
    check(rig.event(20, failed(1, "late")), NOTHING);
    assert!(rig.cluster.slots()[0].is_serving());
}

// Stop.

#[test]
fn a_stop_drains_who_serves_and_kills_who_starts() {
    let mut rig = Rig::new(2);
    rig.event(10, ready(1));
    check(rig.event(100, Event::Stop), &["drain 1 by 2100", "kill 2"]);
    check(rig.event(150, exited(2)), &["2 stopped: signal 11"]);
    check(rig.event(200, drained(1, 0)), NOTHING);
    check(rig.event(201, exited(1)), &["1 stopped: signal 11", "stopped"]);
    assert!(rig.cluster.is_stopped());
}

#[test]
fn a_drain_ends_with_its_deadline_and_its_grace() {
    let mut rig = Rig::serving(1);
    check(rig.event(100, Event::Stop), &["drain 1 by 2100"]);
    assert_eq!(rig.cluster.poll_timeout(), Some(at(2_100)));
    check(rig.wake(2_099), NOTHING);
    check(rig.wake(2_100), &["1 overdue"]);
    assert_eq!(rig.cluster.poll_timeout(), Some(at(2_600)));
    check(rig.event(2_200, drained(1, 7)), &["1 cut 7"]);
    check(rig.event(2_201, drained(1, 7)), NOTHING);
    check(rig.wake(2_600), &["kill 1"]);
    check(rig.wake(9_999), NOTHING);
    check(rig.event(10_000, exited(1)), &["1 stopped: signal 11", "stopped"]);
}

#[test]
fn a_clock_that_was_not_looked_at_for_long_does_all_that_is_due() {
    let mut rig = Rig::serving(1);
    rig.event(100, Event::Stop);
    check(rig.wake(60_000), &["1 overdue", "kill 1"]);
    assert_eq!(rig.cluster.poll_timeout(), None);
}

#[test]
fn a_second_stop_kills_once() {
    for second in [Event::Stop, Event::StopFast] {
        let mut rig = Rig::serving(2);
        rig.event(100, Event::Stop);
        check(rig.event(200, second.clone()), &["kill 1", "kill 2"]);
        check(rig.event(201, second), NOTHING);
        check(rig.wake(60_000), NOTHING);
    }
}

#[test]
fn a_fast_stop_kills_without_draining() {
    let mut rig = Rig::serving(1);
    check(rig.event(100, Event::StopFast), &["kill 1"]);
    check(rig.event(101, exited(1)), &["1 stopped: signal 11", "stopped"]);
}

#[test]
fn a_stop_cancels_restarts() {
    let mut rig = Rig::new(1);
    rig.crash(0, 1);
    rig.crash(0, 2);
    check(rig.event(10, Event::Stop), &["stopped"]);
    assert_eq!(rig.cluster.poll_timeout(), None);
    check(rig.wake(60_000), NOTHING);
    assert_eq!(rig.status().slots[0].phase, SlotPhase::Stopped);
}

#[test]
fn a_worker_that_never_began_does_not_hold_up_the_end() {
    let mut rig = Rig::new(1);
    check(rig.event(1, Event::Stop), &["kill 1"]);
    let event = Event::SpawnFailed { worker: WorkerId(1), reason: "no more processes".to_owned() };
    check(rig.event(2, event), &["1 stopped: never began", "stopped"]);
}

// Events that come at the wrong time.

#[test]
fn events_of_workers_that_are_gone_change_nothing() {
    let mut rig = Rig::serving(1);
    rig.event(500, exited(1));
    for worker in [0, 1, 3, u64::MAX] {
        for event in [ready(worker), failed(worker, "late"), drained(worker, 3), exited(worker)] {
            let before = rig.status();
            check(rig.event(500, event), NOTHING);
            assert_eq!(rig.status(), before);
        }
    }
}

#[test]
fn reports_of_workers_that_were_not_told_to_go_change_nothing() {
    let mut rig = Rig::serving(1);
    check(rig.event(20, drained(1, 3)), NOTHING);
    rig.event(30, Event::Stop);
    check(rig.event(40, drained(1, 4)), &["1 cut 4"]);
}

#[test]
fn a_cluster_that_has_ended_is_silent() {
    let mut rig = Rig::serving(1);
    rig.event(100, Event::StopFast);
    rig.event(101, exited(1));
    for event in [Event::Stop, Event::StopFast, ready(1), exited(1), ready(2)] {
        check(rig.event(102, event), NOTHING);
    }
    check(rig.wake(60_000), NOTHING);
}

// What others see.

#[test]
fn a_status_is_readable_as_json() -> serde_json::Result<()> {
    let mut rig = Rig::serving(2);
    rig.event(1_000, exited(2));
    assert_eq!(rig.status().slots[1].workers[0].phase, WorkerPhase::Starting);
    let status = serde_json::to_value(rig.status())?;
    let expected = serde_json::json!({
        "phase": "running",
        "generation": 1,
        "rollout": null,
        "slots": [
            {"slot": 0, "phase": "serving", "restarts": 0, "workers": [
                {"worker": 1, "pid": 101, "generation": 1, "phase": "serving", "age_ms": 1000, "uptime_ms": 990},
            ]},
            {"slot": 1, "phase": "starting", "restarts": 1, "workers": [
                {"worker": 3, "pid": 103, "generation": 1, "phase": "starting", "age_ms": 0, "uptime_ms": null},
            ]},
        ],
    });
    assert_eq!(status, expected);
    assert_eq!(serde_json::from_value::<Status>(status)?, rig.status());
    Ok(())
}

#[test]
fn the_wait_for_a_restart_survives_json() -> serde_json::Result<()> {
    let mut rig = Rig::new(1);
    rig.crash(0, 1);
    let delay = rig.crash(0, 2).expect("a restart");
    let read: Status = serde_json::from_str(&serde_json::to_string(&rig.status())?)?;
    // Whole milliseconds are what is written.
    let restart_in = Duration::from_millis(u64::try_from(delay.as_millis()).expect("short"));
    assert_eq!(read.slots[0].phase, SlotPhase::Waiting { restart_in });
    Ok(())
}

#[test]
fn a_notice_is_readable_as_json() -> serde_json::Result<()> {
    let mut rig = Rig::serving(1);
    rig.cluster.handle_event(exited(1), at(500));
    let Some(Action::Notify(notice)) = rig.cluster.poll_action() else { panic!("expected a notice") };
    let expected = serde_json::json!({
        "notice": "worker_crashed", "worker": 1, "slot": 0, "generation": 1, "uptime_ms": 490,
        "cause": {"cause": "exited", "exit": {"signal": 11}}, "restart_in_ms": 0,
    });
    assert_eq!(serde_json::to_value(notice)?, expected);
    Ok(())
}

//! The rules of restarts.

use core::time::Duration;

use super::super::{Action, Cluster, Generation, Notice, Settings, SlotPhase, Time};
use super::{NOTHING, Rig, check, exited, ready};

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

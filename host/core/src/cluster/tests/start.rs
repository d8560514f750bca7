//! The rules of a start.

use super::super::{Cluster, Event, Generation, Time, WorkerId};
use super::{NOTHING, Rig, at, check, exited, ready};

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

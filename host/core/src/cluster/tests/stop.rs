//! The rules of a stop.

use super::super::{Event, SlotPhase, WorkerId};
use super::{NOTHING, Rig, at, check, drained, exited, ready};

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

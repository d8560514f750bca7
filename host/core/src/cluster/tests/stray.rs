//! The rules for events that come at the wrong time.

use super::super::Event;
use super::{NOTHING, Rig, check, drained, exited, failed, ready};

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

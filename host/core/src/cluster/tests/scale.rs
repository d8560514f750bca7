//! The rules of scaling.

use core::num::NonZeroU16;

use super::super::{Event, SlotId};
use super::rollout::roll;
use super::{NOTHING, Rig, check, exited, failed, ready};

pub(super) fn scale(slots: u16) -> Event {
    Event::Scale { slots: NonZeroU16::new(slots).expect("at least one") }
}

#[test]
fn new_slots_come_at_the_end() {
    let mut rig = Rig::serving(1);
    check(
        rig.event(100, scale(3)),
        &["from 1 slots to 3", "spawn 2 in slot 1, generation 1", "spawn 3 in slot 2, generation 1"],
    );
    check(rig.event(110, ready(3)), &["3 ready after 10", "slot 2 serving"]);
    assert_eq!(rig.cluster.slots().len(), 3);
    check(rig.event(120, scale(3)), NOTHING);
}

#[test]
fn the_last_slots_drain_and_are_closed_when_they_are_empty() {
    let mut rig = Rig::serving(3);
    check(rig.event(100, scale(1)), &["from 3 slots to 1", "drain 2 by 2100 for 1", "drain 3 by 2100 for 1"]);
    assert!(rig.cluster.slots()[2].is_retired());
    // An id is an index: the last slot goes first.
    check(rig.event(110, exited(2)), &["2 stopped: signal 11"]);
    check(rig.event(120, exited(3)), &["3 stopped: signal 11", "close slot 2", "close slot 1"]);
    assert_eq!(rig.cluster.slots().len(), 1);
    assert_eq!(rig.cluster.poll_timeout(), None);
}

#[test]
fn a_slot_that_retires_serves_until_somebody_else_does() {
    let mut rig = Rig::serving(2);
    rig.event(100, exited(1));
    check(rig.event(105, scale(1)), &["from 2 slots to 1"]);
    assert!(rig.cluster.slots()[1].is_serving());
    check(rig.event(110, ready(3)), &["3 ready after 10", "slot 0 serving", "drain 2 by 2110 for 3"]);
}

#[test]
fn a_slot_that_retires_does_not_wait_for_a_worker_that_is_not_ready() {
    let mut rig = Rig::serving(1);
    rig.event(100, scale(2));
    check(rig.event(110, scale(1)), &["from 2 slots to 1", "kill 2"]);
    check(rig.event(120, exited(2)), &["2 stopped: signal 11", "close slot 1"]);
}

#[test]
fn a_slot_that_comes_back_has_room_for_its_next_worker() {
    let mut rig = Rig::serving(2);
    rig.event(100, scale(1));
    check(rig.event(110, scale(2)), &["from 1 slots to 2", "spawn 3 in slot 1, generation 1"]);
    check(rig.event(120, exited(2)), &["2 stopped: signal 11"]);
    assert!(!rig.cluster.slots()[1].is_retired());
}

#[test]
fn a_slot_that_comes_in_a_rollout_is_no_canary() {
    let mut rig = Rig::serving(1);
    rig.event(100, roll(2, 1, 500));
    check(rig.event(105, scale(2)), &["from 1 slots to 2", "spawn 3 in slot 1, generation 1"]);
    rig.event(110, ready(2));
    rig.event(115, ready(3));
    check(rig.event(120, exited(1)), &["1 stopped: signal 11", "2 bakes 500"]);
    check(rig.event(130, scale(3)), &["from 2 slots to 3", "spawn 4 in slot 2, generation 1"]);
    rig.event(140, ready(4));
    check(rig.wake(620), &["slot 1 turns to 2", "spawn 5 in slot 1, generation 2"]);
    check(rig.event(630, scale(4)), &["from 3 slots to 4", "spawn 6 in slot 3, generation 2"]);
    check(
        rig.event(640, failed(5, "no")),
        &[
            "2 aborted: refused: no",
            "slot 1 turns to 1",
            "slot 3 turns to 1",
            "kill 5",
            "kill 6",
            "spawn 7 in slot 3, generation 1",
        ],
    );
}

#[test]
fn a_rollout_is_over_when_the_slots_that_are_left_have_turned() {
    let mut rig = Rig::serving(2);
    rig.event(100, roll(2, 1, 500));
    rig.event(110, ready(3));
    rig.event(120, exited(1));
    check(rig.event(130, scale(1)), &["from 2 slots to 1", "drain 2 by 2130 for 3"]);
    check(rig.wake(620), &["2 done in 520"]);
}

#[test]
fn slots_that_were_given_up_may_be_all_that_is_left() {
    let mut rig = Rig::with(super::Settings { max_restarts: 0, ..Rig::settings(2) });
    rig.event(10, ready(1));
    rig.event(10, ready(2));
    rig.event(20, exited(1));
    assert!(rig.cluster.slots()[0].is_errored());
    check(rig.event(100, scale(1)), &["from 2 slots to 1", "spawn 3 in slot 0, generation 1"]);
    assert!(rig.cluster.slots()[1].is_serving());
    check(rig.event(110, ready(3)), &["3 ready after 10", "slot 0 serving", "drain 2 by 2110 for 3"]);
}

#[test]
fn nobody_scales_what_stops() {
    let mut rig = Rig::serving(1);
    rig.event(100, Event::Stop);
    check(rig.event(110, scale(3)), NOTHING);
    check(rig.event(110, Event::Restart { slot: SlotId(0) }), NOTHING);
}

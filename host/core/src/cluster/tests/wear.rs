//! The rules for workers that have served enough.

use super::super::{Event, SlotId, Wear, WorkerId};
use super::rollout::roll;
use super::scale::scale;
use super::{NOTHING, Rig, check, exited, ready};

fn worn(worker: u64) -> Event {
    Event::WorkerWorn { worker: WorkerId(worker), wear: Wear::Requests { served: 9 } }
}

fn restart(slot: u16) -> Event {
    Event::Restart { slot: SlotId(slot) }
}

#[test]
fn another_one_serves_before_it_goes() {
    let mut rig = Rig::serving(2);
    check(rig.event(100, worn(2)), &["2 leaves slot 1: 9 requests", "spawn 3 in slot 1, generation 1"]);
    check(rig.event(105, worn(2)), NOTHING);
    check(rig.event(110, ready(3)), &["3 ready after 10", "drain 2 by 2110 for 3"]);
    check(rig.event(120, exited(2)), &["2 stopped: signal 11"]);
    assert_eq!(rig.cluster.slots()[1].restarts(), 0, "it is no crash");
}

#[test]
fn one_at_a_time() {
    let mut rig = Rig::serving(3);
    rig.event(100, worn(3));
    check(rig.event(101, restart(0)), NOTHING);
    // The first reason stands.
    check(rig.event(102, restart(1)), NOTHING);
    check(rig.event(103, worn(2)), NOTHING);
    rig.event(110, ready(4));
    check(
        rig.event(120, exited(3)),
        &["3 stopped: signal 11", "1 leaves slot 0: asked", "spawn 5 in slot 0, generation 1"],
    );
    rig.event(130, ready(5));
    check(
        rig.event(140, exited(1)),
        &["1 stopped: signal 11", "2 leaves slot 1: asked", "spawn 6 in slot 1, generation 1"],
    );
}

#[test]
fn one_that_dies_while_it_leaves_has_a_successor_already() {
    let mut rig = Rig::serving(1);
    rig.event(100, worn(1));
    check(rig.event(105, exited(1)), &["1 stopped: signal 11"]);
    check(rig.event(110, ready(2)), &["2 ready after 10", "slot 0 serving"]);
    assert_eq!(rig.cluster.slots()[0].restarts(), 0);
}

#[test]
fn one_whose_successors_cannot_start_stays() {
    let mut rig = Rig::with(super::Settings { max_restarts: 0, ..Rig::settings(2) });
    rig.event(10, ready(1));
    rig.event(10, ready(2));
    rig.event(100, worn(1));
    check(
        rig.event(110, exited(3)),
        &["3 crashed: signal 11, never ready, no restart", "slot 0 errored after 1"],
    );
    assert!(rig.cluster.slots()[0].is_serving());
    // It is in nobody's way.
    check(rig.event(120, worn(2)), &["2 leaves slot 1: 9 requests", "spawn 4 in slot 1, generation 1"]);
    check(rig.event(130, restart(0)), &["spawn 5 in slot 0, generation 1"]);
    check(rig.event(140, ready(5)), &["5 ready after 10", "drain 1 by 2140 for 5"]);
}

#[test]
fn a_slot_that_waits_or_was_given_up_is_restarted_at_once() {
    let mut rig = Rig::with(super::Settings { max_restarts: 1, ..Rig::settings(2) });
    rig.event(10, ready(2));
    rig.event(20, exited(1));
    check(
        rig.event(30, exited(3)),
        &["3 crashed: signal 11, never ready, no restart", "slot 0 errored after 2", "all serving"],
    );
    check(rig.event(40, restart(0)), &["spawn 4 in slot 0, generation 1"]);
    check(rig.event(50, restart(0)), NOTHING);
    // What happened before is forgotten.
    check(
        rig.event(60, exited(4)),
        &["4 crashed: signal 11, never ready, restart at once", "spawn 5 in slot 0, generation 1"],
    );
}

#[test]
fn a_rollout_goes_first_and_replaces_it_anyway() {
    let mut rig = Rig::serving(2);
    rig.event(100, roll(2, 1, 500));
    check(rig.event(105, worn(1)), NOTHING);
    rig.event(110, ready(3));
    check(rig.event(120, exited(1)), &["1 stopped: signal 11", "2 bakes 500"]);
    // While it only waits there is time.
    check(rig.event(130, worn(3)), &["3 leaves slot 0: 9 requests", "spawn 4 in slot 0, generation 2"]);
    check(rig.event(140, worn(2)), NOTHING);
    check(rig.wake(620), NOTHING);
    rig.event(630, ready(4));
    check(
        rig.event(640, exited(3)),
        &["3 stopped: signal 11", "slot 1 turns to 2", "spawn 5 in slot 1, generation 2"],
    );
}

#[test]
fn a_version_that_outgrows_its_workers_is_not_rolled_out() {
    let heavy = |worker| Event::WorkerWorn { worker: WorkerId(worker), wear: Wear::Memory { bytes: 9 } };
    let mut rig = Rig::serving(2);
    rig.event(100, roll(2, 1, 500));
    rig.event(110, ready(3));
    rig.event(120, exited(1));
    // That the old one has grown says nothing about the new one.
    check(rig.event(125, heavy(2)), &["2 leaves slot 1: 9 bytes", "spawn 4 in slot 1, generation 1"]);
    check(rig.event(130, heavy(3)), &["2 aborted: 3 uses 9"]);
    rig.event(140, ready(4));
    check(
        rig.event(150, exited(2)),
        &["2 stopped: signal 11", "slot 0 turns to 1", "spawn 5 in slot 0, generation 1"],
    );
}

#[test]
fn what_is_not_there_cannot_be_restarted() {
    let mut rig = Rig::serving(2);
    check(rig.event(100, restart(2)), NOTHING);
    check(rig.event(100, worn(9)), NOTHING);
    rig.event(110, scale(1));
    check(rig.event(120, restart(1)), NOTHING);
    check(rig.event(120, worn(2)), NOTHING);
}

//! The rules of a rollout.

use core::time::Duration;

use super::super::{Event, Gate, Generation, Plan, RolloutStage};
use super::{NOTHING, Rig, at, check, exited, failed, ready};

pub(super) fn roll(generation: u64, canaries: u16, bake: u64) -> Event {
    let bake = Duration::from_millis(bake);
    let plan = Plan { canaries, bake, share: None, gate: Gate::OPEN };
    Event::Roll { generation: Generation(generation), plan }
}

#[test]
fn a_successor_serves_before_its_predecessor_drains_and_slots_take_turns() {
    let mut rig = Rig::serving(2);
    check(
        rig.event(100, roll(2, 1, 0)),
        &["rollout of 2, from 1", "slot 0 turns to 2", "spawn 3 in slot 0, generation 2"],
    );
    check(rig.event(110, ready(3)), &["3 ready after 10", "drain 1 by 2110 for 3"]);
    check(
        rig.event(200, exited(1)),
        &["1 stopped: signal 11", "slot 1 turns to 2", "spawn 4 in slot 1, generation 2"],
    );
    check(rig.event(210, ready(4)), &["4 ready after 10", "drain 2 by 2210 for 4"]);
    check(rig.event(220, exited(2)), &["2 stopped: signal 11", "2 done in 120"]);
    assert_eq!(rig.cluster.generation(), Generation(2));
    assert_eq!(rig.cluster.status(rig.now, |_| None).rollout, None);
    check(
        rig.event(900, exited(3)),
        &["3 crashed: signal 11, up 790, restart at once", "spawn 5 in slot 0, generation 2"],
    );
}

#[test]
fn who_gets_connections_back_from_an_heir_that_died_has_time_for_them() {
    let mut rig = Rig::serving(1);
    rig.event(100, roll(2, 1, 0));
    check(rig.event(110, ready(2)), &["2 ready after 10", "drain 1 by 2110 for 2"]);
    rig.event(2_000, exited(2));
    rig.event(2_010, ready(3));
    check(rig.wake(3_999), NOTHING);
    check(rig.wake(4_000), &["1 overdue"]);
}

#[test]
fn canaries_are_watched_before_the_others_follow() {
    let mut rig = Rig::serving(3);
    rig.event(100, roll(2, 2, 500));
    rig.event(110, ready(4));
    check(
        rig.event(120, exited(1)),
        &["1 stopped: signal 11", "slot 1 turns to 2", "spawn 5 in slot 1, generation 2"],
    );
    rig.event(130, ready(5));
    check(rig.event(140, exited(2)), &["2 stopped: signal 11", "2 bakes 500"]);
    assert_eq!(rig.cluster.poll_timeout(), Some(at(640)));
    let rollout = rig.cluster.status(at(240), |_| None).rollout.expect("it is under way");
    assert_eq!(rollout.from, Generation(1));
    assert_eq!(rollout.stage, RolloutStage::Baking { left: Duration::from_millis(400) });
    check(rig.wake(639), NOTHING);
    check(rig.wake(640), &["slot 2 turns to 2", "spawn 6 in slot 2, generation 2"]);
}

#[test]
fn a_cluster_of_canaries_bakes_too() {
    let mut rig = Rig::serving(1);
    rig.event(100, roll(2, 5, 500));
    rig.event(110, ready(2));
    check(rig.event(120, exited(1)), &["1 stopped: signal 11", "2 bakes 500"]);
    check(rig.wake(620), &["2 done in 520"]);
}

#[test]
fn a_generation_that_refuses_is_given_up_and_nobody_noticed() {
    let mut rig = Rig::serving(2);
    rig.event(100, roll(2, 1, 0));
    check(rig.event(110, failed(3, "trap")), &["2 aborted: refused: trap", "slot 0 turns to 1", "kill 3"]);
    assert!(rig.cluster.slots().iter().all(super::super::Slot::is_serving));
    check(rig.event(120, exited(3)), &["3 stopped: signal 11", "back at 1"]);
    assert_eq!(rig.cluster.generation(), Generation(1));
}

#[test]
fn a_canary_that_crashes_takes_its_generation_with_it() {
    let mut rig = Rig::serving(2);
    rig.event(100, roll(2, 1, 500));
    rig.event(110, ready(3));
    rig.event(120, exited(1));
    check(
        rig.event(300, exited(3)),
        &["2 aborted: 3 crashed", "slot 0 turns to 1", "spawn 4 in slot 0, generation 1"],
    );
    check(rig.event(310, ready(4)), &["4 ready after 10", "slot 0 serving", "back at 1"]);
}

#[test]
fn a_late_failure_leads_all_slots_back_one_by_one() {
    let mut rig = Rig::serving(3);
    rig.event(100, roll(2, 1, 0));
    rig.event(110, ready(4));
    rig.event(120, exited(1));
    check(rig.event(130, ready(5)), &["5 ready after 10", "drain 2 by 2130 for 5"]);
    rig.event(140, exited(2));
    check(rig.event(150, failed(6, "no")), &["2 aborted: refused: no", "slot 2 turns to 1", "kill 6"]);
    check(
        rig.event(160, exited(6)),
        &["6 stopped: signal 11", "slot 0 turns to 1", "spawn 7 in slot 0, generation 1"],
    );
    check(rig.event(170, ready(7)), &["7 ready after 10", "drain 4 by 2170 for 7"]);
    check(
        rig.event(180, exited(4)),
        &["4 stopped: signal 11", "slot 1 turns to 1", "spawn 8 in slot 1, generation 1"],
    );
    rig.event(190, ready(8));
    check(rig.event(200, exited(5)), &["5 stopped: signal 11", "back at 1"]);
}

#[test]
fn the_last_word_counts() {
    let mut rig = Rig::serving(2);
    rig.event(100, roll(2, 1, 0));
    check(
        rig.event(110, roll(3, 1, 0)),
        &["2 aborted: superseded by 3", "rollout of 3, from 1", "slot 0 turns to 3", "kill 3"],
    );
    check(rig.event(110, roll(3, 1, 0)), NOTHING);
    // There is one process too many until it is gone.
    check(rig.event(120, exited(3)), &["3 stopped: signal 11", "spawn 4 in slot 0, generation 3"]);
    check(rig.event(130, failed(4, "no")), &["3 aborted: refused: no", "slot 0 turns to 1", "kill 4"]);
    check(rig.event(140, exited(4)), &["4 stopped: signal 11", "back at 1"]);
}

#[test]
fn crashes_of_the_old_generation_do_not_fail_the_new_one() {
    let mut rig = Rig::serving(2);
    rig.event(100, roll(2, 1, 500));
    check(
        rig.event(105, exited(2)),
        &["2 crashed: signal 11, up 95, restart at once", "spawn 4 in slot 1, generation 1"],
    );
    // The predecessor of the slot that turns is not replaced once more.
    check(rig.event(106, exited(1)), &["1 stopped: signal 11"]);
    check(rig.event(110, ready(3)), &["3 ready after 10", "slot 0 serving", "2 bakes 500"]);
    check(rig.event(115, failed(4, "no")), &["kill 4"]);
}

#[test]
fn a_slot_that_was_given_up_gets_another_chance() {
    let mut rig = Rig::serving(2);
    for worker in 0..4 {
        let worker = if worker == 0 { 1 } else { worker + 2 };
        rig.crash(20 + worker, worker);
        rig.wake(5_000);
    }
    assert!(rig.cluster.slots()[0].is_errored());
    check(
        rig.event(6_000, roll(2, 1, 0)),
        &["rollout of 2, from 1", "slot 0 turns to 2", "spawn 6 in slot 0, generation 2"],
    );
    assert_eq!(rig.cluster.slots()[0].restarts(), 4, "what was lost stays counted");
}

#[test]
fn a_stop_ends_a_rollout() {
    let mut rig = Rig::serving(1);
    rig.event(100, roll(2, 1, 0));
    check(rig.event(110, Event::Stop), &["2 aborted: stopping", "drain 1 by 2110", "kill 2"]);
    check(rig.event(115, roll(3, 1, 0)), NOTHING);
    rig.event(120, exited(1));
    check(rig.event(130, exited(2)), &["2 stopped: signal 11", "stopped"]);
}

#[test]
fn what_is_served_already_is_not_rolled_out() {
    let mut rig = Rig::serving(1);
    check(rig.event(100, roll(1, 1, 0)), NOTHING);
}

#[test]
fn a_slot_that_could_not_return_has_not_far_to_go() {
    let mut rig = Rig::with(super::Settings { max_restarts: 0, ..Rig::settings(2) });
    rig.event(10, ready(1));
    rig.event(10, ready(2));
    rig.event(100, roll(2, 2, 0));
    rig.event(110, ready(3));
    rig.event(120, exited(1));
    rig.event(130, failed(4, "no"));
    check(
        rig.event(140, exited(4)),
        &["4 stopped: signal 11", "slot 0 turns to 1", "spawn 5 in slot 0, generation 1"],
    );
    check(
        rig.event(150, exited(5)),
        &["5 crashed: signal 11, never ready, no restart", "slot 0 errored after 1", "back at 1"],
    );
    assert!(rig.cluster.slots()[0].is_serving(), "the new generation goes on where the old one cannot");
    check(
        rig.event(160, roll(2, 1, 0)),
        &[
            "rollout of 2, from 1",
            "slot 0 turns to 2",
            "slot 1 turns to 2",
            "spawn 6 in slot 1, generation 2",
        ],
    );
}

#[test]
fn rolling_out_what_it_came_from_is_the_way_back() {
    let mut rig = Rig::serving(2);
    rig.event(100, roll(2, 1, 500));
    rig.event(110, ready(3));
    rig.event(120, exited(1));
    check(
        rig.event(130, roll(1, 1, 500)),
        &["2 aborted: superseded by 1", "slot 0 turns to 1", "spawn 4 in slot 0, generation 1"],
    );
    check(rig.event(140, ready(4)), &["4 ready after 10", "drain 3 by 2140 for 4"]);
    check(rig.event(150, exited(3)), &["3 stopped: signal 11", "back at 1"]);
}

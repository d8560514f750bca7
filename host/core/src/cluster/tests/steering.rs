//! The rules of where new connections go.

use core::time::Duration;

use super::super::{Action, Event, Gate, Generation, Notice, Plan, Settings, SlotId, WorkerId};
use super::scale::scale;
use super::{Rig, check, exited, failed, ready};

fn roll(generation: u64, bake: u64, share: Option<u8>) -> Event {
    let plan = Plan { canaries: 1, bake: Duration::from_millis(bake), share, gate: Gate::OPEN };
    Event::Roll { generation: Generation(generation), plan }
}

impl Rig {
    /// What slots get; nothing, if that was never said.
    fn shares(&self) -> Vec<u32> {
        let slots = self.cluster.slots().iter().map(super::super::Slot::id);
        self.steering.as_ref().map_or(Vec::new(), |steering| slots.map(|slot| steering.share(slot)).collect())
    }
}

#[test]
fn slots_in_which_somebody_serves_get_everything() {
    let mut rig = Rig::new(3);
    assert_eq!(rig.shares(), [0; 0]);
    rig.event(10, ready(2));
    assert_eq!(rig.shares(), [0, 1, 0]);
    rig.event(20, ready(1));
    rig.event(20, ready(3));
    assert_eq!(rig.shares(), [1, 1, 1]);
    rig.event(200, exited(3));
    assert_eq!(rig.shares(), [1, 1, 0]);
    rig.event(210, ready(4));
    assert_eq!(rig.shares(), [1, 1, 1]);
}

#[test]
fn where_nobody_serves_all_are_equal() {
    let mut rig = Rig::serving(2);
    rig.event(200, exited(1));
    assert_eq!(rig.shares(), [0, 1]);
    rig.event(200, exited(2));
    assert_eq!(rig.shares(), [1, 1]);
}

#[test]
fn who_is_stuck_gets_nothing_while_another_is_not() {
    let limits = [500, 300].map(|millis| Some(Duration::from_millis(millis)));
    let [heartbeat_timeout, stuck_after] = limits;
    let mut rig = Rig::with(Settings { heartbeat_timeout, stuck_after, ..Rig::settings(2) });
    let pulse = |worker| Event::WorkerPulse { worker: WorkerId(worker), served: Box::default() };
    rig.event(10, ready(1));
    rig.event(10, ready(2));
    rig.event(200, pulse(1));
    check(rig.wake(310), &["2 stuck for 300"]);
    assert_eq!(rig.shares(), [1, 0]);
    rig.event(320, pulse(2));
    assert_eq!(rig.shares(), [1, 1]);
    check(rig.wake(500), &["1 stuck for 300"]);
    assert_eq!(rig.shares(), [0, 1]);
    check(rig.wake(620), &["2 stuck for 300"]);
    assert_eq!(rig.shares(), [1, 1], "there is nobody else to go to");
    check(rig.wake(700), &["1 silent for 500", "kill 1"]);
    assert_eq!(rig.shares(), [0, 1]);
}

#[test]
fn what_has_not_changed_is_not_said_again() {
    let mut rig = Rig::serving(2);
    let said = rig.steering.take();
    assert!(said.is_some());
    rig.event(20, ready(1));
    rig.wake(1_000);
    rig.event(1_000, roll(2, 0, None));
    rig.event(1_010, ready(3));
    assert_eq!(rig.steering, None);
}

#[test]
fn a_canary_gets_what_it_may_until_the_others_follow() {
    let mut rig = Rig::serving(4);
    rig.event(100, roll(2, 500, Some(10)));
    assert_eq!(rig.shares(), [1, 1, 1, 1]);
    rig.event(110, ready(5));
    assert_eq!(rig.shares(), [30, 90, 90, 90]);
    rig.event(120, exited(1));
    rig.wake(619);
    assert_eq!(rig.shares(), [30, 90, 90, 90]);
    rig.wake(620);
    assert_eq!(rig.shares(), [1, 1, 1, 1]);
}

#[test]
fn a_canary_does_not_get_more_by_stealing() {
    let rationed = |rig: &Rig| {
        rig.cluster.hands().into_iter().map(|hand| (hand.slot.0, hand.rationed)).collect::<Vec<_>>()
    };
    let mut rig = Rig::serving(2);
    rig.event(100, roll(2, 500, Some(10)));
    rig.event(110, ready(3));
    assert_eq!(rationed(&rig), [(0, true), (1, false)]);
    rig.event(120, exited(1));
    rig.wake(620);
    assert_eq!(rationed(&rig), [(0, false), (1, false)]);

    let mut rig = Rig::serving(2);
    rig.event(100, roll(2, 500, None));
    rig.event(110, ready(3));
    assert_eq!(rationed(&rig), [(0, false), (1, false)]);
}

#[test]
fn what_a_canary_may_get_is_shared_by_those_that_serve() {
    let mut rig = Rig::serving(4);
    rig.event(100, roll(2, 500, Some(10)));
    rig.event(110, ready(5));
    rig.event(120, exited(1));
    rig.event(130, exited(4));
    assert_eq!(rig.shares(), [20, 90, 90, 0]);
}

#[test]
fn a_version_that_failed_gets_no_more_than_before_on_the_way_back() {
    let mut rig = Rig::serving(3);
    let plan = Plan { canaries: 2, bake: Duration::from_millis(500), share: Some(10), gate: Gate::OPEN };
    rig.event(100, Event::Roll { generation: Generation(2), plan });
    rig.event(110, ready(4));
    rig.event(120, exited(1));
    assert_eq!(rig.shares(), [20, 90, 90]);
    rig.event(130, failed(5, "trap"));
    rig.event(140, exited(5));
    assert_eq!(rig.cluster.generation(), Generation(1));
    assert_eq!(rig.shares(), [20, 90, 90]);
    rig.event(150, ready(6));
    assert_eq!(rig.shares(), [1, 1, 1]);
}

#[test]
fn all_of_it_can_go_to_the_canary_and_goes_elsewhere_when_that_is_gone() {
    let mut rig = Rig::serving(2);
    rig.event(100, roll(2, 500, Some(100)));
    rig.event(110, ready(3));
    assert_eq!(rig.shares(), [100, 0]);
    rig.event(120, exited(3));
    assert_eq!(rig.shares(), [0, 1]);
}

#[test]
fn a_slot_that_is_to_go_gets_nothing_unless_nobody_else_serves() {
    let mut rig = Rig::serving(3);
    rig.event(100, scale(2));
    assert_eq!(rig.shares(), [1, 1, 0]);
    rig.event(200, exited(3));
    assert_eq!(rig.shares(), [1, 1]);
    rig.event(300, scale(3));
    assert_eq!(rig.shares(), [1, 1, 0]);
    rig.event(310, ready(4));
    assert_eq!(rig.shares(), [1, 1, 1]);

    let mut rig = Rig::new(2);
    rig.event(10, ready(2));
    rig.event(20, scale(1));
    assert_eq!(rig.shares(), [0, 1]);
    rig.event(30, ready(1));
    assert_eq!(rig.shares(), [1, 0]);
}

#[test]
fn who_stops_says_nothing() {
    let mut rig = Rig::serving(2);
    rig.steering = None;
    rig.event(100, Event::Stop);
    rig.event(110, exited(1));
    assert_eq!(rig.steering, None);
}

/// By the time that somebody is told to go, or that it is said of them that they get nothing, nothing more must come their way.
#[test]
fn it_is_said_before_anybody_is_told_anything() {
    let mut rig = Rig::serving(2);
    rig.cluster.handle_event(exited(1), super::at(500));
    let said: Vec<_> = core::iter::from_fn(|| rig.cluster.poll_action()).collect();
    let place = |which: fn(&Action) -> bool| said.iter().position(which).expect("it was said");
    assert_eq!(place(|action| matches!(action, Action::Steer(_))), 0, "{said:?}");
    let spawned = place(|action| matches!(action, Action::Spawn { slot: SlotId(0), .. }));
    let crashed = place(|action| matches!(action, Action::Notify(Notice::WorkerCrashed { .. })));
    assert!(crashed < spawned, "{said:?}");
}

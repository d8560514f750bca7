//! The rules for what workers say about themselves.

use core::time::Duration;

use proptest::array::uniform32;
use proptest::collection::vec;
use proptest::prelude::*;

use super::super::laws::any_pulses_are_judged;
use super::super::{Event, Gate, Generation, Plan, Settings, WorkerId};
use super::rollout::roll;
use super::{NOTHING, Rig, at, check, exited, ready};
use crate::laws::cases;
use crate::sample::{Sample, Times};

fn pulse(worker: u64, requests: u64, errors: u64) -> Event {
    let served = Box::new(Sample { requests, errors, ..Sample::default() });
    Event::WorkerPulse { worker: WorkerId(worker), served }
}

fn heeding(slots: u16) -> Rig {
    let mut rig =
        Rig::with(Settings { heartbeat_timeout: Some(Duration::from_millis(500)), ..Rig::settings(slots) });
    for worker in 1..=u64::from(slots) {
        rig.event(10, ready(worker));
    }
    rig
}

#[test]
fn a_worker_that_falls_silent_is_killed_and_replaced() {
    let mut rig = heeding(1);
    assert_eq!(rig.cluster.poll_timeout(), Some(at(510)));
    check(rig.event(400, pulse(1, 0, 0)), NOTHING);
    assert_eq!(rig.cluster.poll_timeout(), Some(at(900)));
    check(rig.wake(899), NOTHING);
    check(rig.wake(900), &["1 silent for 500", "kill 1"]);
    check(
        rig.event(910, exited(1)),
        &["1 crashed: silent, up 900, restart at once", "spawn 2 in slot 0, generation 1"],
    );
}

/// It holds what its clients wait for, and would until its deadline.
#[test]
fn a_worker_that_falls_silent_while_it_drains_is_killed_too() {
    let mut rig = heeding(1);
    rig.event(100, roll(2, 1, 0));
    check(rig.event(110, ready(2)), &["2 ready after 10", "drain 1 by 2110 for 2"]);
    rig.event(400, pulse(2, 0, 0));
    check(rig.event(410, pulse(1, 0, 0)), NOTHING);
    rig.event(800, pulse(2, 0, 0));
    check(rig.wake(909), NOTHING);
    check(rig.wake(910), &["1 silent for 500", "kill 1"]);
}

/// After a pause of the whole machine every worker would look dead.
#[test]
fn who_slept_does_not_judge() {
    let mut rig = heeding(1);
    check(rig.wake(1_511), NOTHING);
    assert_eq!(rig.cluster.poll_timeout(), Some(at(2_011)));
    check(rig.wake(2_011), &["1 silent for 500", "kill 1"]);
}

#[test]
fn who_slept_takes_nobody_for_stuck() {
    let stuck_after = Some(Duration::from_millis(300));
    let mut rig = Rig::with(Settings { stuck_after, ..Rig::settings(1) });
    rig.event(10, ready(1));
    check(rig.wake(1_311), NOTHING);
    assert_eq!(rig.cluster.poll_timeout(), Some(at(1_611)));
}

#[test]
fn one_that_drains_has_a_deadline_besides() {
    let mut rig = heeding(1);
    rig.event(100, Event::Stop);
    assert_eq!(rig.cluster.poll_timeout(), Some(at(510)));
    for millis in [500, 900, 1_300, 1_700] {
        check(rig.event(millis, pulse(1, 0, 0)), NOTHING);
    }
    assert_eq!(rig.cluster.poll_timeout(), Some(at(2_100)));
}

fn gated(generation: u64) -> Event {
    let gate = Gate { errors: Some(5), slowness: None };
    let plan = Plan { canaries: 1, bake: Duration::from_millis(5_000), share: None, gate };
    Event::Roll { generation: Generation(generation), plan }
}

/// Both have served before, and the canary is ready.
fn baking() -> Rig {
    let mut rig = Rig::serving(2);
    rig.event(50, pulse(1, 1_000, 500));
    rig.event(50, pulse(2, 1_000, 500));
    rig.event(100, gated(2));
    rig.event(110, ready(3));
    rig
}

#[test]
fn a_generation_whose_requests_fail_is_given_up() {
    let mut rig = baking();
    rig.event(120, exited(1));
    check(rig.event(130, pulse(3, 9, 9)), NOTHING);
    check(
        rig.event(140, pulse(3, 20, 10)),
        &["2 aborted: 10 of 20 failed", "slot 0 turns to 1", "spawn 4 in slot 0, generation 1"],
    );
}

#[test]
fn what_fails_in_the_old_one_as_well_says_nothing_against_the_new_one() {
    let mut rig = baking();
    // In 100 requests since the rollout began, half failed.
    rig.event(115, pulse(1, 1_100, 550));
    rig.event(120, exited(1));
    check(rig.event(130, pulse(3, 20, 10)), NOTHING);
    // In many more none did.
    check(
        rig.event(140, pulse(2, 2_000, 500)),
        &["2 aborted: 10 of 20 failed", "slot 0 turns to 1", "spawn 4 in slot 0, generation 1"],
    );
}

/// Counters that only a worker which is not ours any more would send, and some that could be real.
fn served() -> impl Strategy<Value = Sample> {
    let count = || prop_oneof![..200_u64, any::<u64>(), Just(u64::MAX)];
    (count(), count(), count(), uniform32(count())).prop_map(|(requests, errors, traps, took)| Sample {
        requests,
        errors,
        traps,
        took: Times::new(took),
    })
}

proptest! {
    #![proptest_config(cases(128))]

    #[test]
    fn whatever_workers_say_that_they_served(samples in vec(served(), ..4)) {
        any_pulses_are_judged(&samples);
    }
}

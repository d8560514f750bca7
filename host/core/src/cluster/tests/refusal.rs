//! The rules for a generation that does not start.

use super::super::Event;
use super::{NOTHING, Rig, check, exited, failed, ready};

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

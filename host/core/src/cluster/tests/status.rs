//! What others see of a cluster.

use core::time::Duration;

use super::super::{Action, SlotPhase, Status, WorkerPhase};
use super::{Rig, at, exited};

#[test]
fn a_status_is_readable_as_json() -> serde_json::Result<()> {
    let mut rig = Rig::serving(2);
    rig.event(1_000, exited(2));
    assert_eq!(rig.status().slots[1].workers[0].phase, WorkerPhase::Starting);
    let status = serde_json::to_value(rig.status())?;
    let expected = serde_json::json!({
        "phase": "running",
        "generation": 1,
        "rollout": null,
        "slots": [
            {"slot": 0, "phase": "serving", "restarts": 0, "workers": [
                {"worker": 1, "pid": 101, "generation": 1, "phase": "serving", "age_ms": 1000, "uptime_ms": 990},
            ]},
            {"slot": 1, "phase": "starting", "restarts": 1, "workers": [
                {"worker": 3, "pid": 103, "generation": 1, "phase": "starting", "age_ms": 0, "uptime_ms": null},
            ]},
        ],
    });
    assert_eq!(status, expected);
    assert_eq!(serde_json::from_value::<Status>(status)?, rig.status());
    Ok(())
}

#[test]
fn the_wait_for_a_restart_survives_json() -> serde_json::Result<()> {
    let mut rig = Rig::new(1);
    rig.crash(0, 1);
    let delay = rig.crash(0, 2).expect("a restart");
    let read: Status = serde_json::from_str(&serde_json::to_string(&rig.status())?)?;
    // Whole milliseconds are what is written.
    let restart_in = Duration::from_millis(u64::try_from(delay.as_millis()).expect("short"));
    assert_eq!(read.slots[0].phase, SlotPhase::Waiting { restart_in });
    Ok(())
}

#[test]
fn a_notice_is_readable_as_json() -> serde_json::Result<()> {
    let mut rig = Rig::serving(1);
    rig.cluster.handle_event(exited(1), at(500));
    let Some(Action::Notify(notice)) = rig.first_but_steering() else { panic!("expected a notice") };
    let expected = serde_json::json!({
        "notice": "worker_crashed", "worker": 1, "slot": 0, "generation": 1, "uptime_ms": 490,
        "cause": {"cause": "exited", "exit": {"signal": 11}}, "restart_in_ms": 0,
    });
    assert_eq!(serde_json::to_value(notice)?, expected);
    Ok(())
}

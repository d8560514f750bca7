//! What holds for whatever workers say that they have served. A worker runs what strangers wrote.

use core::num::NonZeroU16;
use core::time::Duration;

use super::{Action, Cluster, Event, Gate, Generation, Plan, Settings, Time, WorkerId};
use crate::sample::Sample;

/// Two old workers and a new one that is judged beside them say any of these, in turn. The cluster goes on, and knows its slots.
pub fn any_pulses_are_judged(samples: &[Sample]) {
    let slots = const { NonZeroU16::new(2).expect("two") };
    let mut cluster = Cluster::new(Settings::new(slots), Generation::FIRST, Time::START);
    let mut now = Time::START;
    let mut tell = |event| {
        now = now + Duration::from_millis(1);
        cluster.handle_event(event, now);
        let actions = core::iter::from_fn(|| cluster.poll_action());
        let spawned = actions.filter_map(|action| match action {
            Action::Spawn { worker, .. } => Some(worker),
            _ => None,
        });
        spawned.collect::<Vec<_>>()
    };
    let old = [WorkerId(1), WorkerId(2)];
    for worker in old {
        tell(Event::WorkerReady { worker });
    }
    let gate = Gate { errors: Some(0), slowness: Some(100) };
    let plan = Plan { canaries: 1, bake: Duration::from_secs(60), share: None, gate };
    let spawned = tell(Event::Roll { generation: Generation::FIRST.next(), plan });
    let [new] = spawned[..] else { panic!("a rollout begins with one worker, not with {spawned:?}") };
    tell(Event::WorkerReady { worker: new });
    for served in samples {
        for worker in [old[1], new, old[0], old[1], new] {
            tell(Event::WorkerPulse { worker, served: Box::new(served.clone()) });
        }
    }
    assert_eq!(cluster.slots().len(), usize::from(slots.get()));
}

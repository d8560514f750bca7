//! Commands that wait for what becomes of what they asked for.

use core::time::Duration;

use tokio::time::Instant;
use wasmcluster_core::cluster::{Abort, Cluster, Generation, Notice, SlotId, WorkerId};
use wasmcluster_core::control::{Ended, FromSupervisor};
use wasmcluster_core::record::Stamped;

use crate::control::Answers;
use crate::history::LastAnswer;

/// A command that asked for something which takes time.
#[derive(Debug)]
pub(super) struct Asker {
    pub(super) answers: Answers,
    /// When it asked.
    since: Instant,
}

impl Asker {
    pub(super) fn new(answers: Answers) -> Self {
        Self { answers, since: Instant::now() }
    }
}

/// What a command waits for.
#[derive(Debug)]
pub(super) enum Wanted {
    /// That slots get to this generation.
    Generation(Generation),
    /// That they return to it.
    Return(Generation),
    /// That they return to what serves, because this one failed.
    Failed(Generation, Abort),
    /// That there are so many of them.
    Slots(usize),
    /// That a slot has another worker than these.
    Successor(SlotId, Vec<WorkerId>),
}

/// A command, and what it waits for.
#[derive(Debug)]
pub(super) struct Waiter {
    wanted: Wanted,
    asker: Asker,
}

impl Waiter {
    pub(super) fn new(wanted: Wanted, asker: Asker) -> Self {
        Self { wanted, asker }
    }

    /// Whether this notice is the end of the wait, and which. `slots` is how many there are.
    fn hear(&mut self, notice: &Notice, slots: usize) -> Option<Ended> {
        let took = self.asker.since.elapsed();
        match (&self.wanted, notice) {
            (&Wanted::Generation(generation), Notice::RolloutDone { generation: done, .. })
            | (&Wanted::Return(generation), Notice::RolloutReturned { generation: done })
                if *done == generation =>
            {
                Some(Ended::Serving { generation, slots, took })
            }
            (&Wanted::Generation(generation), Notice::RolloutAborted { generation: aborted, abort })
                if *aborted == generation =>
            {
                match abort {
                    Abort::Superseded { .. } => Some(Ended::Superseded { generation: Some(generation) }),
                    // The end of everything follows.
                    Abort::Stopping => {
                        Some(Ended::GivenUp { generation, serving: generation, abort: abort.clone() })
                    }
                    Abort::Refused { .. } | Abort::Crashed { .. } | Abort::Worse(_) => {
                        self.wanted = Wanted::Failed(generation, abort.clone());
                        None
                    }
                }
            }
            (&Wanted::Failed(generation, ref abort), Notice::RolloutReturned { generation: serving }) => {
                Some(Ended::GivenUp { generation, serving: *serving, abort: abort.clone() })
            }
            // What slots were about to return to is not where they go now.
            (&Wanted::Failed(generation, ref abort), Notice::RolloutBegan { from, .. }) => {
                Some(Ended::GivenUp { generation, serving: *from, abort: abort.clone() })
            }
            (&Wanted::Return(generation), Notice::RolloutBegan { .. }) => {
                Some(Ended::Superseded { generation: Some(generation) })
            }
            _ => None,
        }
    }

    /// Whether things are as they were to be, or cannot come to that.
    fn look(&self, cluster: &Cluster) -> Option<Ended> {
        let took = self.asker.since.elapsed();
        match &self.wanted {
            Wanted::Slots(slots) => look_for_slots(cluster, *slots, took),
            Wanted::Successor(slot, before) => look_for_successor(cluster, *slot, before, took),
            Wanted::Generation(_) | Wanted::Return(_) | Wanted::Failed(..) => None,
        }
    }
}

fn look_for_slots(cluster: &Cluster, slots: usize, took: Duration) -> Option<Ended> {
    let active = cluster.active().count();
    if active != slots {
        return Some(Ended::ScaledOtherwise { slots: active });
    }
    let pending: Vec<_> = cluster.active().filter(|slot| !slot.is_serving()).collect();
    match pending.first() {
        None if cluster.slots().len() == slots => Some(Ended::Scaled { slots, took }),
        None => None,
        // As long as any other may come, there is something to wait for.
        Some(first) => pending.iter().all(|slot| slot.is_errored()).then(|| errored(cluster, first.id())),
    }
}

fn look_for_successor(cluster: &Cluster, id: SlotId, before: &[WorkerId], took: Duration) -> Option<Ended> {
    let Some(slot) = cluster.active().find(|slot| slot.id() == id) else {
        return Some(Ended::Retired { slot: id });
    };
    let is_new = |id: WorkerId| !before.contains(&id);
    let workers = slot.workers();
    if workers.iter().all(|worker| is_new(worker.id())) && workers.iter().any(|worker| worker.is_serving()) {
        return Some(Ended::Restarted { slot: id, took });
    }
    slot.is_errored().then(|| errored(cluster, id))
}

fn errored(cluster: &Cluster, slot: SlotId) -> Ended {
    let serving = cluster.active().filter(|slot| slot.is_serving()).count();
    Ended::Errored { slot, serving, slots: cluster.active().count() }
}

/// All that wait.
#[derive(Debug, Default)]
pub(super) struct Waiting(Vec<Waiter>);

impl Waiting {
    pub(super) fn add(&mut self, waiter: Waiter) {
        self.0.push(waiter);
    }

    /// Passes a notice on, and returns the last answers of those for whom it was the end.
    pub(super) fn note(&mut self, notice: &Notice, stamped: &Stamped, slots: usize) -> Vec<LastAnswer> {
        self.end(|waiter| {
            waiter.asker.answers.send_record(stamped);
            waiter.hear(notice, slots)
        })
    }

    /// Looks at what has come of everything up to now, and returns the last answers of those who have waited for that.
    pub(super) fn look(&mut self, cluster: &Cluster) -> Vec<LastAnswer> {
        self.end(|waiter| waiter.look(cluster))
    }

    fn end(&mut self, mut judge: impl FnMut(&mut Waiter) -> Option<Ended>) -> Vec<LastAnswer> {
        let mut ended = Vec::new();
        for mut waiter in std::mem::take(&mut self.0) {
            match judge(&mut waiter) {
                Some(last) => ended.push((waiter.asker.answers, FromSupervisor::Ended(last))),
                None if waiter.asker.answers.are_awaited() => self.0.push(waiter),
                None => {}
            }
        }
        ended
    }
}

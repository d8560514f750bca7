//! Commands that wait for what becomes of what they asked for.

use core::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use wasmcluster_core::cluster::{Abort, Cluster, Generation, Notice, SlotId, WorkerId};
use wasmcluster_core::control::{Ended, FromSupervisor};
use wasmcluster_core::record::{Record, Stamped};

use crate::control::{Answers, Control, PassedAnswers, Released};
use crate::history::{LastAnswer, now};
use crate::upgrade::Descriptors;

/// A command that asked for something which takes time.
#[derive(Debug)]
pub(super) struct Asker {
    pub(super) answers: Answers,
    /// When it asked.
    since: Instant,
}

/// An [`Asker`] whom nobody answers.
#[derive(Debug)]
pub(super) struct ReleasedAsker {
    answers: Released,
    waited: Duration,
}

impl ReleasedAsker {
    /// What somebody else needs to answer. None for who has left.
    pub(super) async fn pass(self, deadline: Instant, descriptors: &mut Descriptors) -> Option<PassedAsker> {
        let answers = self.answers.pass(deadline, descriptors).await?;
        Some(PassedAsker { answers, waited: self.waited })
    }
}

/// An [`Asker`] on its way to another program.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PassedAsker {
    answers: PassedAnswers,
    waited: Duration,
}

impl Asker {
    /// Leaves it to somebody else.
    pub(super) fn release(self) -> ReleasedAsker {
        ReleasedAsker { waited: self.since.elapsed(), answers: self.answers.release() }
    }

    /// Answers in the place of somebody else. None where that is not possible; then the connection ends.
    pub(super) fn take(
        passed: PassedAsker,
        control: &Control,
        descriptors: &mut Descriptors,
    ) -> Option<Self> {
        let answers = control.take(passed.answers, descriptors).ok()?;
        let now = Instant::now();
        Some(Self { answers, since: now.checked_sub(passed.waited).unwrap_or(now) })
    }

    pub(super) fn new(answers: Answers) -> Self {
        Self { answers, since: Instant::now() }
    }

    /// Tells of something that happens on the way.
    pub(super) fn tell(&mut self, record: &Record) {
        self.answers.send_record(&Stamped { at: now(), record: record.clone() });
    }

    /// Answers for the last time.
    pub(super) fn end(self, answer: FromSupervisor) {
        self.answers.end(answer);
    }
}

/// What a command waits for.
#[derive(Debug, Serialize, Deserialize)]
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
                    Abort::Refused { .. }
                    | Abort::Crashed { .. }
                    | Abort::Worse(_)
                    | Abort::Outgrown { .. } => {
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

/// [`Waiting`], and nobody looks after them.
#[derive(Debug)]
pub(super) struct ReleasedWaiting(Vec<(Wanted, ReleasedAsker)>);

impl ReleasedWaiting {
    /// What somebody else needs to go on with it.
    pub(super) async fn pass(self, deadline: Instant, descriptors: &mut Descriptors) -> PassedWaiting {
        let mut passed = Vec::new();
        for (wanted, asker) in self.0 {
            passed.extend(asker.pass(deadline, descriptors).await.map(|asker| (wanted, asker)));
        }
        PassedWaiting(passed)
    }
}

/// [`Waiting`], on its way to another program.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PassedWaiting(Vec<(Wanted, PassedAsker)>);

impl Waiting {
    /// Leaves all of them to somebody else.
    pub(super) fn release(self) -> ReleasedWaiting {
        ReleasedWaiting(
            self.0.into_iter().map(|Waiter { wanted, asker }| (wanted, asker.release())).collect(),
        )
    }

    /// Goes on with what somebody else had.
    pub(super) fn take(passed: PassedWaiting, control: &Control, descriptors: &mut Descriptors) -> Self {
        let waiters = passed.0.into_iter().filter_map(|(wanted, asker)| {
            Some(Waiter { wanted, asker: Asker::take(asker, control, descriptors)? })
        });
        Self(waiters.collect())
    }

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

//! Commands that wait for what becomes of a generation.

use tokio::time::Instant;
use wasmcluster_core::cluster::{Abort, Generation, Notice};
use wasmcluster_core::control::{Ended, FromSupervisor};
use wasmcluster_core::record::Stamped;

use crate::control::Answers;
use crate::history::LastAnswer;

/// A command that asked for another generation.
#[derive(Debug)]
pub(super) struct Asker {
    pub(super) answers: Answers,
    /// When it asked.
    pub(super) since: Instant,
}

/// A command that waits until a generation serves, or does not.
#[derive(Debug)]
pub(super) struct Waiter {
    generation: Generation,
    /// Whether slots are to return to it.
    back: bool,
    /// Why they are not to get to it after all.
    failed: Option<Abort>,
    asker: Asker,
}

impl Waiter {
    /// For a generation that slots are to get to.
    pub(super) fn new(generation: Generation, asker: Asker) -> Self {
        Self { generation, back: false, failed: None, asker }
    }

    /// For one that they are to return to.
    pub(super) fn back(generation: Generation, asker: Asker) -> Self {
        Self { generation, back: true, failed: None, asker }
    }

    /// What became of its generation, if this notice tells. `slots` is how many there are.
    fn judge(&mut self, notice: &Notice, slots: usize) -> Option<Ended> {
        let generation = self.generation;
        let given_up =
            |abort: &Abort, serving| Some(Ended::GivenUp { generation, serving, abort: abort.clone() });
        match (notice, &self.failed) {
            (Notice::RolloutDone { generation: done, .. }, _) if *done == generation => self.served(slots),
            (Notice::RolloutReturned { generation: serving }, Some(abort)) => given_up(abort, *serving),
            (Notice::RolloutReturned { generation: serving }, None)
                if self.back && *serving == generation =>
            {
                self.served(slots)
            }
            (Notice::RolloutAborted { generation: aborted, abort }, None) if *aborted == generation => {
                match abort {
                    Abort::Superseded { .. } => Some(Ended::Superseded { generation: Some(generation) }),
                    // The end of everything follows.
                    Abort::Stopping => given_up(abort, generation),
                    Abort::Refused { .. } | Abort::Crashed { .. } | Abort::Worse(_) => {
                        self.failed = Some(abort.clone());
                        None
                    }
                }
            }
            // What slots were about to return to is not where they go now.
            (Notice::RolloutBegan { from, .. }, Some(abort)) => given_up(abort, *from),
            (Notice::RolloutBegan { .. }, None) if self.back => {
                Some(Ended::Superseded { generation: Some(generation) })
            }
            _ => None,
        }
    }

    fn served(&self, slots: usize) -> Option<Ended> {
        Some(Ended::Serving { generation: self.generation, slots, took: self.asker.since.elapsed() })
    }
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
        self.0.retain(|waiter| waiter.asker.answers.are_awaited());
        let mut ended = Vec::new();
        for mut waiter in std::mem::take(&mut self.0) {
            waiter.asker.answers.send_record(stamped);
            match waiter.judge(notice, slots) {
                Some(last) => ended.push((waiter.asker.answers, FromSupervisor::Ended(last))),
                None => self.0.push(waiter),
            }
        }
        ended
    }
}

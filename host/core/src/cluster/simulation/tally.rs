//! What was seen, so that what is no longer seen is noticed.

use core::time::Duration;
use std::collections::BTreeMap;

use super::super::{Abort, Action, Cause, Notice, Outcome, Wear};

/// What all worlds together went through. A simulation that stopped visiting a corner must not stay green.
#[derive(Debug, Default)]
pub(super) struct Tally {
    seen: BTreeMap<&'static str, u64>,
    /// Jitter seen, as the share of the law, in percent.
    pub(super) jitter: Vec<u64>,
}

impl Tally {
    pub(super) fn count(&mut self, what: &'static str) {
        *self.seen.entry(what).or_default() += 1;
    }

    /// Takes note of what a cluster did.
    pub(super) fn action(&mut self, action: &Action) {
        let what = match action {
            Action::Kill { .. } => "killed",
            Action::Stopped { outcome: Outcome::Asked } => "asked",
            Action::Stopped { outcome: Outcome::AllErrored } => "all errored",
            Action::Stopped { outcome: Outcome::Rejected { .. } } => "rejected",
            Action::Notify(notice) => match notice {
                Notice::AllServing => "all serving",
                Notice::StartTimedOut { .. } => "start timed out",
                Notice::WorkerSilent { .. } => "silent",
                Notice::WorkerStuck { .. } => "stuck",
                Notice::WorkerCrashed { cause: Cause::Failed { .. }, .. } => "refusal of a proven generation",
                Notice::WorkerCrashed { restart_in: Some(Duration::ZERO), .. } => "crashed",
                Notice::WorkerCrashed { restart_in: Some(_), .. } => "restarted after backoff",
                Notice::SlotErrored { .. } => "errored",
                Notice::DrainDeadlinePassed { .. } => "overdue",
                Notice::RequestsCut { .. } => "cut",
                Notice::RolloutBaking { .. } => "baking",
                Notice::Scaling { from, to } if from < to => "more slots",
                Notice::Scaling { .. } => "fewer slots",
                Notice::WorkerLeaving { wear: Wear::Asked, .. } => "restarted by hand",
                Notice::WorkerLeaving { .. } => "worn",
                Notice::RolloutDone { .. } => "rolled out",
                Notice::RolloutReturned { .. } => "returned",
                Notice::RolloutAborted { abort, .. } => match abort {
                    Abort::Refused { .. } => "refusal of a new generation",
                    Abort::Crashed { .. } => "crash of a new generation",
                    Abort::Worse(_) => "a generation that does worse",
                    Abort::Outgrown { .. } => "a generation that outgrows its workers",
                    Abort::Superseded { .. } => "superseded",
                    Abort::Stopping => "stopped in a rollout",
                },
                _ => return,
            },
            Action::Close { .. } => "closed",
            Action::Steer(_) => "steered",
            Action::Spawn { .. } | Action::Drain { .. } => return,
        };
        self.count(what);
    }

    /// Whether every corner was visited often enough. A handful of worlds proves nothing about that.
    pub(super) fn check(&self, worlds: u64) {
        if worlds < 1_000 {
            return;
        }
        for what in [
            "all serving",
            "start timed out",
            "crashed",
            "restarted after backoff",
            "errored",
            "rejected",
            "overdue",
            "killed",
            "cut",
            "asked",
            "all errored",
            "refusal of a proven generation",
            "stopped from backoff",
            "baking",
            "silent",
            "stuck",
            "a generation that does worse",
            "a generation that outgrows its workers",
            "more slots",
            "fewer slots",
            "closed",
            "restarted by hand",
            "worn",
            "rolled out",
            "returned",
            "refusal of a new generation",
            "crash of a new generation",
            "superseded",
            "stopped in a rollout",
            "steered",
            "upgraded",
        ] {
            let seen = self.seen.get(what).copied().unwrap_or(0);
            assert!(
                seen >= worlds / 100,
                "`{what}` was seen only {seen} times in {worlds} worlds: {:?}",
                self.seen
            );
        }
        let share = |range: core::ops::RangeInclusive<u64>| {
            self.jitter.iter().filter(|percent| range.contains(percent)).count() * 100 / self.jitter.len()
        };
        let (low, middle, high) = (share(50..=59), share(60..=89), share(90..=100));
        assert!(low >= 10 && middle >= 40 && high >= 10, "jitter is not spread: {low}% {middle}% {high}%");
    }
}

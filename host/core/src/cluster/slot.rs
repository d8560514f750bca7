//! One slot: what it should run, and what it does run.

use core::time::Duration;

use serde::{Deserialize, Serialize};

use super::restarts::Restarts;
use super::time::millis;
use super::{Generation, Phase, Settings, SlotId, Time, Worker};

/// How many processes a slot may have: a worker and its successor.
const MAX_PROCESSES: usize = 2;

/// A slot holds what is wanted beside what is there; [`Cluster`](super::Cluster) closes the gap.
///
/// It has room for several workers, because a successor has to serve before its predecessor drains.
#[derive(Debug, Serialize, Deserialize)]
pub struct Slot {
    id: SlotId,
    /// What should serve here. None when nothing should: the slot is retired, or the cluster is stopping.
    pub(super) wanted: Option<Generation>,
    /// Every worker that was spawned here and not yet reaped, oldest first.
    pub(super) workers: Vec<Worker>,
    pub(super) restarts: Restarts,
    /// Whether the cluster was told to do without it.
    pub(super) retired: bool,
}

/// What a slot is doing, in one word. Derived from its workers, never stored.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "snake_case")]
pub enum SlotPhase {
    /// A worker accepts.
    Serving,
    /// A worker is on its way to accept.
    Starting,
    /// The only workers are those that were told to finish, or to die.
    Draining,
    /// Empty until its next restart.
    Waiting {
        /// How long from now.
        #[serde(rename = "restart_in_ms", with = "millis")]
        restart_in: Duration,
    },
    /// Empty for good: it used up its restarts.
    Errored,
    /// Empty, because nothing is wanted here any more.
    Stopped,
}

impl Slot {
    /// An empty slot.
    pub(super) fn new(id: SlotId, wanted: Generation) -> Self {
        Self { id, wanted: Some(wanted), workers: Vec::new(), restarts: Restarts::default(), retired: false }
    }

    /// Its name.
    #[must_use]
    pub fn id(&self) -> SlotId {
        self.id
    }

    /// Its workers that were not yet reaped, oldest first.
    #[must_use]
    pub fn workers(&self) -> &[Worker] {
        &self.workers
    }

    /// How many wanted workers it has lost since the cluster started.
    #[must_use]
    pub fn restarts(&self) -> u64 {
        self.restarts.total()
    }

    /// Whether it used up its restarts.
    #[must_use]
    pub fn is_errored(&self) -> bool {
        self.restarts.is_errored()
    }

    /// Whether a worker accepts here.
    #[must_use]
    pub fn is_serving(&self) -> bool {
        self.workers.iter().any(Worker::is_serving)
    }

    /// What it is doing.
    #[must_use]
    pub fn phase(&self, now: Time) -> SlotPhase {
        if self.is_serving() {
            return SlotPhase::Serving;
        }
        if self.workers.iter().any(|worker| matches!(worker.phase(), Phase::Starting { .. })) {
            return SlotPhase::Starting;
        }
        if !self.workers.is_empty() {
            return SlotPhase::Draining;
        }
        match (self.restarts.not_before(), self.wanted) {
            (None, _) => SlotPhase::Errored,
            (Some(_), None) => SlotPhase::Stopped,
            (Some(time), Some(_)) => SlotPhase::Waiting { restart_in: time - now },
        }
    }

    /// What to spawn here and when, if nothing happens before. None if nothing is missing, or if there is no room
    /// until a process has gone: its exit is then the event to wait for.
    pub(super) fn next_spawn(&self) -> Option<(Generation, Time)> {
        let wanted = self.wanted?;
        // One that was condemned is still to be counted: its exit decides when its successor may come.
        let staffed = self.workers.iter().any(|worker| worker.is_wanted(Some(wanted)));
        if staffed || self.workers.len() >= MAX_PROCESSES {
            return None;
        }
        Some((wanted, self.restarts.not_before()?))
    }

    /// When something must be done here, if nothing happens before.
    pub(super) fn timeout(&self, settings: &Settings) -> Option<Time> {
        let spawn = self.next_spawn().map(|(_, time)| time);
        self.workers.iter().filter_map(|worker| worker.timeout(settings)).chain(spawn).min()
    }
}

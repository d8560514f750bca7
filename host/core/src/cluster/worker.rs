//! One worker process as the cluster sees it.

use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::sample::Sample;

use super::{Cause, Generation, Settings, Time, Wear, WorkerId};

/// A worker, from the decision to spawn it until it was reaped.
#[derive(Debug, Serialize, Deserialize)]
pub struct Worker {
    id: WorkerId,
    generation: Generation,
    spawned: Time,
    ready: Option<Time>,
    pub(super) phase: Phase,
    /// Why the cluster condemned it, to be told when it is gone. None for a worker that dies by itself.
    pub(super) condemned: Option<Cause>,
    /// Whether it was told to go because something else is wanted. Its exit is then no crash.
    pub(super) dismissed: bool,
    /// Why another one is to take its place, once nobody else is replaced.
    pub(super) worn: Option<Wear>,
    /// Whether its turn has come: it serves until the other one does.
    pub(super) leaving: bool,
    /// When it last said that it lives.
    pub(super) heard: Time,
    /// Whether it has been silent for so long that new connections go to others.
    pub(super) stuck: bool,
    /// What it has served, as far as it said.
    pub(super) served: Sample,
    /// What of that was before the rollout under way began.
    pub(super) served_before: Sample,
    /// Whether its drain report was taken. A second one is an echo.
    pub(super) reported: bool,
}

/// Where a worker stands. It only ever moves down this list, which is why it is told at most once to drain and at
/// most once to die.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Spawned, not ready yet.
    Starting {
        /// When it is killed for not being ready.
        deadline: Time,
    },
    /// Accepting.
    Serving,
    /// Told to finish and exit.
    Draining {
        /// When it must cut what is left.
        deadline: Time,
        /// Whether that time has passed and was told. What remains is the exit grace.
        overdue: bool,
        /// Who takes over its connections.
        heir: Option<WorkerId>,
    },
    /// SIGKILL was asked for. Only the kernel is waited for, so there is no deadline.
    Killed,
}

impl Worker {
    /// A worker that is being spawned now.
    pub(super) fn new(id: WorkerId, generation: Generation, settings: &Settings, now: Time) -> Self {
        Self {
            id,
            generation,
            spawned: now,
            ready: None,
            phase: Phase::Starting { deadline: now + settings.listen_timeout },
            condemned: None,
            dismissed: false,
            worn: None,
            leaving: false,
            heard: now,
            stuck: false,
            served: Sample::default(),
            served_before: Sample::default(),
            reported: false,
        }
    }

    /// Its name.
    #[must_use]
    pub fn id(&self) -> WorkerId {
        self.id
    }

    /// What it serves.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// When it was spawned.
    #[must_use]
    pub fn spawned(&self) -> Time {
        self.spawned
    }

    /// Where it stands.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Whether it is accepting and was not told to stop.
    #[must_use]
    pub fn is_serving(&self) -> bool {
        self.phase == Phase::Serving
    }

    /// How long it has been ready, if it ever was.
    #[must_use]
    pub fn uptime(&self, now: Time) -> Option<Duration> {
        self.ready.map(|ready| now - ready)
    }

    /// Whether it is what a slot wants that wants this.
    pub(super) fn is_wanted(&self, wanted: Option<Generation>) -> bool {
        Some(self.generation) == wanted && !self.dismissed && !self.leaving
    }

    /// Takes note that it is ready. Returns the time from its spawn, or none if it was not expected to become ready.
    pub(super) fn become_ready(&mut self, now: Time) -> Option<Duration> {
        if !matches!(self.phase, Phase::Starting { .. }) {
            return None;
        }
        self.phase = Phase::Serving;
        self.ready = Some(now);
        self.heard = now;
        Some(now - self.spawned)
    }

    /// How long it may be silent until something is done about that. Whoever drains gets nothing new anyway.
    pub(super) fn patience(&self, settings: &Settings) -> Option<Duration> {
        let first = settings.stuck_after.filter(|_| !self.stuck && self.is_serving());
        first.into_iter().chain(settings.heartbeat_timeout).min()
    }

    /// When something must be done about it, if nothing happens before.
    pub(super) fn timeout(&self, settings: &Settings) -> Option<Time> {
        let heard_of = self.patience(settings).map(|patience| self.heard + patience);
        match self.phase {
            Phase::Starting { deadline } => Some(deadline),
            Phase::Serving => heard_of,
            Phase::Draining { deadline, overdue: false, .. } => heard_of.into_iter().chain([deadline]).min(),
            Phase::Draining { deadline, overdue: true, .. } => Some(deadline + settings.exit_grace),
            Phase::Killed => None,
        }
    }
}

//! A picture of the cluster for people and programs that ask. Nothing decides by it.

use core::time::Duration;

use serde::{Deserialize, Serialize};

use super::rollout::{Rollout, Stage};
use super::time::{millis, optional_millis};
use super::{Cluster, Generation, Life, Phase, Slot, SlotId, SlotPhase, Time, Worker, WorkerId};

/// The cluster at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Where the cluster as a whole stands.
    pub phase: ClusterPhase,
    /// The generation that slots should serve.
    pub generation: Generation,
    /// How they get there, while they do.
    pub rollout: Option<RolloutStatus>,
    /// All slots, in the order of their ids.
    pub slots: Vec<SlotStatus>,
}

/// A rollout at one moment.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutStatus {
    /// What slots return to if it fails.
    pub from: Generation,
    /// How far it is.
    #[serde(flatten)]
    pub stage: RolloutStage,
}

/// How far a rollout is.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "stage", rename_all = "snake_case")]
pub enum RolloutStage {
    /// The first slots are replaced.
    Canary,
    /// They serve, and are given time to fail.
    Baking {
        /// How much of it is left.
        #[serde(rename = "left_ms", with = "millis")]
        left: Duration,
    },
    /// One slot after the other is replaced.
    Rolling,
    /// The new generation failed: slots return to the old one.
    Returning,
}

/// Where a cluster stands.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClusterPhase {
    /// It keeps its slots staffed.
    Running,
    /// It waits for its workers to go.
    Stopping,
    /// No process is left.
    Stopped,
}

/// One slot at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotStatus {
    /// Which one.
    pub slot: SlotId,
    /// What it is doing.
    #[serde(flatten)]
    pub phase: SlotPhase,
    /// How many wanted workers it has lost since the cluster started.
    pub restarts: u64,
    /// Its workers that were not yet reaped, oldest first.
    pub workers: Vec<WorkerStatus>,
}

/// One worker at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerStatus {
    /// Which one.
    pub worker: WorkerId,
    /// Its process, as far as whoever drives the cluster knows of one.
    pub pid: Option<u32>,
    /// What it serves.
    pub generation: Generation,
    /// Where it stands.
    pub phase: WorkerPhase,
    /// The time since its spawn.
    #[serde(rename = "age_ms", with = "millis")]
    pub age: Duration,
    /// How long it has been ready, if it ever was.
    #[serde(rename = "uptime_ms", with = "optional_millis")]
    pub uptime: Option<Duration>,
}

/// A worker's [`Phase`] in one word.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkerPhase {
    /// Spawned, not ready yet.
    Starting,
    /// Accepting.
    Serving,
    /// Told to finish and exit.
    Draining,
    /// Killed, not reaped yet.
    Killed,
}

impl Cluster {
    /// A picture of all slots and workers. Their pids are asked for: they are nothing that a cluster knows.
    #[must_use]
    pub fn status(&self, now: Time, pid: impl Fn(WorkerId) -> Option<u32>) -> Status {
        let phase = match self.life {
            Life::Running => ClusterPhase::Running,
            Life::Stopping { .. } => ClusterPhase::Stopping,
            Life::Stopped => ClusterPhase::Stopped,
        };
        let rollout = self.rollout.as_ref().map(|rollout| RolloutStatus::of(rollout, now));
        let slots = self.slots.iter().map(|slot| SlotStatus::of(slot, now, &pid)).collect();
        Status { phase, generation: self.generation, rollout, slots }
    }
}

impl RolloutStatus {
    fn of(rollout: &Rollout, now: Time) -> Self {
        let stage = match rollout.stage {
            Stage::Canary(_) => RolloutStage::Canary,
            Stage::Baking { until } => RolloutStage::Baking { left: until - now },
            Stage::Rolling => RolloutStage::Rolling,
            Stage::Returning => RolloutStage::Returning,
        };
        Self { from: rollout.from, stage }
    }
}

impl Status {
    /// How many slots have somebody who accepts.
    #[must_use]
    pub fn serving(&self) -> usize {
        self.slots.iter().filter(|slot| slot.phase == SlotPhase::Serving).count()
    }
}

impl SlotStatus {
    fn of(slot: &Slot, now: Time, pid: impl Fn(WorkerId) -> Option<u32>) -> Self {
        Self {
            slot: slot.id(),
            phase: slot.phase(now),
            restarts: slot.restarts(),
            workers: slot
                .workers()
                .iter()
                .map(|worker| WorkerStatus::of(worker, now, pid(worker.id())))
                .collect(),
        }
    }
}

impl WorkerStatus {
    fn of(worker: &Worker, now: Time, pid: Option<u32>) -> Self {
        Self {
            worker: worker.id(),
            pid,
            generation: worker.generation(),
            phase: match worker.phase() {
                Phase::Starting { .. } => WorkerPhase::Starting,
                Phase::Serving => WorkerPhase::Serving,
                Phase::Draining { .. } => WorkerPhase::Draining,
                Phase::Killed => WorkerPhase::Killed,
            },
            age: now - worker.spawned(),
            uptime: worker.uptime(now),
        }
    }
}

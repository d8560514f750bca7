//! The cluster: which workers should run, and what to do about it when they do not.
//!
//! A [`Cluster`] is a state machine without a clock, a process or a socket. Its driver, the supervisor, waits for
//! whatever comes first, says what happened, and does what it is told:
//!
//! 1. [`Cluster::handle_event`] when something happened, [`Cluster::handle_timeout`] when the time that
//!    [`Cluster::poll_timeout`] named has come;
//! 2. [`Cluster::poll_action`] until there is none;
//! 3. [`Cluster::poll_timeout`] for the next time to wake up, if any.
//!
//! The same events at the same times give the same actions, so that every decision can be tested, and replayed,
//! without starting a process. The simulation beside this file does so, thousands of clusters at a time.
//!
//! What is kept is small: each [`Slot`] has what is *wanted* and what is *there*. An event changes one of the two,
//! and one function, `reconcile`, turns the difference into actions. Stopping wants nothing. A rollout wants another
//! generation and a change of scale other slots; neither needs a path of its own.

mod action;
mod event;
mod gate;
mod id;
#[cfg(any(test, fuzzing))]
pub mod laws;
mod notice;
mod reconcile;
mod restarts;
mod rollout;
mod scale;
mod seed;
mod settings;
mod slot;
mod status;
mod steering;
pub(crate) mod time;
mod wear;
mod worker;

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, VecDeque};

use fastrand::Rng;
use serde::{Deserialize, Serialize};

pub use self::action::{Action, Outcome};
pub use self::event::{Event, Exit};
pub use self::gate::{Gate, Worse};
pub use self::id::{Generation, SlotId, WorkerId};
pub use self::notice::{Cause, Notice};
pub use self::rollout::{Abort, Plan};
pub use self::settings::Settings;
pub use self::slot::{Slot, SlotPhase};
pub use self::status::{
    ClusterPhase, RolloutStage, RolloutStatus, SlotStatus, Status, WorkerPhase, WorkerStatus,
};
pub use self::time::Time;
pub use self::wear::Wear;
pub use self::worker::{Phase, Worker};

use self::restarts::Verdict;
use self::rollout::Rollout;
use crate::steering::Steering;

/// All slots of one app.
///
/// Between two inputs, when it wants nothing done, it can be written down; whoever reads it goes on as if nothing had
/// happened. So a driver can be replaced by another one, of another version of this program.
#[derive(Debug, Serialize, Deserialize)]
pub struct Cluster {
    settings: Settings,
    #[serde(with = "seed")]
    rng: Rng,
    life: Life,
    /// In the order of their ids, which are their indices.
    slots: Vec<Slot>,
    /// The generation that slots should serve, in the end.
    generation: Generation,
    rollout: Option<Rollout>,
    /// Generations of which a worker became ready at least once: those cannot be rejected.
    served: BTreeSet<Generation>,
    next_worker: WorkerId,
    /// Whether all slots have served at the same time.
    announced: bool,
    /// What was last said about new connections.
    steered: Steering,
    /// What of it is still to be done.
    #[serde(skip)]
    to_steer: Option<Steering>,
    #[serde(skip)]
    actions: VecDeque<Action>,
}

/// Where the cluster as a whole stands. It only moves down this list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Life {
    Running,
    /// Nothing is wanted any more. `fast` when not even the requests in flight are.
    Stopping {
        outcome: Outcome,
        fast: bool,
    },
    Stopped,
}

impl Cluster {
    /// A cluster whose first actions spawn a worker of `generation` in every slot.
    #[must_use]
    pub fn new(settings: Settings, generation: Generation, now: Time) -> Self {
        let mut cluster = Self {
            rng: Rng::with_seed(settings.seed),
            life: Life::Running,
            slots: (0..settings.slots.get()).map(|slot| Slot::new(SlotId(slot), generation)).collect(),
            generation,
            rollout: None,
            served: BTreeSet::new(),
            next_worker: WorkerId(1),
            announced: false,
            steered: Steering::new(vec![1; settings.slots.get().into()]),
            to_steer: None,
            actions: VecDeque::new(),
            settings,
        };
        cluster.reconcile(now);
        cluster
    }

    /// The same cluster, under other settings from now on. What it was begun with stays: its slots, and the deadlines
    /// that were set already.
    #[must_use]
    pub fn under(self, settings: Settings) -> Self {
        Self { settings, ..self }
    }

    /// Takes note of what happened.
    pub fn handle_event(&mut self, event: Event, now: Time) {
        match event {
            Event::WorkerReady { worker } => self.worker_ready(worker, now),
            Event::WorkerFailed { worker, reason } => self.worker_failed(worker, reason),
            Event::WorkerDrained { worker, cut } => self.worker_drained(worker, cut),
            Event::WorkerExited { worker, exit } => self.worker_gone(worker, Gone::Exited(exit), now),
            Event::SpawnFailed { worker, reason } => self.worker_gone(worker, Gone::NeverBegan(reason), now),
            Event::Roll { generation, plan } => self.roll(generation, plan, now),
            Event::Scale { slots } => self.scale(slots),
            Event::Restart { slot } => self.restart(slot),
            Event::WorkerPulse { worker, served } => self.worker_pulse(worker, *served, now),
            Event::WorkerWorn { worker, wear } => self.worker_worn(worker, wear),
            Event::Stop => self.stop(Outcome::Asked, matches!(self.life, Life::Stopping { .. })),
            Event::StopFast => self.stop(Outcome::Asked, true),
        }
        self.reconcile(now);
    }

    /// Takes note that it is `now`. Call it when [`poll_timeout`](Self::poll_timeout) says so; earlier or later does
    /// no harm. Afterwards no timeout lies at or before `now`.
    pub fn handle_timeout(&mut self, now: Time) {
        self.expire(now);
        self.reconcile(now);
    }

    /// The next thing to do, if any.
    pub fn poll_action(&mut self) -> Option<Action> {
        // First, so that a slot gets nothing more by the time that its worker drains, and nobody reads of a worker that gets
        // nothing while it still does.
        let steer = self.to_steer.take().map(Action::Steer);
        steer.or_else(|| self.actions.pop_front())
    }

    /// When to call [`handle_timeout`](Self::handle_timeout), if no event comes first. None if only events matter.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        let slots = self.slots.iter().filter_map(|slot| slot.timeout(&self.settings));
        slots.chain(self.rollout_timeout()).min()
    }

    /// All slots, in the order of their ids.
    #[must_use]
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// The generation that slots should serve.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// Whether the cluster is on its way down, or down.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.life != Life::Running
    }

    /// Whether [`Action::Stopped`] was reached.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.life == Life::Stopped
    }
}

/// How a worker went.
enum Gone {
    Exited(Exit),
    NeverBegan(String),
}

/// What each event means.
impl Cluster {
    fn worker_ready(&mut self, id: WorkerId, now: Time) {
        let Some((slot, index)) = self.find(id) else { return };
        let was_serving = self.slots[slot].is_serving();
        let worker = &mut self.slots[slot].workers[index];
        let Some(took) = worker.become_ready(now) else { return };
        let generation = worker.generation();
        let slot = self.slots[slot].id();
        self.served.insert(generation);
        self.notify(Notice::WorkerReady { worker: id, slot, generation, took });
        if !was_serving {
            self.notify(Notice::SlotServing { slot });
        }
    }

    /// A worker that cannot start does not have to exit by itself: it is killed, and counted when it is gone.
    fn worker_failed(&mut self, id: WorkerId, reason: String) {
        let Some((slot, index)) = self.find(id) else { return };
        let worker = &mut self.slots[slot].workers[index];
        if !matches!(worker.phase(), Phase::Starting { .. }) {
            return;
        }
        let generation = worker.generation();
        if self.rolling_to() == Some(generation) {
            self.abort_rollout(Abort::Refused { reason });
        } else if self.served.contains(&generation) || self.rollout.is_some() {
            self.condemn(slot, index, Cause::Failed { reason });
        } else {
            self.reject(generation, reason);
        }
    }

    fn worker_drained(&mut self, id: WorkerId, cut: u64) {
        let Some((slot, index)) = self.find(id) else { return };
        let worker = &mut self.slots[slot].workers[index];
        if !matches!(worker.phase(), Phase::Draining { .. } | Phase::Killed) || worker.reported {
            return;
        }
        worker.reported = true;
        if cut > 0 {
            let slot = self.slots[slot].id();
            self.notify(Notice::RequestsCut { worker: id, slot, cut });
        }
    }

    /// The one place where a worker leaves its slot, and so the one place where exits are counted.
    fn worker_gone(&mut self, id: WorkerId, how: Gone, now: Time) {
        let Some((index, position)) = self.find(id) else { return };
        self.bereave(id, now);
        let slot = &mut self.slots[index];
        let worker = slot.workers.remove(position);
        let slot_id = slot.id();
        if let Some(rollout) = &mut self.rollout
            && rollout.from == worker.generation()
        {
            rollout.served_before.add(&worker.served_in_rollout());
        }
        if !worker.is_wanted(slot.wanted) {
            let exit = match how {
                Gone::Exited(exit) => Some(exit),
                Gone::NeverBegan(_) => None,
            };
            self.notify(Notice::WorkerStopped { worker: id, slot: slot_id, exit });
            return;
        }
        let cause = worker.condemned.clone().unwrap_or(match how {
            Gone::Exited(exit) => Cause::Exited { exit },
            Gone::NeverBegan(reason) => Cause::SpawnFailed { reason },
        });
        if self.rolling_to() == Some(worker.generation()) {
            return self.abort_rollout(Abort::Crashed { worker: id, cause });
        }
        let uptime = worker.uptime(now);
        let slot = &mut self.slots[index];
        let verdict = slot.restarts.exited(uptime, &self.settings, &mut self.rng, now);
        let crashed = |restart_in| Notice::WorkerCrashed {
            worker: id,
            slot: slot_id,
            generation: worker.generation(),
            uptime,
            cause,
            restart_in,
        };
        match verdict {
            Verdict::RestartIn(delay) => self.notify(crashed(Some(delay))),
            Verdict::GiveUp { unstable_exits } => {
                self.notify(crashed(None));
                let window = self.settings.restart_window;
                self.notify(Notice::SlotErrored { slot: slot_id, unstable_exits, window });
            }
        }
    }

    /// Gives up a generation that never served. With an older one to return to, that one would be wanted again;
    /// the first generation has none.
    fn reject(&mut self, generation: Generation, reason: String) {
        self.notify(Notice::GenerationRejected { generation, reason: reason.clone() });
        self.stop(Outcome::Rejected { generation, reason }, false);
    }

    /// Wants nothing any more. Said again, it can become faster, but its reason stays.
    fn stop(&mut self, outcome: Outcome, at_once: bool) {
        match &mut self.life {
            Life::Running => self.life = Life::Stopping { outcome, fast: at_once },
            Life::Stopping { fast, .. } => *fast |= at_once,
            Life::Stopped => return,
        }
        self.end_rollout(Abort::Stopping);
        for slot in &mut self.slots {
            slot.wanted = None;
        }
    }

    /// Where a worker is: the index of its slot, and its own index there.
    fn find(&self, id: WorkerId) -> Option<(usize, usize)> {
        self.slots.iter().enumerate().find_map(|(index, slot)| {
            let position = slot.workers().iter().position(|worker| worker.id() == id)?;
            Some((index, position))
        })
    }

    fn notify(&mut self, notice: Notice) {
        self.actions.push_back(Action::Notify(notice));
    }
}

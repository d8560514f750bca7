//! When a slot may have its next worker, and when it has had too many.

use core::time::Duration;
use std::collections::VecDeque;

use fastrand::Rng;
use serde::{Deserialize, Serialize};

use super::{Settings, Time};

/// The restarts of one slot.
///
/// An exit is *stable* if the worker had been ready for `min_uptime`. It says nothing against the next start, so
/// that comes at once. Any other exit is *unstable*: the first in a row is answered at once as well, since most
/// crashes are accidents; the ones after it wait, longer each time, with jitter so that slots which failed together
/// do not start together. Too many within a window, and the slot is given up.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Restarts {
    /// Unstable exits since the last stable one. Drives the backoff.
    streak: u32,
    /// When the unstable exits of the window were, oldest first. Never longer than `max_restarts + 1`.
    unstable: VecDeque<Time>,
    /// When the next worker may be spawned.
    not_before: Time,
    errored: bool,
    /// Workers lost since the cluster started, for the operator's eyes only.
    total: u64,
}

/// What follows from an exit.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Spawn the next one after this delay.
    RestartIn(Duration),
    /// Give the slot up, after this many unstable exits within the window.
    GiveUp {
        /// The count, this exit included.
        unstable_exits: u32,
    },
}

impl Restarts {
    /// Takes note of an exit that nobody asked for.
    pub(super) fn exited(
        &mut self,
        uptime: Option<Duration>,
        settings: &Settings,
        rng: &mut Rng,
        now: Time,
    ) -> Verdict {
        self.total += 1;
        if uptime.is_some_and(|uptime| uptime >= settings.min_uptime) {
            self.streak = 0;
            self.not_before = now;
            return Verdict::RestartIn(Duration::ZERO);
        }
        while self.unstable.front().is_some_and(|&exit| now - exit > settings.restart_window) {
            self.unstable.pop_front();
        }
        self.unstable.push_back(now);
        let unstable_exits = u32::try_from(self.unstable.len()).unwrap_or(u32::MAX);
        if unstable_exits > settings.max_restarts {
            self.errored = true;
            return Verdict::GiveUp { unstable_exits };
        }
        self.streak = self.streak.saturating_add(1);
        let delay = backoff(self.streak, settings, rng);
        self.not_before = now + delay;
        Verdict::RestartIn(delay)
    }

    /// Forgets what was, but not how often: something else is to run here.
    pub(super) fn begin_anew(&mut self) {
        *self = Self { total: self.total, ..Self::default() };
    }

    /// When the next worker may be spawned; never, for a slot that was given up.
    pub(super) fn not_before(&self) -> Option<Time> {
        (!self.errored).then_some(self.not_before)
    }

    pub(super) fn is_errored(&self) -> bool {
        self.errored
    }

    pub(super) fn total(&self) -> u64 {
        self.total
    }
}

/// The delay before the restart that follows the `streak`th unstable exit in a row: between half the law and the
/// whole of it, where the law is 0, base, 2 base, 4 base, ... up to the cap.
fn backoff(streak: u32, settings: &Settings, rng: &mut Rng) -> Duration {
    let Some(doublings) = streak.checked_sub(2) else {
        return Duration::ZERO;
    };
    let factor = 1_u32.checked_shl(doublings).unwrap_or(u32::MAX);
    let law = settings.backoff_base.saturating_mul(factor).min(settings.backoff_cap);
    let half = law / 2;
    let jitter = rng.u64(0..=u64::try_from((law - half).as_nanos()).unwrap_or(u64::MAX));
    half + Duration::from_nanos(jitter)
}

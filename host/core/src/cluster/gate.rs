//! Whether a new generation does worse than the old one, while both serve.

use core::time::Duration;

use serde::{Deserialize, Serialize};

use super::Time;
use super::{Abort, Cluster, Generation, Worker, WorkerId};
use crate::sample::Sample;

/// By how much a new generation may be worse.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gate {
    /// So many more of a hundred requests may fail. No limit if there is none.
    pub errors: Option<u8>,
    /// So many hundredths of the time may an ordinary request take: 300 is three times as long. No limit if there is none.
    pub slowness: Option<u32>,
}

impl Gate {
    /// Lets everything through.
    pub const OPEN: Self = Self { errors: None, slowness: None };
}

/// In what a new generation is worse than the old one.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "worse_in", rename_all = "snake_case")]
pub enum Worse {
    /// More of its requests fail.
    Errors {
        /// How many of its requests failed.
        errors: u64,
        /// Of so many.
        requests: u64,
        /// How many of them because the guest trapped.
        traps: u64,
        /// How many of a hundred failed in the old one meanwhile.
        usual_percent: u64,
    },
    /// Its requests take longer.
    Latency {
        /// What half of them took at most.
        #[serde(rename = "median_us", with = "micros")]
        median: Duration,
        /// What half of them took at most in the old one meanwhile.
        #[serde(rename = "usual_us", with = "micros")]
        usual: Duration,
    },
}

/// So many requests tell an accident from a habit. A trap is one from the first time on.
const ENOUGH: u64 = 10;

/// So many make a median that can be compared.
const ENOUGH_TIMES: u64 = 50;

/// What is this fast is fast enough: the first requests of a worker are slower, and of a millisecond nobody complains.
const FAST_ENOUGH: Duration = Duration::from_millis(5);

impl Gate {
    /// What is wrong with a generation that has served `new` while the old one has served `old`, if something is.
    fn judge(self, new: &Sample, old: &Sample) -> Option<Worse> {
        let percent =
            |sample: &Sample| sample.errors.saturating_mul(100).checked_div(sample.requests).unwrap_or(0);
        if let Some(errors) = self.errors
            && (new.requests >= ENOUGH || new.traps > 0)
            && percent(new) > percent(old).saturating_add(errors.into())
        {
            return Some(Worse::Errors {
                errors: new.errors,
                requests: new.requests,
                traps: new.traps,
                usual_percent: percent(old),
            });
        }
        let slowness = self.slowness?;
        if new.took.total() < ENOUGH_TIMES || old.took.total() < ENOUGH_TIMES {
            return None;
        }
        let (median, usual) = (new.took.median()?, old.took.median()?);
        (median > FAST_ENOUGH && median * 100 > usual * slowness).then_some(Worse::Latency { median, usual })
    }
}

impl Cluster {
    /// Takes note that a worker lives, and of what it has served, and judges a rollout by it.
    pub(super) fn worker_pulse(&mut self, id: WorkerId, served: Sample, now: Time) {
        let Some((slot, index)) = self.find(id) else { return };
        let worker = &mut self.slots[slot].workers[index];
        worker.heard = now;
        worker.stuck = false;
        worker.served = served;
        if let Some(worse) = self.judge_rollout() {
            self.abort_rollout(Abort::Worse(worse));
        }
    }

    fn judge_rollout(&self) -> Option<Worse> {
        let new = self.rolling_to()?;
        let rollout = self.rollout.as_ref()?;
        let mut old = rollout.served_before.clone();
        old.add(&self.served_by(rollout.from));
        rollout.gate.judge(&self.served_by(new), &old)
    }

    /// What workers of a generation that still live have served since the rollout began.
    fn served_by(&self, generation: Generation) -> Sample {
        let mut sum = Sample::default();
        let workers = self.slots.iter().flat_map(|slot| slot.workers());
        for worker in workers.filter(|worker| worker.generation() == generation) {
            sum.add(&worker.served_in_rollout());
        }
        sum
    }
}

impl Worker {
    /// What it has served since the rollout began.
    pub(super) fn served_in_rollout(&self) -> Sample {
        self.served.since(&self.served_before)
    }
}

mod micros {
    use super::Duration;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_micros)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::Times;

    const GATE: Gate = Gate { errors: Some(5), slowness: Some(300) };

    fn served(requests: u64, errors: u64, traps: u64, each: u64) -> Sample {
        let mut took = Times::default();
        for _ in 0..requests {
            took.count(Times::bucket(Duration::from_millis(each)));
        }
        Sample { requests, errors, traps, took }
    }

    #[test]
    fn errors_are_compared_with_the_usual_ones() {
        let worse = |new, old| GATE.judge(&new, &old).is_some();
        let well = || served(100, 0, 0, 1);
        assert!(!worse(served(100, 5, 0, 1), well()), "as many as allowed");
        assert!(worse(served(100, 6, 0, 1), well()), "more");
        assert!(!worse(served(100, 6, 0, 1), served(100, 1, 0, 1)), "more, but so it was before");
        assert!(!worse(served(9, 9, 0, 1), well()), "too few to tell");
        assert!(worse(served(10, 10, 0, 1), Sample::default()), "nothing to compare with is no excuse");
        assert!(worse(served(1, 1, 1, 1), well()), "one trap of one");
        assert!(!worse(served(100, 1, 1, 1), well()), "one trap of a hundred");
        assert!(!worse(Sample::default(), well()));
        let open = Gate { errors: None, ..GATE };
        assert_eq!(open.judge(&served(100, 100, 0, 1), &well()), None);
    }

    /// A worker says what it wants.
    #[test]
    fn impossible_counts_are_compared_like_others() {
        let most = || Sample { requests: 10, errors: u64::MAX, ..Sample::default() };
        assert!(GATE.judge(&most(), &served(100, 0, 0, 1)).is_some());
        assert_eq!(GATE.judge(&most(), &most()), None);
        assert_eq!(GATE.judge(&most(), &Sample { requests: 1, ..most() }), None);
    }

    #[test]
    fn times_are_compared_with_the_usual_ones() {
        let worse = |new, old| GATE.judge(&new, &old).is_some();
        assert!(worse(served(50, 0, 0, 100), served(50, 0, 0, 10)), "ten times as long");
        assert!(!worse(served(50, 0, 0, 20), served(50, 0, 0, 10)), "twice as long");
        assert!(!worse(served(49, 0, 0, 100), served(50, 0, 0, 10)), "too few of the new");
        assert!(!worse(served(50, 0, 0, 100), served(49, 0, 0, 10)), "too few of the old");
        assert!(!worse(served(50, 0, 0, 4), served(50, 0, 0, 0)), "fast enough all the same");
        let open = Gate { slowness: None, ..GATE };
        assert_eq!(open.judge(&served(50, 0, 0, 100), &served(50, 0, 0, 10)), None);
    }
}

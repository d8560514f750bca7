//! What a worker has served, counted.

use core::fmt;
use core::time::Duration;

use serde::{Deserialize, Serialize};

/// Requests that were answered, how, and how long that took. Only ever grows, so two of them can be subtracted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// How many.
    pub requests: u64,
    /// How many of them with a status of 500 or above.
    pub errors: u64,
    /// How many of those because the guest trapped.
    pub traps: u64,
    /// How long they took, from the head of the request to the end of the response.
    pub took: Times,
}

impl Sample {
    /// What came on top of `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            requests: self.requests.saturating_sub(earlier.requests),
            errors: self.errors.saturating_sub(earlier.errors),
            traps: self.traps.saturating_sub(earlier.traps),
            took: self.took.since(&earlier.took),
        }
    }

    /// Adds what somebody else has served. Saturates: what a worker says of itself may be any number.
    pub fn add(&mut self, other: &Self) {
        self.requests = self.requests.saturating_add(other.requests);
        self.errors = self.errors.saturating_add(other.errors);
        self.traps = self.traps.saturating_add(other.traps);
        self.took.add(&other.took);
    }
}

/// Durations, counted in buckets: two for each doubling, from 64 µs to 2 s and beyond.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Times([u64; BUCKETS]);

const BUCKETS: usize = 32;

/// Thirty-two numbers tell a reader less than two.
impl fmt::Debug for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} times, half within {:?}", self.total(), self.median())
    }
}

/// What is shorter than so many doublings of a microsecond is in the first bucket.
const SHORTEST: u32 = 6;

impl Times {
    /// How many buckets there are.
    pub const BUCKETS: usize = BUCKETS;

    /// What was counted elsewhere.
    #[must_use]
    pub const fn new(counts: [u64; BUCKETS]) -> Self {
        Self(counts)
    }

    /// The bucket of a duration.
    #[must_use]
    pub fn bucket(took: Duration) -> usize {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let Some(doublings) = micros.checked_ilog2().and_then(|log| log.checked_sub(SHORTEST)) else {
            return 0;
        };
        // The bit below the highest one tells the halves of a doubling apart.
        let upper = micros >> (doublings + SHORTEST - 1) & 1;
        (doublings as usize * 2 + upper as usize + 1).min(BUCKETS - 1)
    }

    /// Counts in a bucket.
    pub fn count(&mut self, bucket: usize) {
        if let Some(count) = self.0.get_mut(bucket) {
            *count += 1;
        }
    }

    /// How many were counted.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// What half of them did not exceed, by the upper edge of its bucket. None of none.
    #[must_use]
    pub fn median(&self) -> Option<Duration> {
        let half = self.total().div_ceil(2);
        let mut seen = 0_u64;
        let bucket = self.0.iter().position(|count| {
            seen = seen.saturating_add(*count);
            seen >= half && half > 0
        })?;
        let doubling = 1 << (SHORTEST + u32::try_from(bucket).unwrap_or(u32::MAX) / 2);
        Some(Duration::from_micros(if bucket % 2 == 0 { doubling } else { doubling + doubling / 2 }))
    }

    fn since(&self, earlier: &Self) -> Self {
        Self(core::array::from_fn(|bucket| self.0[bucket].saturating_sub(earlier.0[bucket])))
    }

    fn add(&mut self, other: &Self) {
        for (count, more) in self.0.iter_mut().zip(other.0) {
            *count = count.saturating_add(more);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn micros(micros: u64) -> Duration {
        Duration::from_micros(micros)
    }

    #[test]
    fn a_bucket_holds_what_lies_below_its_edge() {
        let edges = [64, 96, 128, 192, 256, 384, 512, 768, 1024];
        for (bucket, edge) in edges.into_iter().enumerate() {
            assert_eq!(Times::bucket(micros(edge - 1)), bucket);
            assert_eq!(Times::bucket(micros(edge)), bucket + 1);
            let mut times = Times::default();
            times.count(bucket);
            assert_eq!(times.median(), Some(micros(edge)));
        }
        assert_eq!(Times::bucket(Duration::ZERO), 0);
        assert_eq!(Times::bucket(Duration::MAX), BUCKETS - 1);
    }

    #[test]
    fn the_median_is_in_the_middle() {
        let mut times = Times::default();
        assert_eq!(times.median(), None);
        for took in [1, 2, 300, 300, 300, 9_000, 9_000] {
            times.count(Times::bucket(micros(took)));
        }
        assert_eq!((times.total(), times.median()), (7, Some(micros(384))));
    }

    /// A worker says what it wants.
    #[test]
    fn no_count_is_too_much() {
        let most = Sample {
            requests: u64::MAX,
            errors: u64::MAX,
            traps: u64::MAX,
            took: Times::new([u64::MAX; BUCKETS]),
        };
        let mut sum = most.clone();
        sum.add(&most);
        assert_eq!(sum, most);
        assert_eq!((sum.took.total(), sum.took.median()), (u64::MAX, Some(micros(64))));
    }

    #[test]
    fn what_was_added_can_be_taken_away() {
        let mut took = Times::default();
        took.count(3);
        let one = Sample { requests: 1, errors: 1, traps: 0, took };
        let mut two = one.clone();
        two.add(&one);
        assert_eq!((two.requests, two.errors, two.took.total()), (2, 2, 2));
        assert_eq!(two.since(&one), one);
        // A worker that came later has counted less.
        assert_eq!(one.since(&two), Sample::default());
    }
}

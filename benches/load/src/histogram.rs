//! A log-linear histogram of durations: constant time and memory for each, and a known error.

use std::time::Duration;

/// Buckets per doubling, as a power of two: 64 keep every answer within 1.6 %.
const LINEAR_BITS: u32 = 6;
const LINEAR: u64 = 1 << LINEAR_BITS;

/// Counts durations by nanoseconds.
pub(crate) struct Histogram {
    buckets: Vec<u64>,
    count: u64,
}

impl Histogram {
    pub(crate) fn new() -> Self {
        Self { buckets: vec![0; bucket_of(u64::MAX) + 1], count: 0 }
    }

    pub(crate) fn record(&mut self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.buckets[bucket_of(nanos)] += 1;
        self.count += 1;
    }

    pub(crate) fn clear(&mut self) {
        self.buckets.fill(0);
        self.count = 0;
    }

    /// The duration that `share` of all do not exceed; zero when there are none.
    pub(crate) fn quantile(&self, share: f64) -> Duration {
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "counts are far below 2^53, and the product is within them"
        )]
        let wanted = ((self.count as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        for (bucket, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return Duration::from_nanos(middle_of(bucket));
            }
        }
        Duration::ZERO
    }
}

/// Below [`LINEAR`] each value has its own bucket; above, each doubling is cut into as many.
fn bucket_of(value: u64) -> usize {
    let doubling = value.checked_ilog2().unwrap_or(0).saturating_sub(LINEAR_BITS);
    let bucket = u64::from(doubling) * LINEAR + (value >> doubling);
    usize::try_from(bucket).unwrap_or(usize::MAX)
}

fn middle_of(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    let doubling = (bucket / LINEAR).saturating_sub(1);
    let first = (bucket - doubling * LINEAR) << doubling;
    first + (1 << doubling) / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_near_the_middle_of_its_bucket() {
        for power in 0..63 {
            for value in [1_u64 << power, (1 << power) + (1 << power) / 3, (1 << power) * 2 - 1] {
                let middle = middle_of(bucket_of(value));
                assert!(middle.abs_diff(value) <= value / LINEAR, "{value} became {middle}");
            }
        }
    }

    #[test]
    fn buckets_are_in_order() {
        let buckets: Vec<_> = (0..5_000).map(bucket_of).collect();
        assert!(buckets.is_sorted());
        assert_eq!(buckets[..64], (0..64).collect::<Vec<_>>());
    }

    #[test]
    fn quantiles_are_those_of_what_was_recorded() {
        let mut histogram = Histogram::new();
        assert_eq!(histogram.quantile(0.5), Duration::ZERO);
        for micros in 1..=1_000 {
            histogram.record(Duration::from_micros(micros));
        }
        for (share, expected) in [(0.5, 500), (0.99, 990), (1.0, 1_000)] {
            let found = histogram.quantile(share).as_nanos() as f64 / 1_000.0;
            assert!((found / f64::from(expected) - 1.0).abs() < 0.02, "{share}: {found}");
        }
        histogram.clear();
        assert_eq!(histogram.quantile(0.5), Duration::ZERO);
    }
}

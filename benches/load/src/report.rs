//! Everything that was measured.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::sample::{Sample, median};

/// What a run found, in the order in which it is shown.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    pub(crate) rounds: u32,
    pub(crate) seconds: f64,
    pub(crate) connections: u32,
    pub(crate) keep_alive: Vec<Row>,
    pub(crate) fresh_connections: Vec<Row>,
    pub(crate) constant_rate: Vec<Row>,
    pub(crate) sandbox: Vec<Sandbox>,
    pub(crate) cold_start: Vec<ColdStart>,
    pub(crate) spread: Option<Spread>,
}

/// One server under one load.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) ours: bool,
    pub(crate) instances: u32,
    pub(crate) median: Sample,
    /// CPU per request as a multiple of what bare hyper took just before: the median of all rounds, and the extremes.
    pub(crate) ratio: Option<Ratio>,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Ratio {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

impl Ratio {
    pub(crate) fn of(ratios: &[f64]) -> Self {
        Self {
            median: median(ratios.iter().copied()),
            least: ratios.iter().copied().fold(f64::INFINITY, f64::min),
            most: ratios.iter().copied().fold(0.0, f64::max),
        }
    }
}

/// What a request costs with the sandbox of workers, and without it.
#[derive(Debug, Serialize)]
pub(crate) struct Sandbox {
    pub(crate) name: String,
    pub(crate) pairs: usize,
    /// CPU per request in microseconds: the medians of all turns.
    pub(crate) with: f64,
    pub(crate) without: f64,
    /// The ratios of the pairs: their quartiles, the median in the middle.
    pub(crate) ratio: [f64; 3],
}

/// The time from exec to the first response, in milliseconds.
#[derive(Debug, Serialize)]
pub(crate) struct ColdStart {
    pub(crate) name: String,
    pub(crate) ours: bool,
    pub(crate) starts: u32,
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

/// How fresh connections spread over slots.
#[derive(Debug, Serialize)]
pub(crate) struct Spread {
    pub(crate) requests: u64,
    pub(crate) slots: BTreeMap<u64, u64>,
    /// Distance from the mean, as a share of it.
    pub(crate) least: f64,
    pub(crate) most: f64,
}

impl Spread {
    pub(crate) fn of(slots: BTreeMap<u64, u64>, instances: u32) -> Self {
        let requests = slots.values().sum();
        #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
        let distance = |count: u64| count as f64 * f64::from(instances) / requests as f64 - 1.0;
        // A slot that got none is not in the map.
        let counts = || slots.values().copied().chain((slots.len() < instances as usize).then_some(0));
        Self {
            least: counts().min().map_or(-1.0, distance),
            most: counts().max().map_or(-1.0, distance),
            requests,
            slots,
        }
    }

    /// The largest distance to either side.
    pub(crate) fn widest(&self) -> f64 {
        self.most.max(-self.least)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spread_is_measured_from_the_mean() {
        let even = Spread::of(BTreeMap::from([(1, 96), (2, 104)]), 2);
        assert!((even.least + 0.04).abs() < 1e-9 && (even.most - 0.04).abs() < 1e-9, "{even:?}");
        assert!((even.widest() - 0.04).abs() < 1e-9);
        let idle = Spread::of(BTreeMap::from([(1, 100)]), 2);
        assert!((idle.least + 1.0).abs() < 1e-9 && (idle.most - 1.0).abs() < 1e-9, "{idle:?}");
    }
}

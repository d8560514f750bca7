//! What one turn of one server came to, and the middle of several.

use serde::Serialize;

/// One turn, or the medians of several.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Sample {
    pub(crate) requests_per_second: f64,
    /// Server CPU, user and system of all its processes, for one request.
    pub(crate) cpu_micros: f64,
    pub(crate) p50_micros: f64,
    pub(crate) p99_micros: f64,
    pub(crate) p999_micros: f64,
    pub(crate) client_busy: f64,
    /// How much of the time the server was ready to run and something else ran. On a core of its own that is other
    /// programs, and what they take, requests/s and latencies lose.
    pub(crate) server_waited: f64,
    /// The share of responses whose body came in chunks and not with its length.
    pub(crate) chunked: f64,
    pub(crate) worker_pss_mb: f64,
    pub(crate) supervisor_pss_mb: Option<f64>,
}

impl Sample {
    /// Field by field.
    pub(crate) fn median_of(samples: &[Self]) -> Self {
        let of = |field: fn(&Self) -> f64| median(samples.iter().map(field));
        let supervisors: Vec<f64> = samples.iter().filter_map(|sample| sample.supervisor_pss_mb).collect();
        Self {
            requests_per_second: of(|sample| sample.requests_per_second),
            cpu_micros: of(|sample| sample.cpu_micros),
            p50_micros: of(|sample| sample.p50_micros),
            p99_micros: of(|sample| sample.p99_micros),
            p999_micros: of(|sample| sample.p999_micros),
            client_busy: of(|sample| sample.client_busy),
            server_waited: of(|sample| sample.server_waited),
            chunked: of(|sample| sample.chunked),
            worker_pss_mb: of(|sample| sample.worker_pss_mb),
            supervisor_pss_mb: (!supervisors.is_empty()).then(|| median(supervisors)),
        }
    }
}

/// The middle value, or the mean of the two in the middle; zero of none.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        length => f64::midpoint(values[(length - 1) / 2], values[length / 2]),
    }
}

/// What a quarter, a half and three quarters of the values are below; zeros of none.
pub(crate) fn quartiles(values: &[f64]) -> [f64; 3] {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let quarter = values.len() / 4;
    let lower = values.get(quarter).copied().unwrap_or_default();
    let upper = values.iter().rev().nth(quarter).copied().unwrap_or_default();
    [lower, median(values), upper]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_are_in_the_middle() {
        assert!((median([3.0, 1.0, 2.0]) - 2.0).abs() < 1e-9);
        assert!((median([4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < 1e-9);
        assert!(median([]).abs() < 1e-9);
    }

    #[test]
    fn quartiles_leave_a_quarter_at_each_end() {
        let found = quartiles(&[8.0, 2.0, 3.0, 5.0, 4.0, 6.0, 7.0, 1.0]);
        assert!(
            found.iter().zip([3.0, 4.5, 6.0]).all(|(found, wanted)| (found - wanted).abs() < 1e-9),
            "{found:?}"
        );
        assert!(quartiles(&[]).iter().all(|value| value.abs() < 1e-9));
    }
}

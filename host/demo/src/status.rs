//! Who answers: what the supervisor says about this worker, and what this instance knows of itself.

use std::env;
use std::sync::atomic::{AtomicU64, Ordering};

static REQUESTS: AtomicU64 = AtomicU64::new(0);

/// Absent numbers mean that something other than wasmcluster runs this component.
pub struct Status {
    pub slot: Option<u64>,
    pub pid: Option<u64>,
    pub generation: Option<u64>,
    /// Requests this instance has answered, this one included.
    pub requests: u64,
}

impl Status {
    pub fn of_this_request() -> Self {
        Self {
            slot: number("WASMCLUSTER_SLOT"),
            pid: number("WASMCLUSTER_PID"),
            generation: number("WASMCLUSTER_GENERATION"),
            requests: REQUESTS.fetch_add(1, Ordering::Relaxed) + 1,
        }
    }

    pub fn to_json(&self) -> String {
        let or_null = |number: Option<u64>| number.map_or_else(|| "null".to_owned(), |n| n.to_string());
        format!(
            "{{\"slot\":{},\"pid\":{},\"generation\":{},\"requests\":{}}}\n",
            or_null(self.slot),
            or_null(self.pid),
            or_null(self.generation),
            self.requests
        )
    }
}

fn number(variable: &str) -> Option<u64> {
    env::var(variable).ok()?.parse().ok()
}

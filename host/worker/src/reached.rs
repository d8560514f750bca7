//! Which limits were reached in this worker.
//!
//! There is one worker in a process, and what reaches a limit may be anywhere in it: so the counters are nobody's.

use std::sync::atomic::{AtomicU64, Ordering};

use wasmcluster_core::limit::{Limit, Reached};

static TIMES: [AtomicU64; Limit::ALL.len()] = [const { AtomicU64::new(0) }; Limit::ALL.len()];

/// Counts that it was.
pub(crate) fn reached(limit: Limit) {
    TIMES[limit as usize].fetch_add(1, Ordering::Relaxed);
}

/// What was counted since this was last asked.
pub(crate) fn take() -> Reached {
    Limit::ALL.into_iter().map(|limit| (limit, TIMES[limit as usize].swap(0, Ordering::Relaxed))).collect()
}

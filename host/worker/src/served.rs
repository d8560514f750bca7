//! What this worker has served, counted as responses end.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use wasmcluster_core::sample::{Sample, Times};

/// Counters that one thread writes: a read and a write each, and no lock.
pub(crate) struct Served {
    requests: AtomicU64,
    errors: AtomicU64,
    traps: AtomicU64,
    took: [AtomicU64; Times::BUCKETS],
    /// So many are enough for one worker.
    most: u64,
    worn: Notify,
}

impl Served {
    pub(crate) fn new(most: Option<u64>) -> Self {
        Self {
            requests: AtomicU64::default(),
            errors: AtomicU64::default(),
            traps: AtomicU64::default(),
            took: std::array::from_fn(|_| AtomicU64::default()),
            most: most.unwrap_or(u64::MAX),
            worn: Notify::new(),
        }
    }

    /// A response is complete, or never will be.
    pub(crate) fn ended(&self, took: Duration) {
        if increase(&self.requests) == self.most {
            self.worn.notify_one();
        }
        increase(&self.took[Times::bucket(took)]);
    }

    /// A response says that the server failed, or was cut short.
    pub(crate) fn failed(&self) {
        increase(&self.errors);
    }

    /// A guest trapped.
    pub(crate) fn trapped(&self) {
        increase(&self.traps);
    }

    /// Returns when as much was served as one worker may.
    pub(crate) async fn enough(&self) -> u64 {
        self.worn.notified().await;
        self.requests.load(Ordering::Relaxed)
    }

    pub(crate) fn any(&self) -> bool {
        self.requests.load(Ordering::Relaxed) > 0
    }

    pub(crate) fn so_far(&self) -> Sample {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Sample {
            requests: read(&self.requests),
            errors: read(&self.errors),
            traps: read(&self.traps),
            took: Times::new(std::array::from_fn(|bucket| read(&self.took[bucket]))),
        }
    }
}

/// Not `fetch_add`: there is one thread that serves.
fn increase(counter: &AtomicU64) -> u64 {
    let more = counter.load(Ordering::Relaxed) + 1;
    counter.store(more, Ordering::Relaxed);
    more
}

//! What a worker tells its supervisor to write into the log.
//!
//! A request that fails may be one of fifty thousand a second. The queue is bounded, sending never waits, and what did
//! not fit is counted and said later.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc;
use wasmcluster_core::message::{Frame, FromWorker, Report, ReportKind};

/// Messages that may wait for the channel to the supervisor.
const CAPACITY: usize = 256;

/// Reports between two pulses. Who reads the log learns nothing from the next hundred, and a guest that traps at every request
/// must not fill a disk with it.
const PER_PULSE: u64 = 100;

/// The sending half, shared by everything in the worker that has something to say.
#[derive(Clone)]
pub(crate) struct Reports(Arc<Inner>);

struct Inner {
    queue: mpsc::Sender<FromWorker>,
    /// Said and not yet written to the channel.
    unwritten: AtomicU64,
    /// Said since the last pulse.
    said: AtomicU64,
    dropped: AtomicU64,
}

impl Reports {
    /// A queue, and the end that the channel to the supervisor is fed from.
    pub(crate) fn new() -> (Self, mpsc::Receiver<FromWorker>) {
        let (queue, messages) = mpsc::channel(CAPACITY);
        let [unwritten, said, dropped] = [(); 3].map(|()| AtomicU64::new(0));
        (Self(Arc::new(Inner { queue, unwritten, said, dropped })), messages)
    }

    /// Says something, if there is room for it and not too much was said.
    pub(crate) fn say(&self, kind: ReportKind, message: impl Into<String>, hint: Option<String>) {
        self.report(|| Report { kind, message: message.into(), hint, backtrace: Vec::new(), request: None });
    }

    /// Says that the guest trapped before there was a request, and where.
    pub(crate) fn say_trap(&self, message: String, backtrace: Vec<Frame>) {
        self.report(|| Report { kind: ReportKind::Trap, message, hint: None, backtrace, request: None });
    }

    /// Says what became of a request.
    pub(crate) fn report(&self, report: impl FnOnce() -> Report) {
        if self.0.said.fetch_add(1, Ordering::Relaxed) >= PER_PULSE {
            self.0.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.0.unwritten.fetch_add(1, Ordering::Relaxed);
        if self.0.queue.try_send(FromWorker::Report(report())).is_err() {
            self.0.unwritten.fetch_sub(1, Ordering::Relaxed);
            self.0.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Sends a message that must arrive, waiting for room.
    pub(crate) async fn send(&self, message: FromWorker) {
        self.0.unwritten.fetch_add(1, Ordering::Relaxed);
        // The receiver is gone only when the supervisor is, and then so are we.
        let _ = self.0.queue.send(message).await;
    }

    /// Notes that a message is on its way.
    pub(crate) fn written(&self) {
        self.0.unwritten.fetch_sub(1, Ordering::Relaxed);
    }

    /// Waits until everything said is on its way.
    pub(crate) async fn flushed(&self) {
        while self.0.unwritten.load(Ordering::Relaxed) > 0 {
            tokio::time::sleep(core::time::Duration::from_millis(1)).await;
        }
    }

    /// The time between two pulses has passed.
    pub(crate) fn refill(&self) {
        self.0.said.store(0, Ordering::Relaxed);
    }

    /// How many reports were thrown away since this was last asked.
    pub(crate) fn take_dropped(&self) -> u64 {
        self.0.dropped.swap(0, Ordering::Relaxed)
    }
}

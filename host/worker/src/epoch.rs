//! The clock that interrupts guests which compute.
//!
//! A thread of its own, because the worker's only other thread is the one that a guest keeps busy. It sleeps for good
//! while no guest runs: an idle worker costs nothing.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, Thread};

use tokio::sync::Semaphore;
use wasmtime::Engine;

use crate::engine::TICK;

/// Ticks without a request after which the thread stops waking up. Stopping at once would cost a request that follows
/// a quiet moment a system call.
const LINGER: u32 = 100;

thread_local! {
    /// Guests run on the worker's one thread, so whoever compares this before and after polling one knows whether it was
    /// interrupted.
    static INTERRUPTIONS: Cell<u32> = const { Cell::new(0) };
}

/// How often guests of this thread were interrupted by a tick.
pub(crate) fn interruptions() -> u32 {
    INTERRUPTIONS.get()
}

/// Notes that a guest of this thread was interrupted.
pub(crate) fn interrupted() {
    INTERRUPTIONS.set(interruptions().wrapping_add(1));
}

/// A handle to the ticking thread.
pub(crate) struct Ticker {
    thread: Thread,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    used: AtomicBool,
    parked: AtomicBool,
}

impl Ticker {
    /// Starts the thread. It ticks while some of `places` are taken, of which there are `total`.
    ///
    /// # Errors
    /// Fails when no thread can be started.
    pub(crate) fn start(engine: Engine, places: &'static Semaphore, total: usize) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let ours = Arc::clone(&shared);
        let handle = thread::Builder::new().name("epoch".into()).stack_size(64 << 10).spawn(move || {
            let mut quiet = 0;
            loop {
                thread::sleep(TICK);
                engine.increment_epoch();
                let idle = !ours.used.swap(false, Ordering::SeqCst) && places.available_permits() == total;
                quiet = if idle { quiet + 1 } else { 0 };
                if quiet >= LINGER {
                    ours.parked.store(true, Ordering::SeqCst);
                    // A request that came before it could see `parked` has set `used`.
                    while ours.parked.load(Ordering::SeqCst) && !ours.used.load(Ordering::SeqCst) {
                        thread::park();
                    }
                    ours.parked.store(false, Ordering::SeqCst);
                    quiet = 0;
                }
            }
        })?;
        Ok(Self { thread: handle.thread().clone(), shared })
    }

    /// Makes sure that the clock runs. To be called before a guest is.
    pub(crate) fn touch(&self) {
        if !self.shared.used.load(Ordering::Relaxed) {
            self.shared.used.store(true, Ordering::SeqCst);
            if self.shared.parked.load(Ordering::SeqCst) {
                self.thread.unpark();
            }
        }
    }
}

//! The signals a person or an init system sends.

use core::time::Duration;
use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;

/// Signals this close to each other are one wish: `timeout` and some init systems signal the process and then its
/// group, and no person presses a key again that fast.
const SAME: Duration = Duration::from_millis(100);

/// TERM, INT and QUIT: all of them ask us to stop. What the second one means is the cluster's to decide.
#[derive(Debug)]
pub(crate) struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    last: Option<Instant>,
}

impl StopSignals {
    /// From here on these signals no longer end the process.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            last: None,
        })
    }

    /// Waits for the next wish to stop. Cancel safe.
    pub(crate) async fn next(&mut self) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => {}
                _ = self.interrupt.recv() => {}
                _ = self.quit.recv() => {}
            }
            let now = Instant::now();
            let last = self.last.replace(now);
            if last.is_none_or(|last| now - last > SAME) {
                return;
            }
        }
    }
}

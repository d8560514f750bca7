//! How fast and how far a response goes.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep};
use wasmcluster_core::app::Serving;

/// What goes as fast as the client takes it, in bytes: most responses are complete by then, and nobody waits for the beginning
/// of a page.
const HEAD_START: u64 = 64 << 10;

/// Of a body that its guest still writes.
pub(crate) struct Pace {
    /// Bytes in a second.
    rate: Option<u64>,
    /// Bytes that may still come.
    room: u64,
    sent: u64,
    began: Instant,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Pace {
    /// For a body of which `sent` bytes are on their way.
    pub(crate) fn new(serving: &Serving, sent: usize) -> Self {
        let sent = sent as u64;
        let room = serving.max_response_size.map_or(u64::MAX, |most| most.saturating_sub(sent));
        Self { rate: serving.max_response_rate, room, sent, began: Instant::now(), pause: None }
    }

    /// Ready once more may be sent.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(cx));
            self.pause = None;
        }
        Poll::Ready(())
    }

    /// So many bytes are sent. Says whether that was not too many.
    pub(crate) fn sends(&mut self, bytes: usize) -> bool {
        let bytes = bytes as u64;
        let Some(room) = self.room.checked_sub(bytes) else { return false };
        self.room = room;
        self.sent = self.sent.saturating_add(bytes);
        if let Some(rate) = self.rate {
            let until = self.began + time_of(self.sent.saturating_sub(HEAD_START), rate);
            self.pause = (until > Instant::now()).then(|| Box::pin(tokio::time::sleep_until(until)));
        }
        true
    }
}

/// How long so many bytes take.
fn time_of(bytes: u64, rate: u64) -> Duration {
    // A day is longer than any response: what would be more cannot be added to a clock.
    const DAY: f64 = 86_400.0;
    Duration::from_secs_f64((bytes as f64 / rate.max(1) as f64).min(DAY))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_take_their_time() {
        assert_eq!(time_of(0, 10), Duration::ZERO);
        assert_eq!(time_of(25, 10), Duration::from_millis(2_500));
        assert_eq!(time_of(u64::MAX, 1), Duration::from_secs(86_400));
        assert_eq!(time_of(1, 0), Duration::from_secs(1));
    }
}

//! What happens on a connection, as its stream and its requests say it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Entry, Order, head};

/// Says what happens on a connection.
#[derive(Clone)]
pub(crate) struct Activity(pub(super) Arc<Entry>);

impl Activity {
    /// For requests of our own.
    pub(crate) fn of_nobody() -> Self {
        Self(Arc::default())
    }

    /// Bytes came.
    pub(crate) fn received(&self) {
        let entry = &self.0;
        if entry.requests.load(Ordering::Relaxed) > 0 {
            return;
        }
        let begun = match entry.head.load(Ordering::Relaxed) {
            head::IDLE => head::LATER,
            head::ADOPTED => head::FIRST,
            _ => return,
        };
        entry.head.store(begun, Ordering::Relaxed);
        entry.since.store(entry.now(), Ordering::Relaxed);
    }

    /// Whether a request of HTTP/1.1 is under way.
    pub(crate) fn owes_an_answer(&self) -> bool {
        self.0.requests.load(Ordering::Relaxed) > 0 && !self.0.http2.load(Ordering::Relaxed)
    }

    /// The client has said all it will.
    pub(crate) fn ended(&self) {
        self.0.ended.store(true, Ordering::Relaxed);
    }

    /// The connection closes after what is under way, if it was not about to.
    pub(crate) fn close(&self) -> bool {
        self.0.tell(Order::Close)
    }

    /// A request's head is complete.
    pub(crate) fn request_began(&self) {
        if self.0.requests.fetch_add(1, Ordering::Relaxed) == 0 {
            self.0.head.store(head::IDLE, Ordering::Relaxed);
            self.0.since.store(self.0.now(), Ordering::Relaxed);
        }
    }

    /// A response is complete, or will never be.
    pub(crate) fn request_ended(&self) {
        if self.0.requests.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.0.since.store(self.0.now(), Ordering::Relaxed);
            if self.0.ended.load(Ordering::Relaxed)
                && let Some(waker) = self.0.waker.get()
            {
                waker.wake_by_ref();
            }
        }
    }

    /// A response's guest has run out of time in the middle of it.
    pub(crate) fn response_overdue(&self) {
        self.0.overdue_since.store(self.0.now(), Ordering::Relaxed);
        self.0.overdue.fetch_add(1, Ordering::Relaxed);
    }

    /// That response has ended after all.
    pub(crate) fn overdue_response_ended(&self) {
        self.0.overdue.fetch_sub(1, Ordering::Relaxed);
    }

    /// What the client still sends will not be read.
    pub(crate) fn leave_unread(&self) {
        self.0.unread.store(true, Ordering::Relaxed);
    }

    /// Whether the client was still sending when its last request was answered.
    pub(crate) fn left_unread(&self) -> bool {
        self.0.unread.load(Ordering::Relaxed)
    }

    /// The client takes nothing more for now, or goes on taking.
    pub(crate) fn blocked(&self, blocked: bool) {
        let since = if blocked { self.0.now() } else { u64::MAX };
        self.0.blocked.store(since, Ordering::Relaxed);
    }
}

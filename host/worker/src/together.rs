//! Small responses, held back for as long as a few guests take, and sent together.
//!
//! Sending is the kernel's code and running a guest is ours, and each drives the other's out of the processor's caches: eight
//! guests and then eight sends cost 5 % less than eight times one and one. It is done only while guests are quick and others
//! wait for their turn. One that follows them and computes keeps them waiting until its first tick at most.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::IoSlice;
use std::os::fd::{AsRawFd, RawFd};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use nix::sys::socket::{MsgFlags, send};

/// So many bytes are sooner copied than sent as several pieces, or on their own.
pub(crate) const SMALL: usize = 512;

/// So many responses are sent together. More of them save nothing more, and the first would wait for longer.
const MOST: usize = 8;

/// Responses that are further apart than this are not worth waiting for.
const NEAR: Duration = Duration::from_micros(50);

thread_local! {
    /// There is one thread that serves.
    static BATCH: RefCell<Batch> = const { RefCell::new(Batch::new()) };
}

struct Batch {
    waiting: Vec<Letter>,
    /// What could not be sent, or not all of it, until its stream comes for it.
    refused: Vec<Letter>,
    /// When the last one came.
    last: Option<Instant>,
    /// Wakes [`carry`], once that is there.
    carrier: Option<Waker>,
    /// Nothing is held back any more.
    over: bool,
}

/// What is held back of one socket.
struct Letter {
    socket: RawFd,
    bytes: [u8; SMALL],
    length: usize,
    /// The task of its connection.
    waker: Waker,
}

impl Batch {
    const fn new() -> Self {
        Self { waiting: Vec::new(), refused: Vec::new(), last: None, carrier: None, over: false }
    }

    /// Whether what comes now comes soon after what came before.
    fn is_busy(&mut self) -> bool {
        let now = Instant::now();
        let last = self.last.replace(now);
        last.is_some_and(|last| now.duration_since(last) < NEAR)
    }

    fn send(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        self.refused.extend(self.waiting.extract_if(.., |letter| !letter.send()));
        self.waiting.clear();
        // The next one comes no later for what this took.
        self.last = Some(Instant::now());
    }
}

impl Letter {
    /// Whether all of it was sent. What is wrong, or what it waits for, its stream finds out when it tries.
    fn send(&mut self) -> bool {
        let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
        let sent = send(self.socket, &self.bytes[..self.length], flags).unwrap_or(0);
        if sent == self.length {
            return true;
        }
        self.bytes.copy_within(sent..self.length, 0);
        self.length -= sent;
        self.waker.wake_by_ref();
        false
    }
}

/// Sends what is held back: somebody is about to take longer than that may wait.
pub(crate) fn send_now() {
    BATCH.with_borrow_mut(Batch::send);
}

/// Sends what is held back, and holds nothing back from now on. To be called before connections are told to leave: a stream
/// that is taken apart has nowhere to keep what was refused, and one that has tried counts as blocked, and stays.
pub(crate) fn end() {
    BATCH.with_borrow_mut(|batch| {
        batch.over = true;
        batch.send();
    });
}

/// Sends what is held back once everybody who can run has had a turn. Never returns.
pub(crate) async fn carry() {
    poll_fn(|cx| {
        BATCH.with_borrow_mut(|batch| {
            batch.send();
            // Woken, it is the last in the runtime's queue.
            if batch.carrier.as_ref().is_none_or(|carrier| !carrier.will_wake(cx.waker())) {
                batch.carrier = Some(cx.waker().clone());
            }
        });
        Poll::Pending
    })
    .await
}

/// What is held back of one socket, if anything is. It must not outlive that: dropped, it sends what it has.
pub(crate) struct Held {
    socket: RawFd,
    /// May be out of date: what was held back may have been sent.
    some: bool,
}

impl Held {
    pub(crate) fn nothing_of(socket: &impl AsRawFd) -> Self {
        Self { socket: socket.as_raw_fd(), some: false }
    }

    /// Holds `pieces` back, which are [`SMALL`] and follow nothing that is held back; `false` if they are not worth it.
    ///
    /// Should it turn out that they cannot be sent, `waker` is woken, and they are [refused](Self::refused).
    pub(crate) fn hold(&mut self, pieces: &[IoSlice<'_>], waker: &Waker) -> bool {
        BATCH.with_borrow_mut(|batch| {
            if batch.over || !batch.is_busy() {
                batch.send();
                return false;
            }
            let Some(carrier) = &batch.carrier else { return false };
            if batch.waiting.is_empty() {
                carrier.wake_by_ref();
            }
            let mut letter =
                Letter { socket: self.socket, bytes: [0; SMALL], length: 0, waker: waker.clone() };
            for piece in pieces {
                let end = letter.length + piece.len();
                letter.bytes[letter.length..end].copy_from_slice(piece);
                letter.length = end;
            }
            batch.waiting.push(letter);
            self.some = true;
            if batch.waiting.len() >= MOST {
                batch.send();
            }
            true
        })
    }

    /// Sends it now, as far as it can be.
    pub(crate) fn send(&mut self) {
        if self.some {
            BATCH.with_borrow_mut(|batch| {
                if batch.waiting.iter().any(|letter| letter.socket == self.socket) {
                    batch.send();
                }
            });
        }
    }

    /// What could not be sent with the others, and is to be sent before anything else is.
    pub(crate) fn refused(&mut self) -> Option<Bytes> {
        if !self.some {
            return None;
        }
        BATCH.with_borrow_mut(|batch| {
            let own = |letter: &Letter| letter.socket == self.socket;
            self.some = batch.waiting.iter().any(own);
            let at = batch.refused.iter().position(own)?;
            let letter = batch.refused.swap_remove(at);
            Some(Bytes::copy_from_slice(&letter.bytes[..letter.length]))
        })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.send();
        // Nobody is left who could try again.
        self.refused();
    }
}

/// Holds the next one back, as if one had come just before, however slow the machine is.
#[cfg(test)]
pub(crate) fn expect_more() {
    BATCH.with_borrow_mut(|batch| {
        batch.last = Some(Instant::now() + NEAR);
        batch.carrier.get_or_insert_with(|| Waker::noop().clone());
    });
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read};
    use std::os::unix::net::UnixStream;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::task::Wake;

    use super::*;

    /// A socket that something may be held back of, and its other end.
    struct Pair {
        held: Held,
        socket: UnixStream,
        peer: UnixStream,
    }

    impl Pair {
        fn new() -> Self {
            let (socket, peer) = UnixStream::pair().expect("sockets");
            peer.set_nonblocking(true).expect("open");
            Self { held: Held::nothing_of(&socket), socket, peer }
        }

        fn hold(&mut self, text: &str) -> bool {
            expect_more();
            self.held.hold(&[IoSlice::new(text.as_bytes())], Waker::noop())
        }

        fn came(&mut self) -> String {
            let mut bytes = [0; 64];
            match self.peer.read(&mut bytes) {
                Ok(length) => String::from_utf8_lossy(&bytes[..length]).into_owned(),
                Err(error) if error.kind() == ErrorKind::WouldBlock => String::new(),
                Err(error) => panic!("{error}"),
            }
        }
    }

    #[test]
    fn nothing_is_held_back_without_a_carrier() {
        BATCH.with_borrow_mut(|batch| batch.last = Some(Instant::now() + NEAR));
        assert!(!Pair::new().held.hold(&[IoSlice::new(b"a")], Waker::noop()));
    }

    #[test]
    fn what_comes_alone_is_not_held_back_and_what_waits_is_sent() {
        let (mut first, mut second) = (Pair::new(), Pair::new());
        assert!(first.hold("first"));
        BATCH.with_borrow_mut(|batch| batch.last = Instant::now().checked_sub(NEAR));
        assert!(!second.held.hold(&[IoSlice::new(b"second")], Waker::noop()));
        assert_eq!(first.came(), "first");
    }

    #[test]
    fn many_are_sent_together() {
        let mut pairs: Vec<Pair> = (0..MOST).map(|_| Pair::new()).collect();
        for (at, pair) in pairs.iter_mut().enumerate() {
            assert_eq!(pair.came(), "");
            assert!(pair.hold(&at.to_string()));
            assert_eq!(pair.came().is_empty(), at + 1 < MOST);
        }
        for (at, pair) in pairs.iter_mut().enumerate().take(MOST - 1) {
            assert_eq!(pair.came(), at.to_string());
            assert_eq!(pair.held.refused(), None);
            assert!(!pair.held.some);
        }
    }

    #[test]
    fn one_that_was_sent_does_not_hurry_the_others() {
        let (mut first, mut second) = (Pair::new(), Pair::new());
        assert!(first.hold("first"));
        send_now();
        assert!(second.hold("second"));
        first.held.send();
        assert_eq!(second.came(), "");
        second.held.send();
        assert_eq!(second.came(), "second");
    }

    #[test]
    fn in_the_end_nothing_is_held_back() {
        let (mut first, mut second) = (Pair::new(), Pair::new());
        assert!(first.hold("first"));
        end();
        assert_eq!(first.came(), "first");
        assert!(!second.hold("second"));
    }

    #[test]
    fn what_is_dropped_is_sent() {
        let mut pair = Pair::new();
        assert!(pair.hold("last words"));
        assert_eq!(pair.held.refused(), None);
        assert!(pair.held.some);
        let Pair { held, socket, mut peer } = pair;
        drop(held);
        drop(socket);
        let mut all = String::new();
        peer.set_nonblocking(false).expect("open");
        peer.read_to_string(&mut all).expect("its end");
        assert_eq!(all, "last words");
    }

    #[test]
    fn what_cannot_be_sent_comes_back_and_wakes_its_connection() {
        struct Woken(AtomicBool);
        impl Wake for Woken {
            fn wake(self: Arc<Self>) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let woken = Arc::new(Woken(AtomicBool::new(false)));
        let mut pair = Pair::new();
        pair.socket.set_nonblocking(true).expect("open");
        let flags = MsgFlags::MSG_NOSIGNAL;
        while send(pair.socket.as_raw_fd(), &[0; 1 << 16], flags).is_ok() {}
        while send(pair.socket.as_raw_fd(), &[0], flags).is_ok() {}
        expect_more();
        assert!(pair.held.hold(&[IoSlice::new(b"too much")], &Waker::from(Arc::clone(&woken))));
        assert!(!woken.0.load(Ordering::Relaxed));
        pair.held.send();
        assert!(woken.0.load(Ordering::Relaxed));
        assert_eq!(pair.held.refused().as_deref(), Some(&b"too much"[..]));
        assert!(!pair.held.some);
        assert!(BATCH.with_borrow(|batch| batch.refused.is_empty()));
    }
}

//! The clock that interrupts guests which compute.
//!
//! A thread of its own, because the worker's only other thread is the one that a guest keeps busy. It sleeps for good
//! while no guest runs: an idle worker costs nothing.

use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use tokio::sync::Semaphore;
use wasmtime::{Engine, UpdateDeadline};

/// Distance of two epochs: the longest a guest computes before its worker's other requests get their turn.
const TICK: Duration = Duration::from_millis(10);

/// The same while guests are interrupted: each of them keeps the others waiting for so long. The thread that ticks was
/// seen to take 17 µs each time, which is a hundredth of what such a guest takes.
const SHORT_TICK: Duration = Duration::from_millis(2);

/// Short ticks after an interruption. A guest that lets others have their turn is missed by ticks that come meanwhile, and
/// one that has computed for long will do so again.
const HURRY: u32 = 50;

/// Ticks without a request after which the thread stops waking up. Stopping at once would cost a request that follows
/// a quiet moment a system call.
const LINGER: u32 = 100;

/// How often the runtime looks at sockets and timers before a guest that was interrupted goes on. A new connection takes two
/// looks, one to be accepted and one to be read, and a guest between them would keep it waiting for another tick.
pub(crate) const LOOKS: u32 = 2;

/// How often guests that were interrupted wait for a look. They run on the worker's one thread, so whoever compares this before
/// and after polling one knows whether it waits for others alone.
static YIELDS: AtomicU32 = AtomicU32::new(0);

/// How often the clock has ticked, and how often it had when a guest was last let to work.
static TICKS: AtomicU32 = AtomicU32::new(0);
static RESUMED: AtomicU32 = AtomicU32::new(0);

/// Notes that a guest is let to work, from the runtime and not after a turn that it had just now.
pub(crate) fn resumed() {
    RESUMED.store(TICKS.load(Ordering::Relaxed), Ordering::Relaxed);
}

/// What becomes of a guest whose deadline has passed. One that waited while the clock ticked has not computed meanwhile: it
/// has until the next tick, or it would wait for everybody else's turn each time that something has come which it waited for.
pub(crate) fn deadline() -> UpdateDeadline {
    if TICKS.load(Ordering::Relaxed) == RESUMED.load(Ordering::Relaxed) {
        return UpdateDeadline::Continue(1);
    }
    UpdateDeadline::YieldCustom(1, Box::pin(interrupted()))
}

/// How often guests have waited for others; [`LOOKS`] times when they were interrupted by a tick.
pub(crate) fn yields() -> u32 {
    YIELDS.load(Ordering::Relaxed)
}

/// Notes that a guest was interrupted. It goes on when the answer is ready.
fn interrupted() -> Turn {
    Turn { looks: 0, others: None }
}

/// Ready when everybody else has had their turn, however often it is polled until then.
///
/// Wasmtime's own yield wakes itself before the runtime looks at sockets and timers, and three guests that compute would keep
/// a fourth request waiting for half a second. The runtime's own is ready as soon as it is polled twice, and whoever reads a
/// response polls for as long as it hopes for more.
pub(crate) struct Turn {
    /// How often the runtime has looked, or is about to.
    looks: u32,
    others: Option<Arc<Others>>,
}

/// Those who have their turn, until the runtime has looked.
struct Others {
    over: AtomicBool,
    waker: Mutex<Waker>,
}

impl Future for Turn {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(others) = &self.others {
            if !others.over.load(Ordering::Acquire) {
                others.lock().clone_from(cx.waker());
                return Poll::Pending;
            }
            if self.looks == LOOKS {
                return Poll::Ready(());
            }
        }
        let others = Arc::new(Others { over: AtomicBool::new(false), waker: Mutex::new(cx.waker().clone()) });
        let waker = Waker::from(Arc::clone(&others));
        // The runtime wakes this after it has looked at sockets and timers.
        let _ = pin!(tokio::task::yield_now()).poll(&mut Context::from_waker(&waker));
        self.others = Some(others);
        self.looks += 1;
        YIELDS.fetch_add(1, Ordering::Relaxed);
        Poll::Pending
    }
}

impl Others {
    fn lock(&self) -> MutexGuard<'_, Waker> {
        self.waker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Others {
    fn wake(self: Arc<Self>) {
        self.over.store(true, Ordering::Release);
        self.lock().wake_by_ref();
    }
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
            let (mut known, mut hurry) = (yields(), 0);
            loop {
                let before = known;
                known = yields();
                if known != before {
                    hurry = HURRY;
                }
                thread::sleep(if hurry > 0 { SHORT_TICK } else { TICK });
                hurry = hurry.saturating_sub(1);
                // First, or a guest could meet a deadline that no tick explains.
                TICKS.fetch_add(1, Ordering::Relaxed);
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

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::task::Poll;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn a_guest_is_interrupted_by_a_tick_that_comes_while_it_computes() {
        let goes_on = || matches!(deadline(), UpdateDeadline::Continue(1));
        let tick = || TICKS.fetch_add(1, Ordering::Relaxed);
        tick();
        assert!(!goes_on());
        resumed();
        assert!(goes_on() && goes_on(), "it came before");
        tick();
        assert!(!goes_on());
        tick();
        resumed();
        assert!(goes_on());
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_new_connection_is_answered_in_one_turn() {
        let server = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let addr = server.local_addr().expect("an address");
        tokio::spawn(async move {
            loop {
                let (mut client, _) = server.accept().await.expect("a client");
                tokio::spawn(async move {
                    let mut asked = [0; 3];
                    client.read_exact(&mut asked).await.expect("a request");
                    client.write_all(&asked).await.expect("it is there");
                });
            }
        });
        tokio::task::yield_now().await;
        for _ in 0..10 {
            let mut client = std::net::TcpStream::connect(addr).expect("it listens");
            client.write_all(b"GET").expect("it is there");
            interrupted().await;
            client.set_nonblocking(true).expect("a socket");
            let mut answer = [0; 3];
            client.read_exact(&mut answer).expect("an answer, before anybody else computes");
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_turn_is_over_when_others_had_theirs_however_often_it_is_polled() {
        let others = Arc::new(AtomicU32::new(0));
        for had in 0..3 {
            let counted = Arc::clone(&others);
            tokio::spawn(async move { counted.fetch_add(1, Ordering::Relaxed) });
            let mut turn = Box::pin(interrupted());
            let polls = std::future::poll_fn(|cx| {
                let before = others.load(Ordering::Relaxed);
                for _ in 0..10 {
                    if turn.as_mut().poll(cx).is_ready() {
                        return Poll::Ready(before);
                    }
                }
                Poll::Pending
            });
            assert_eq!(polls.await, had + 1);
        }
    }
}

//! The connections of a worker: who they are, how long they have been doing what, and the orders they get.
//!
//! One task looks at all of them a few times a second. So a connection has no timer of its own to arm for every request,
//! and a drain reaches it without a channel that every poll would have to look at.

mod activity;

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::Waker;
use std::time::Duration;

use slab::Slab;
use tokio::sync::Notify;
use tokio::time::Instant;
use wasmcluster_core::app::Serving;
use wasmcluster_core::limit::Limit;

pub(crate) use self::activity::Activity;
use crate::handover::Heir;
use crate::peers::{Peer, Peers};
use crate::reached::reached;
use crate::trim::{Crowd, trim_heap};

/// How often connections are looked at, and so how late a timeout may be.
const GLANCE: Duration = Duration::from_millis(250);

/// What a connection is told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Order {
    /// Go on.
    Serve,
    /// Go to the heir as soon as nothing is under way. Without an heir, go on.
    HandOver,
    /// Finish the requests that are under way, take no more, and close.
    Close,
    /// Close now.
    Cut,
}

/// All open connections of a worker.
pub(crate) struct Connections {
    open: Mutex<Open>,
    /// Who takes over, in a drain.
    heir: OnceLock<Heir>,
    /// Somebody came, somebody left.
    changed: Notify,
    started: Instant,
    /// Milliseconds since `started` at the last glance. Good enough to time connections by, and free to read.
    now: Arc<AtomicU64>,
    limits: Limits,
}

struct Open {
    entries: Slab<Arc<Entry>>,
    crowd: Crowd,
    peers: Peers,
    /// What everybody is told who comes, or turns out to speak HTTP/2.
    order: Order,
    http2: Order,
}

struct Limits {
    head: u64,
    keep_alive: u64,
    stall: u64,
    request: u64,
    overdue: u64,
}

/// One connection, as others see it.
#[derive(Default)]
pub(crate) struct Entry {
    clock: Arc<AtomicU64>,
    http2: AtomicBool,
    /// Requests that have come and whose response is not complete.
    requests: AtomicU32,
    /// How far a request's head is, as long as there are no requests.
    head: AtomicU8,
    /// When the connection last changed what it does.
    since: AtomicU64,
    /// When the client stopped reading; `u64::MAX` while it reads.
    blocked: AtomicU64,
    /// The client sends what nobody will read.
    unread: AtomicBool,
    /// It is on its way to the heir, and nobody here would see what its client does.
    away: AtomicBool,
    /// The client has said all it will, and is told that it was heard when its last answer is complete.
    ended: AtomicBool,
    /// Responses whose guest has run out of time, and whose client does not take what would tell it so.
    overdue: AtomicU32,
    /// When the last of them became that.
    overdue_since: AtomicU64,
    order: AtomicU8,
    waker: OnceLock<Waker>,
}

/// How far the head of the next request is.
mod head {
    /// Nothing of it has come; the request before it was answered.
    pub(super) const IDLE: u8 = 0;
    /// It has begun to come, after a request that was answered.
    pub(super) const LATER: u8 = 1;
    /// The first one here has begun to come, or the client has just connected and owes it.
    pub(super) const FIRST: u8 = 2;
    /// Nothing of the first one here has come; the request before it was answered by another worker.
    pub(super) const ADOPTED: u8 = 3;
}

/// What a connection of HTTP/1.1 is in the middle of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rest {
    /// A request, a response, or its end.
    Busy,
    /// Its first head here, or nothing yet. No request was made of what it has read.
    Beginning,
    /// Nothing, or a later head.
    BetweenRequests,
}

impl Connections {
    pub(crate) fn new(serving: &Serving) -> Self {
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Self {
            open: Mutex::new(Open {
                entries: Slab::new(),
                crowd: Crowd::default(),
                peers: Peers::default(),
                order: Order::Serve,
                http2: Order::Serve,
            }),
            heir: OnceLock::new(),
            changed: Notify::new(),
            started: Instant::now(),
            now: Arc::default(),
            limits: Limits {
                head: millis(serving.header_timeout),
                keep_alive: millis(serving.keep_alive_timeout),
                stall: millis(serving.body_timeout),
                request: serving.timeout.map_or(u64::MAX, millis),
                overdue: millis(2 * GLANCE),
            },
        }
    }

    /// Takes in a connection until its guard is dropped, unless its address has `most` already. One that is `idle` may stay so
    /// as if its last response had just been sent.
    pub(crate) fn enter(self: &Arc<Self>, idle: bool, address: IpAddr, most: u32) -> Option<Guard> {
        let peer = Peer::from(address);
        let mut open = self.lock();
        if !open.peers.enter(peer, most) {
            return None;
        }
        if open.entries.is_empty() {
            // Nobody has looked at the clock since the last one left.
            self.look_at_the_clock();
        }
        let entry = Arc::new(Entry {
            clock: Arc::clone(&self.now),
            since: AtomicU64::new(self.now.load(Ordering::Relaxed)),
            blocked: AtomicU64::new(u64::MAX),
            head: AtomicU8::new(if idle { head::ADOPTED } else { head::FIRST }),
            order: AtomicU8::new(open.order as u8),
            ..Entry::default()
        });
        let key = open.entries.insert(Arc::clone(&entry));
        let count = open.entries.len();
        open.crowd.has_come(count);
        if count == 1 {
            self.changed.notify_waiters();
        }
        Some(Guard { connections: Arc::clone(self), entry, key, address })
    }

    /// Returns once there are fewer than `count`.
    pub(crate) async fn fewer_than(&self, count: usize) {
        loop {
            let changed = self.changed.notified();
            if self.lock().entries.len() < count {
                return;
            }
            changed.await;
        }
    }

    /// Tells all HTTP/2 connections to close after what is under way. Their clients are told so and send the next
    /// request elsewhere, which HTTP/1.1 has no way to say outside a response.
    pub(crate) fn close_http2(&self) {
        self.tell(Order::Serve, Order::Close);
    }

    /// Tells all connections of HTTP/1.1 to go to the heir, and those of HTTP/2 to close: what a connection of HTTP/2
    /// remembers cannot be moved, but its clients can be told.
    pub(crate) fn hand_over(&self, heir: Heir) {
        // A worker drains once.
        let _ = self.heir.set(heir);
        self.tell(Order::HandOver, Order::Close);
    }

    /// Who would take over a connection now.
    pub(crate) fn heir(&self) -> Option<&Heir> {
        self.heir.get().filter(|heir| heir.takes())
    }

    /// Whether there was an heir, and is none any more.
    pub(crate) fn is_bereft(&self) -> bool {
        self.heir.get().is_some_and(Heir::is_dead)
    }

    /// Returns once those that should have gone to the heir cannot any more.
    pub(crate) async fn left_alone(&self) {
        match self.heir.get() {
            Some(heir) => heir.gone().await,
            None => std::future::pending().await,
        }
    }

    /// Tells all connections to close after what is under way; those that are idle close at once.
    pub(crate) fn close(&self) {
        self.tell(Order::Close, Order::Close);
    }

    /// Tells everybody who is here and who is to come.
    fn tell(&self, order: Order, http2: Order) {
        let mut open = self.lock();
        (open.order, open.http2) = (open.order.max(order), open.http2.max(http2));
        for (_, entry) in &open.entries {
            entry.tell(if entry.http2.load(Ordering::Relaxed) { open.http2 } else { open.order });
        }
    }

    /// Leaves those clients that connected and did not come to ask, or speak HTTP/2 and do not answer our goodbye.
    pub(crate) fn cut_silent(&self) {
        for (_, entry) in &self.lock().entries {
            let silent = entry.is_in_head() || entry.http2.load(Ordering::Relaxed);
            let away = entry.away.load(Ordering::Relaxed);
            if silent && !away && entry.requests.load(Ordering::Relaxed) == 0 {
                entry.tell(Order::Cut);
            }
        }
    }

    /// Looks after timeouts, for as long as it is polled.
    pub(crate) async fn watch(&self) {
        loop {
            let changed = self.changed.notified();
            let (count, crowd_has_left) = self.lock().count();
            if crowd_has_left {
                trim_heap();
            }
            if count == 0 {
                changed.await;
            }
            let now = self.look_at_the_clock();
            for (_, entry) in &self.lock().entries {
                if let Some((order, limit)) = entry.judge(now, &self.limits)
                    && entry.tell(order)
                    && let Some(limit) = limit
                {
                    reached(limit);
                }
            }
            tokio::time::sleep(GLANCE).await;
        }
    }

    fn look_at_the_clock(&self) -> u64 {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.now.store(now, Ordering::Relaxed);
        now
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    /// How many there are, and whether there was a crowd of them that nobody was told of yet.
    fn count(&mut self) -> (usize, bool) {
        let count = self.entries.len();
        (count, self.crowd.has_left(count))
    }
}

impl Entry {
    /// What to do about a connection at `now`, if anything, and which limit it has reached that was not counted before.
    fn judge(&self, now: u64, limits: &Limits) -> Option<(Order, Option<Limit>)> {
        if self.away.load(Ordering::Relaxed) {
            return None;
        }
        let spent = now.saturating_sub(self.since.load(Ordering::Relaxed));
        let blocked = now.saturating_sub(self.blocked.load(Ordering::Relaxed));
        let busy = self.requests.load(Ordering::Relaxed) > 0;
        let http2 = self.http2.load(Ordering::Relaxed);
        let overdue = now.saturating_sub(self.overdue_since.load(Ordering::Relaxed));
        // HTTP/2 has windows of its own: a client can stop a response while its socket takes everything.
        if self.overdue.load(Ordering::Relaxed) > 0 && overdue > limits.overdue {
            return Some((Order::Cut, None));
        }
        if blocked > limits.stall {
            return Some((Order::Cut, Some(Limit::BodyTimeout)));
        }
        if blocked > 0 && busy && !http2 && spent > limits.request {
            return Some((Order::Cut, Some(Limit::Timeout)));
        }
        if busy {
            return None;
        }
        if self.is_in_head() && !http2 {
            return (spent > limits.head).then_some((Order::Cut, Some(Limit::HeaderTimeout)));
        }
        (spent > limits.keep_alive).then_some((Order::Close, Some(Limit::KeepAliveTimeout)))
    }

    fn is_in_head(&self) -> bool {
        matches!(self.head.load(Ordering::Relaxed), head::LATER | head::FIRST)
    }

    /// What the connection is in the middle of, when it was polled and waits.
    fn rest(&self) -> Rest {
        let busy = self.requests.load(Ordering::Relaxed) > 0
            // Some of the last response waits to be written, or of the last request to be thrown away.
            || self.blocked.load(Ordering::Relaxed) != u64::MAX
            || self.unread.load(Ordering::Relaxed);
        match self.head.load(Ordering::Relaxed) {
            _ if busy => Rest::Busy,
            head::FIRST | head::ADOPTED => Rest::Beginning,
            _ => Rest::BetweenRequests,
        }
    }

    fn now(&self) -> u64 {
        self.clock.load(Ordering::Relaxed)
    }

    /// Orders only ever get stricter. Says whether it is a new one.
    fn tell(&self, order: Order) -> bool {
        let is_new = self.order.fetch_max(order as u8, Ordering::Relaxed) < order as u8;
        if is_new && let Some(waker) = self.waker.get() {
            waker.wake_by_ref();
        }
        is_new
    }

    fn order(&self) -> Order {
        match self.order.load(Ordering::Relaxed) {
            order if order == Order::Serve as u8 => Order::Serve,
            order if order == Order::HandOver as u8 => Order::HandOver,
            order if order == Order::Close as u8 => Order::Close,
            _ => Order::Cut,
        }
    }
}

/// A connection's own end of its [`Entry`].
pub(crate) struct Guard {
    connections: Arc<Connections>,
    entry: Arc<Entry>,
    key: usize,
    address: IpAddr,
}

impl Guard {
    /// The order in force. `waker` is woken when it changes.
    pub(crate) fn order(&self, waker: &Waker) -> Order {
        // A task keeps its waker for life.
        self.entry.waker.get_or_init(|| waker.clone());
        self.entry.order()
    }

    /// Who would take over this connection now.
    pub(crate) fn heir(&self) -> Option<&Heir> {
        self.connections.heir()
    }

    /// Notes that this connection is on its way to the heir.
    pub(crate) fn is_away(&self) {
        self.entry.away.store(true, Ordering::Relaxed);
    }

    /// Notes that nobody has taken it. Its client's time begins anew: what it did meanwhile, nobody saw.
    pub(crate) fn is_back(&self) {
        self.entry.since.store(self.entry.now(), Ordering::Relaxed);
        self.entry.away.store(false, Ordering::Relaxed);
    }

    /// Where it comes from.
    pub(crate) fn address(&self) -> IpAddr {
        self.address
    }

    /// What the connection is in the middle of. To be asked when it was polled and waits.
    pub(crate) fn rest(&self) -> Rest {
        self.entry.rest()
    }

    /// Notes that this connection speaks HTTP/2.
    pub(crate) fn is_http2(&self) {
        let open = self.connections.lock();
        self.entry.http2.store(true, Ordering::Relaxed);
        self.entry.tell(open.http2);
    }

    /// What the connection's stream and its requests keep, to say what happens.
    pub(crate) fn activity(&self) -> Activity {
        Activity(Arc::clone(&self.entry))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let mut open = self.connections.lock();
        open.entries.remove(self.key);
        open.peers.leave(self.address.into());
        drop(open);
        self.connections.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests;

//! The component, loaded and linked, and what all its requests share.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use http::Request;
use tokio::sync::{Notify, Semaphore, SemaphorePermit};
use wasmcluster_core::app::Serving;

use crate::connections::Activity;
use crate::epoch::Ticker;
use crate::instance::Instances;
use crate::recent::RecentRequests;
use crate::reports::Reports;
use crate::served::Served;

/// Everything a request needs, shared by all connections of a worker.
///
/// There is one, and it lives as long as the process: a request counts no references to it.
pub(crate) struct App {
    pub(crate) instances: Instances,
    pub(crate) serving: Serving,
    pub(crate) reports: Reports,
    pub(crate) ticker: Ticker,
    /// Requests inside the guest. The cap keeps what a crash can lose small; the rest waits.
    pub(crate) places: &'static Semaphore,
    /// Stands in where a client of HTTP/1.0 names no host.
    pub(crate) authority: http::uri::Authority,
    pub(crate) served: Served,
    recent: RecentRequests,
    /// Requests that may still begin to wait for a place.
    turns: Semaphore,
    draining: AtomicBool,
    unfinished: AtomicUsize,
    finished: Notify,
}

impl App {
    pub(crate) fn start(
        instances: Instances,
        serving: Serving,
        reports: Reports,
        ticker: Ticker,
        places: &'static Semaphore,
        authority: http::uri::Authority,
        recent: RecentRequests,
    ) -> &'static Self {
        Box::leak(Box::new(Self {
            instances,
            served: Served::new(serving.max_requests),
            turns: Semaphore::new(
                usize::try_from(serving.max_waiting_requests).unwrap_or(Semaphore::MAX_PERMITS),
            ),
            serving,
            reports,
            ticker,
            places,
            authority,
            recent,
            draining: AtomicBool::new(false),
            unfinished: AtomicUsize::new(0),
            finished: Notify::new(),
        }))
    }

    /// Has a request wait for a place; none if too many do.
    pub(crate) fn wait(&self) -> Option<SemaphorePermit<'_>> {
        self.turns.try_acquire().ok()
    }

    /// From now on every response asks its client to take the next request elsewhere.
    pub(crate) fn start_draining(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Requests that came and whose response is not complete, or whose guest still works.
    pub(crate) fn unfinished(&self) -> usize {
        self.unfinished.load(Ordering::Relaxed)
    }

    /// Returns once nothing is unfinished. For an app that drains.
    pub(crate) async fn idle(&self) {
        loop {
            let finished = self.finished.notified();
            if self.unfinished() == 0 {
                return;
            }
            finished.await;
        }
    }
}

/// Counts one request as unfinished until it is dropped.
pub(crate) struct Ticket {
    app: &'static App,
    /// Of a request: its connection, when it came, and its number.
    request: Option<(Activity, Instant, u64)>,
}

impl Ticket {
    /// For a request on a connection.
    pub(crate) fn of<B>(app: &'static App, activity: Activity, request: &Request<B>) -> Self {
        activity.request_began();
        let mut ticket = Self::detached(app);
        ticket.request = Some((activity, Instant::now(), app.recent.began(request)));
        ticket
    }

    /// For a guest that works on when its connection has its response.
    pub(crate) fn detached(app: &'static App) -> Self {
        app.unfinished.fetch_add(1, Ordering::Relaxed);
        Self { app, request: None }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some((activity, began, number)) = &self.request {
            activity.request_ended();
            self.app.recent.ended(*number);
            self.app.served.ended(began.elapsed());
        }
        if self.app.unfinished.fetch_sub(1, Ordering::Relaxed) == 1 && self.app.is_draining() {
            self.app.finished.notify_waiters();
        }
    }
}

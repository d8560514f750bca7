//! A guest at work on one request, and the time it has.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::Request;
use http::uri::Authority;
use hyper::body::Incoming;
use tokio::sync::SemaphorePermit;
use tokio::task::AbortHandle;
use tokio::time::{Instant, Sleep};
use wasmcluster_core::limit::Limit;
use wasmcluster_core::message::ReportKind;

use crate::app::{App, Ticket};
use crate::body::Patient;
use crate::call::{Call, Exchange, call};
use crate::connections::Activity;
use crate::epoch;
use crate::failure::{Failure, Refusal};
use crate::reached::reached;
use crate::together;

/// A guest's call, its deadline, and its place under the cap. Dropping it cancels the guest.
pub(crate) struct Guest {
    /// `None` when it has ended.
    call: Option<Call>,
    deadline: Deadline,
    place: Option<SemaphorePermit<'static>>,
    /// Whether it was interrupted, and takes so long that others need not wait for it.
    computes: bool,
    exchange: Arc<Exchange>,
    app: &'static App,
}

impl Guest {
    /// Prepares the call. Nothing happens before the first [`poll`](Self::poll).
    pub(crate) fn new(
        app: &'static App,
        exchange: &Arc<Exchange>,
        request: Request<Patient<Incoming>>,
        authority: Authority,
        (place, deadline): (SemaphorePermit<'static>, Deadline),
    ) -> Self {
        app.ticker.touch();
        let call = call(&app.instances, Arc::clone(exchange), request, authority);
        Self {
            call: Some(call),
            deadline,
            place: Some(place),
            computes: false,
            exchange: Arc::clone(exchange),
            app,
        }
    }

    /// Ready once the guest has ended, well or not, or its time has.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        epoch::resumed();
        match self.advance(cx) {
            Poll::Pending => self.poll_deadline(cx).map(Err),
            ended => ended,
        }
    }

    /// Lets the guest work until it waits. Ready once it has ended, well or not.
    pub(crate) fn advance(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        let Some(call) = &mut self.call else { return Poll::Ready(Ok(())) };
        if self.computes {
            together::send_now();
        }
        let yields = epoch::yields();
        let ended = call.as_mut().poll(cx);
        if epoch::yields() != yields {
            self.computes = true;
            together::send_now();
        }
        let ended = ready!(ended);
        self.end();
        Poll::Ready(ended)
    }

    /// Ready once the guest's time has ended, and with it the guest.
    pub(crate) fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<Failure> {
        ready!(self.deadline.poll(cx));
        self.end();
        Poll::Ready(Failure::TimedOut)
    }

    fn end(&mut self) {
        self.call = None;
        self.place = None;
    }

    /// Lets a guest that works on after its response do so, within its time.
    pub(crate) fn finish_alone(mut self, cx: &mut Context<'_>) {
        match self.poll(cx) {
            Poll::Ready(ended) => self.app.report_if_failed(ended, &self.exchange.signature.id),
            Poll::Pending => {
                let ticket = Ticket::detached(self.app);
                tokio::spawn(async move {
                    let ended = poll_fn(|cx| self.poll(cx)).await;
                    self.app.report_if_failed(ended, &self.exchange.signature.id);
                    drop(ticket);
                });
            }
        }
    }
}

/// A guest whose time ends even if nobody polls it: a client that stops reading stops its response from being polled,
/// and with it the guest's own deadline.
pub(crate) struct Leash {
    /// `None` when the time was up.
    guest: Arc<Mutex<Option<Guest>>>,
    activity: Activity,
    at: Option<Instant>,
    /// Armed for a guest that has a deadline.
    timer: Option<AbortHandle>,
}

impl Leash {
    pub(crate) fn new(mut guest: Guest, activity: Activity) -> Self {
        // Two clocks would race for who says that the time is up.
        let at = guest.deadline.suspend();
        let guest = Arc::new(Mutex::new(Some(guest)));
        let timer = at.map(|at| {
            let (guest, activity) = (Arc::clone(&guest), activity.clone());
            let end = async move {
                tokio::time::sleep_until(at).await;
                if let Some(guest) = lock(&guest).take_if(|guest| guest.call.is_some()) {
                    activity.response_overdue();
                    guest.app.report(&Failure::TimedOut, &guest.exchange.signature.id);
                }
            };
            tokio::spawn(end).abort_handle()
        });
        Self { guest, activity, at, timer }
    }

    /// As [`Guest::poll`]; a guest whose time was up has timed out.
    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        match &mut *lock(&self.guest) {
            Some(guest) => guest.poll(cx),
            None => Poll::Ready(Err(Failure::TimedOut)),
        }
    }

    /// Whether the time was up before the guest's end.
    pub(crate) fn timed_out(&self) -> bool {
        lock(&self.guest).is_none()
    }

    /// The guest, with its own deadline again.
    pub(crate) fn release(mut self) -> Option<Guest> {
        self.disarm();
        let mut guest = lock(&self.guest).take()?;
        guest.deadline.resume(self.at);
        Some(guest)
    }

    fn disarm(&mut self) {
        if let Some(timer) = self.timer.take() {
            timer.abort();
            if self.timed_out() {
                self.activity.overdue_response_ended();
            }
        }
    }
}

impl Drop for Leash {
    fn drop(&mut self) {
        self.disarm();
    }
}

/// Held only while the guest is polled or taken, on the one thread there is.
fn lock(guest: &Mutex<Option<Guest>>) -> MutexGuard<'_, Option<Guest>> {
    guest.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The wall clock of one request. It bounds computing too: a guest that computes is interrupted at every tick, and its
/// call is pending then.
///
/// It starts when the request first waits, which is at the first tick at the latest. Most requests never do, and never
/// look at a clock.
pub(crate) struct Deadline {
    timeout: Option<Duration>,
    /// `None` until it has started.
    at: Option<Instant>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Deadline {
    /// `None` is without end.
    pub(crate) fn after(timeout: Option<Duration>) -> Self {
        Self { timeout, at: None, sleep: None }
    }

    fn at(&mut self) -> Option<Instant> {
        if self.at.is_none() {
            self.at = self.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        }
        self.at
    }

    /// Stops the clock; says when it would have struck.
    fn suspend(&mut self) -> Option<Instant> {
        let at = self.at();
        *self = Self::after(None);
        at
    }

    fn resume(&mut self, at: Option<Instant>) {
        self.at = at;
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(at) = self.at() else { return Poll::Pending };
        self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at))).as_mut().poll(cx)
    }

    /// Waits for a place under the cap.
    ///
    /// # Errors
    /// Fails when none came free in time.
    pub(crate) async fn place(&mut self, app: &'static App) -> Result<SemaphorePermit<'static>, Refusal> {
        let acquired = match self.at() {
            Some(at) => tokio::time::timeout_at(at, app.places.acquire()).await.ok(),
            None => Some(app.places.acquire().await),
        };
        acquired.and_then(Result::ok).ok_or_else(|| {
            reached(Limit::Timeout);
            app.reports.say(
                ReportKind::Timeout,
                format!("a request waited longer than {:?} for its turn", self.timeout.unwrap_or_default()),
                Some("raise `--instances` or `--max-concurrent-requests`".into()),
            );
            Refusal::busy()
        })
    }
}

//! A guest at work on one request, and the time it has.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Request;
use http::uri::Authority;
use hyper::body::Incoming;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep};
use wasmcluster_core::message::ReportKind;

use crate::app::{App, Ticket};
use crate::body::Patient;
use crate::call::{Exchange, call};
use crate::failure::{Failure, Refusal};

/// A guest's call, its deadline, and its place under the cap. Dropping it cancels the guest.
pub(crate) struct Guest {
    /// `None` when it has ended.
    call: Option<Pin<Box<dyn Future<Output = Result<(), Failure>> + Send>>>,
    deadline: Deadline,
    permit: Option<OwnedSemaphorePermit>,
    app: Arc<App>,
}

impl Guest {
    /// Prepares the call. Nothing happens before the first [`poll`](Self::poll).
    pub(crate) fn new(
        app: &Arc<App>,
        exchange: &Arc<Exchange>,
        request: Request<Patient<Incoming>>,
        authority: Authority,
        (permit, deadline): (OwnedSemaphorePermit, Deadline),
    ) -> Self {
        app.ticker.touch();
        let (own, exchange) = (Arc::clone(app), Arc::clone(exchange));
        let call = Box::pin(async move { call(&own.instances, exchange, request, authority).await });
        Self { call: Some(call), deadline, permit: Some(permit), app: Arc::clone(app) }
    }

    /// Ready once the guest has ended, well or not, or its time has.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        let Some(call) = &mut self.call else { return Poll::Ready(Ok(())) };
        let ended = match call.as_mut().poll(cx) {
            Poll::Ready(ended) => ended,
            Poll::Pending if self.deadline.poll(cx).is_ready() => Err(Failure::TimedOut),
            Poll::Pending => return Poll::Pending,
        };
        self.call = None;
        self.permit = None;
        Poll::Ready(ended)
    }

    /// Lets a guest that works on after its response do so, within its time.
    pub(crate) fn finish_alone(mut self, cx: &mut Context<'_>) {
        match self.poll(cx) {
            Poll::Ready(ended) => self.app.report_if_failed(ended),
            Poll::Pending => {
                let ticket = Ticket::detached(&self.app);
                tokio::spawn(async move {
                    let ended = poll_fn(|cx| self.poll(cx)).await;
                    self.app.report_if_failed(ended);
                    drop(ticket);
                });
            }
        }
    }
}

/// The wall clock of one request. It bounds computing too: a guest that computes is interrupted at every tick, and its
/// call is pending then.
pub(crate) struct Deadline {
    at: Option<Instant>,
    timeout: Duration,
    /// Made when the request first waits: most never do.
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Deadline {
    /// `None` is without end.
    pub(crate) fn after(timeout: Option<Duration>) -> Self {
        let at = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        Self { at, timeout: timeout.unwrap_or_default(), sleep: None }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(at) = self.at else { return Poll::Pending };
        self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at))).as_mut().poll(cx)
    }

    /// Waits for a place under the cap.
    ///
    /// # Errors
    /// Fails when none came free in time.
    pub(crate) async fn permit(&self, app: &App) -> Result<OwnedSemaphorePermit, Refusal> {
        if let Ok(permit) = Arc::clone(&app.permits).try_acquire_owned() {
            return Ok(permit);
        }
        let acquire = Arc::clone(&app.permits).acquire_owned();
        let acquired = match self.at {
            Some(at) => tokio::time::timeout_at(at, acquire).await.ok(),
            None => Some(acquire.await),
        };
        acquired.and_then(Result::ok).ok_or_else(|| {
            app.reports.say(
                ReportKind::Timeout,
                format!("a request waited longer than {:?} for its turn", self.timeout),
                Some("raise --instances or --max-concurrent-requests".into()),
            );
            Refusal::busy()
        })
    }
}

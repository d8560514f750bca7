//! What a guest may send to others while it serves one request.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use wasmcluster_core::app::GuestLimits;
use wasmcluster_core::limit::Limit;
use wasmcluster_core::message::ReportKind;
use wasmtime_wasi_http::{Error, WasiBody};

use crate::reached::reached;
use crate::reports::Reports;

/// What is left of it. Made when a guest sends its first request; most never do.
pub(crate) struct Budget {
    limits: GuestLimits,
    reports: Reports,
    requests: AtomicU32,
    under_way: AtomicU32,
    /// Bytes that may still go out.
    room: AtomicU64,
    /// What was too much is counted and said once: a guest may try again a million times.
    said: AtomicBool,
}

/// A request that is under way, until this is dropped.
pub(crate) struct UnderWay(Arc<Budget>);

impl Budget {
    pub(crate) fn new(limits: &GuestLimits, reports: &Reports) -> Arc<Self> {
        Arc::new(Self {
            limits: *limits,
            reports: reports.clone(),
            requests: AtomicU32::new(0),
            under_way: AtomicU32::new(0),
            room: AtomicU64::new(limits.outbound_size.unwrap_or(u64::MAX)),
            said: AtomicBool::new(false),
        })
    }

    /// Lets one more request go.
    ///
    /// # Errors
    /// Fails with what the guest is told.
    pub(crate) fn request(self: &Arc<Self>) -> Result<UnderWay, Error> {
        let most = self.limits.outbound_requests;
        if self.requests.fetch_add(1, Ordering::Relaxed) >= most {
            self.requests.store(most, Ordering::Relaxed);
            let message = format!("the guest asked for more than {most} requests while it serves one");
            return Err(self.too_much(Limit::MaxOutboundRequests, message));
        }
        let under_way = UnderWay(Arc::clone(self));
        let most = self.limits.concurrent_outbound_requests;
        if self.under_way.fetch_add(1, Ordering::Relaxed) >= most {
            let message = format!("the guest asked for more than {most} requests at once");
            return Err(self.too_much(Limit::MaxConcurrentOutboundRequests, message));
        }
        Ok(under_way)
    }

    fn too_much(&self, limit: Limit, message: String) -> Error {
        if !self.said.swap(true, Ordering::Relaxed) {
            reached(limit);
            let hint = format!("raise `--{limit}` if that is to be expected");
            self.reports.say(ReportKind::Limit, message, Some(hint));
        }
        match limit {
            Limit::MaxOutboundSize => Error::HttpRequestBodySize(None),
            _ => Error::HttpRequestDenied,
        }
    }

    /// Lets so many bytes go.
    fn spend(&self, bytes: u64) -> Result<(), Error> {
        let less = |room: u64| room.checked_sub(bytes);
        match self.room.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less) {
            Ok(_) => Ok(()),
            Err(_) => {
                let most = self.limits.outbound_size.unwrap_or(u64::MAX);
                let message = format!("the guest sent more than {most} bytes while it serves one request");
                Err(self.too_much(Limit::MaxOutboundSize, message))
            }
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The body of a request that goes out on a budget.
pub(crate) struct Budgeted {
    body: WasiBody,
    budget: Arc<Budget>,
}

impl Budgeted {
    pub(crate) fn new(body: WasiBody, budget: Arc<Budget>) -> Self {
        Self { body, budget }
    }
}

impl Body for Budgeted {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
            && let Err(error) = self.budget.spend(data.len() as u64)
        {
            return Poll::Ready(Some(Err(error)));
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(requests: u32, at_once: u32, size: u64) -> Arc<Budget> {
        let limits = GuestLimits {
            memory_size: 0,
            table_elements: 0,
            core_instances: 0,
            resources: 0,
            hostcall_size: 0,
            field_size: 0,
            outbound_requests: requests,
            concurrent_outbound_requests: at_once,
            outbound_size: Some(size),
            log_lines: 0,
            log_size: 0,
        };
        Budget::new(&limits, &Reports::new().0)
    }

    #[test]
    fn so_many_requests_go_and_no_more() {
        let budget = budget(3, 10, 0);
        assert!((0..3).all(|_| budget.request().is_ok()));
        assert!((0..3).all(|_| budget.request().is_err()));
    }

    #[test]
    fn so_many_are_under_way_at_once_and_those_that_end_make_room() {
        let budget = budget(100, 2, 0);
        let under_way: Vec<_> = (0..3).filter_map(|_| budget.request().ok()).collect();
        assert_eq!(under_way.len(), 2);
        drop(under_way);
        assert!(budget.request().is_ok());
    }

    #[test]
    fn so_many_bytes_go_and_a_piece_that_does_not_fit_leaves_the_room_as_it_was() {
        let budget = budget(1, 1, 10);
        assert!(budget.spend(6).is_ok());
        assert!(budget.spend(5).is_err());
        assert!(budget.spend(4).is_ok());
        assert!(budget.spend(1).is_err());
    }
}

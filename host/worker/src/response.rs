//! The body of a response: what the guest had written when its head was sent, then what it still writes.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use wasmtime_wasi_http::WasiBody;

use crate::app::{App, Ticket};
use crate::call::Exchange;
use crate::connections::Activity;
use crate::failure::Failure;
use crate::guest::{Guest, Leash};

/// How much of a response is gathered before its head is sent, in bytes. A body that ends within goes out with its
/// length, in one piece.
const GATHER: usize = 64 << 10;

/// The body of every response.
#[derive(Default)]
pub(crate) struct ResponseBody {
    data: Bytes,
    trailers: Option<HeaderMap>,
    rest: Option<Rest<Leash>>,
    ticket: Option<Ticket>,
}

/// The guest failed after the head was sent: all that is left is to end the connection before the body is complete.
#[derive(Debug, thiserror::Error)]
#[error("the handler failed in the middle of its response")]
pub(crate) struct Cut;

/// A body that is not complete, and the guest that writes it: a [`Guest`] until the head is sent, then on a [`Leash`].
pub(crate) struct Rest<G = Guest> {
    pub(crate) app: Arc<App>,
    pub(crate) guest: G,
    pub(crate) body: WasiBody,
    pub(crate) exchange: Arc<Exchange>,
    pub(crate) activity: Activity,
}

impl ResponseBody {
    /// A body that is complete.
    pub(crate) fn full(data: Bytes) -> Self {
        Self { data, ..Self::default() }
    }

    /// Takes what the guest has written by now, and lets it write on for as long as it does so without waiting.
    /// Most bodies are complete after this.
    ///
    /// # Errors
    /// Fails when the guest or its body did: nothing was sent yet, so the client can be told.
    pub(crate) fn gather(mut rest: Rest, cx: &mut Context<'_>) -> Result<Self, Failure> {
        let mut gathered = Self::default();
        loop {
            match gathered.take_written(&mut rest.body)? {
                Written::Everything => {
                    rest.exchange.end_body();
                    rest.guest.finish_alone(cx);
                    return Ok(gathered);
                }
                Written::Some if gathered.data.len() < GATHER => {
                    if let Poll::Ready(ended) = rest.guest.poll(cx) {
                        ended?;
                    }
                }
                Written::Some | Written::Nothing => break,
            }
        }
        let Rest { app, guest, body, exchange, activity } = rest;
        let guest = Leash::new(guest, activity.clone());
        gathered.rest = Some(Rest { app, guest, body, exchange, activity });
        Ok(gathered)
    }

    /// What is left of a response to HEAD: its length, if it is known, and no body.
    ///
    /// hyper drops the body for HTTP/1.1, but sends it over HTTP/2.
    pub(crate) fn head_only(self) -> (Option<usize>, Self) {
        let length = (self.rest.is_none() && self.trailers.is_none()).then_some(self.data.len());
        (length, Self { ticket: self.ticket, ..Self::default() })
    }

    /// Whether all of it is here.
    pub(crate) fn is_complete(&self) -> bool {
        self.rest.is_none()
    }

    /// Counts the request as unfinished until this body is dropped.
    pub(crate) fn hold(&mut self, ticket: Ticket) {
        self.ticket = Some(ticket);
    }

    /// Moves frames out of the guest's channel to here, until there are none or they are enough.
    fn take_written(&mut self, body: &mut WasiBody) -> Result<Written, Failure> {
        let mut written = Written::Nothing;
        while self.data.len() < GATHER {
            // No waker: the guest that would wake us is polled by us next, and whoever polls the rest brings its own.
            match poll_unbudgeted(body, &mut Context::from_waker(Waker::noop())) {
                Poll::Ready(Some(frame)) => self.append(frame.map_err(|error| body_failed(&error))?),
                Poll::Ready(None) => return Ok(Written::Everything),
                Poll::Pending => break,
            }
            written = Written::Some;
        }
        Ok(written)
    }

    fn append(&mut self, frame: Frame<Bytes>) {
        match frame.into_data() {
            Ok(data) if self.data.is_empty() => self.data = data,
            Ok(data) => {
                let so_far = std::mem::take(&mut self.data);
                let mut joined = so_far.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
                joined.extend_from_slice(&data);
                self.data = joined.freeze();
            }
            Err(frame) => self.trailers = frame.into_trailers().ok(),
        }
    }
}

/// What there was to take of a body.
enum Written {
    Nothing,
    Some,
    Everything,
}

/// Polls a body without tokio's budget: a spent one makes a channel that holds a frame look empty, and a complete
/// response look unfinished.
fn poll_unbudgeted(
    body: &mut WasiBody,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Frame<Bytes>, wasmtime_wasi_http::Error>>> {
    pin!(tokio::task::coop::unconstrained(poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)))).poll(cx)
}

fn body_failed(error: &wasmtime_wasi_http::Error) -> Failure {
    Failure::NoAnswer(format!("the response's body failed: {error}"))
}

impl Rest<Leash> {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        let frame = match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(frame) => frame,
            Poll::Pending => {
                if let Poll::Ready(Err(failure)) = self.guest.poll(cx) {
                    return Poll::Ready(Some(Err(failure)));
                }
                // The guest writes when it is polled.
                ready!(Pin::new(&mut self.body).poll_frame(cx))
            }
        };
        match frame {
            // A guest that was ended left its body as one that finished does.
            None if self.guest.timed_out() => Poll::Ready(Some(Err(Failure::TimedOut))),
            frame => Poll::Ready(frame.map(|frame| frame.map_err(|error| body_failed(&error)))),
        }
    }
}

impl ResponseBody {
    /// The body was read to its end; its guest may not be at its own.
    fn end(&mut self, cx: &mut Context<'_>) {
        if let Some(rest) = self.rest.take() {
            rest.exchange.end_body();
            if let Some(guest) = rest.guest.release() {
                guest.finish_alone(cx);
            }
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        if !self.data.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.data)))));
        }
        if let Some(rest) = &mut self.rest {
            match ready!(rest.poll_frame(cx)) {
                Some(Ok(frame)) => return Poll::Ready(Some(Ok(frame))),
                Some(Err(failure)) => {
                    // The leash that ended a guest's time has said so; a client that fell silent is no news.
                    if !matches!(failure, Failure::TimedOut) && !rest.exchange.uploaded().failed() {
                        rest.app.report(&failure);
                    }
                    self.rest = None;
                    return Poll::Ready(Some(Err(Cut)));
                }
                None => self.end(cx),
            }
        }
        Poll::Ready(self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_empty() && self.rest.is_none() && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        if self.rest.is_none() && self.trailers.is_none() {
            SizeHint::with_exact(self.data.len() as u64)
        } else {
            SizeHint::default()
        }
    }
}

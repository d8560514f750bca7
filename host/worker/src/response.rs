//! The body of a response: what was gathered before its head was sent, then what its guest still writes.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::Response;
use http_body::{Body, Frame, SizeHint};
use wasmtime_wasi_http::WasiBody;

use crate::answer::{self, Answer, Gathered};
use crate::app::{App, Ticket};
use crate::call::Exchange;
use crate::connections::Activity;
use crate::failure::Failure;
use crate::guest::{Guest, Leash};
use crate::pace::Pace;

/// The body of every response.
#[derive(Default)]
pub(crate) struct ResponseBody {
    gathered: Gathered,
    rest: Option<Box<Rest>>,
    ticket: Option<Ticket>,
}

/// The guest failed after the head was sent: all that is left is to end the connection before the body is complete.
#[derive(Debug, thiserror::Error)]
#[error("the handler failed in the middle of its response")]
pub(crate) struct Cut;

/// A body that is not complete, and the guest that writes it.
struct Rest {
    app: &'static App,
    guest: Leash,
    body: WasiBody,
    exchange: Arc<Exchange>,
    pace: Pace,
}

impl ResponseBody {
    /// A body that is complete.
    pub(crate) fn full(data: Bytes) -> Self {
        Self { gathered: Gathered { data, trailers: None }, ..Self::default() }
    }

    /// Whether all of it is here.
    pub(crate) fn is_complete(&self) -> bool {
        self.rest.is_none()
    }

    /// Counts the request as unfinished until this body is dropped.
    pub(crate) fn hold(&mut self, ticket: Ticket) {
        self.ticket = Some(ticket);
    }

    /// What is left of a response to HEAD: its length, if it is known, and no body.
    ///
    /// hyper drops the body for HTTP/1.1, but sends it over HTTP/2.
    pub(crate) fn head_only(self) -> (Option<usize>, Self) {
        let length =
            (self.rest.is_none() && self.gathered.trailers.is_none()).then_some(self.gathered.data.len());
        (length, Self { ticket: self.ticket, ..Self::default() })
    }
}

/// Makes a response of a guest's answer, from which was gathered what the guest wrote without waiting. Most bodies are
/// complete by then.
pub(crate) fn response(
    app: &'static App,
    answer: Answer,
    guest: Guest,
    (exchange, activity): (&Arc<Exchange>, &Activity),
    cx: &mut Context<'_>,
) -> Response<ResponseBody> {
    let complete = answer.is_complete();
    let Answer { head, gathered, body, .. } = answer;
    let rest = if complete {
        exchange.end_body();
        guest.finish_alone(cx);
        None
    } else {
        let guest = Leash::new(guest, activity.clone());
        let pace = Pace::new(&app.serving, gathered.data.len());
        Some(Box::new(Rest { app, guest, body, exchange: Arc::clone(exchange), pace }))
    };
    Response::from_parts(head, ResponseBody { gathered, rest, ticket: None })
}

impl Rest {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        ready!(self.pace.poll(cx));
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
            Some(Err(error)) => Poll::Ready(Some(Err(Failure::NoAnswer(answer::failed(&error))))),
            Some(Ok(frame)) if !self.pace.sends(frame.data_ref().map_or(0, Bytes::len)) => {
                Poll::Ready(Some(Err(Failure::ResponseTooLarge)))
            }
            Some(Ok(frame)) => Poll::Ready(Some(Ok(frame))),
            None => Poll::Ready(None),
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
        if !self.gathered.data.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.gathered.data)))));
        }
        if let Some(rest) = &mut self.rest {
            match ready!(rest.poll_frame(cx)) {
                Some(Ok(frame)) => return Poll::Ready(Some(Ok(frame))),
                Some(Err(failure)) => {
                    // The leash that ended a guest's time has said so; a client that fell silent is no news.
                    if !matches!(failure, Failure::TimedOut) && !rest.exchange.uploaded().failed() {
                        rest.app.report(&failure, &rest.exchange.signature.id);
                    }
                    self.rest = None;
                    return Poll::Ready(Some(Err(Cut)));
                }
                None => self.end(cx),
            }
        }
        Poll::Ready(self.gathered.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_none() && self.gathered.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        if self.rest.is_none() && self.gathered.trailers.is_none() {
            SizeHint::with_exact(self.gathered.data.len() as u64)
        } else {
            SizeHint::default()
        }
    }
}

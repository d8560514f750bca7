//! What a guest has answered so far: the head, and what of the body was taken out of the guest before the head is sent.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use http::header::CONTENT_LENGTH;
use http::response::Parts;
use http::{HeaderMap, Response};
use http_body::{Body, Frame};
use wasmtime_wasi_http::{Error, WasiBody};

/// How much of a response is gathered before its head is sent, in bytes. A body that ends within goes out with its
/// length, in one piece.
const GATHER: usize = 64 << 10;

/// A guest's answer. Nothing of it was sent yet.
pub(crate) struct Answer {
    pub(crate) head: Parts,
    pub(crate) gathered: Gathered,
    /// What the guest still writes, if it does.
    pub(crate) body: WasiBody,
    complete: bool,
}

/// The beginning of a body, or all of it.
#[derive(Default)]
pub(crate) struct Gathered {
    pub(crate) data: Bytes,
    pub(crate) trailers: Option<HeaderMap>,
}

/// What there was to take of a body.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    Nothing,
    Some,
    /// As much as is gathered.
    Enough,
    /// All that there will be.
    Everything,
}

impl From<Response<WasiBody>> for Answer {
    fn from(response: Response<WasiBody>) -> Self {
        let (head, body) = response.into_parts();
        Self { head, gathered: Gathered::default(), body, complete: false }
    }
}

impl Answer {
    /// Whether all of the body was gathered.
    pub(crate) fn is_complete(&self) -> bool {
        self.complete
    }

    /// Whether it has more than `most` bytes, as far as it is known.
    pub(crate) fn is_larger_than(&self, most: u64) -> bool {
        let declared = self.head.headers.get(CONTENT_LENGTH);
        let declared = declared.and_then(|length| length.to_str().ok()?.parse().ok()).unwrap_or(0);
        most < declared || most < self.gathered.data.len() as u64
    }

    /// Takes what the guest has written by now.
    ///
    /// # Errors
    /// Says in words how the body failed.
    pub(crate) fn gather(&mut self) -> Result<Taken, String> {
        let mut taken = Taken::Nothing;
        while !self.complete {
            if self.gathered.data.len() >= GATHER {
                return Ok(Taken::Enough);
            }
            // No waker: the guest that would wake us is polled by us next, and whoever polls the rest brings its own.
            match poll_unbudgeted(&mut self.body, &mut Context::from_waker(Waker::noop())) {
                Poll::Ready(Some(frame)) => {
                    self.gathered.append(frame.map_err(|error| failed(&error))?);
                    taken = Taken::Some;
                }
                Poll::Ready(None) => self.complete = true,
                Poll::Pending => return Ok(taken),
            }
        }
        Ok(Taken::Everything)
    }
}

impl Gathered {
    pub(crate) fn is_empty(&self) -> bool {
        self.data.is_empty() && self.trailers.is_none()
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

/// How a guest's body failed, in words.
pub(crate) fn failed(error: &Error) -> String {
    format!("the response's body failed: {error}")
}

/// Polls a body without tokio's budget: a spent one makes a channel that holds a frame look empty, and a complete
/// response look unfinished.
fn poll_unbudgeted(body: &mut WasiBody, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
    pin!(tokio::task::coop::unconstrained(poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)))).poll(cx)
}

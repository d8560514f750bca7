//! A body whose sender may neither be silent nor go on for ever.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Sleep;
use wasmcluster_core::limit::Limit;
use wasmtime_wasi_http::Error;

use crate::call::{Exchange, Upload};
use crate::reached::reached;

/// A body that fails when no frame comes for `patience`.
///
/// The clock runs only while somebody waits for a frame: a guest that reads slowly is not the client's fault.
pub(crate) struct Patient<B> {
    body: B,
    patience: Duration,
    waiting: Option<Pin<Box<Sleep>>>,
    /// How many bytes there may still be.
    room: u64,
    exchange: Option<Arc<Exchange>>,
}

impl<B> Patient<B> {
    pub(crate) fn new(body: B, patience: Duration) -> Self {
        Self { body, patience, waiting: None, room: u64::MAX, exchange: None }
    }

    /// Fails when there are more bytes than `most`.
    pub(crate) fn at_most(mut self, most: Option<u64>) -> Self {
        self.room = most.unwrap_or(u64::MAX);
        self
    }

    /// Tells `exchange` how reading the body ends.
    pub(crate) fn telling(mut self, exchange: Arc<Exchange>) -> Self {
        self.exchange = Some(exchange);
        self
    }

    fn tell(&self, upload: Upload) {
        if let Some(exchange) = &self.exchange {
            if upload == Upload::Stalled {
                reached(Limit::BodyTimeout);
            }
            exchange.upload(upload);
        }
    }
}

impl<B> Body for Patient<B>
where
    B: Body<Data = Bytes> + Unpin,
    Error: From<B::Error>,
{
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = self.get_mut();
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) {
            this.waiting = None;
            if let Some(Ok(frame)) = &frame
                && let Some(data) = frame.data_ref()
            {
                match this.room.checked_sub(data.len() as u64) {
                    Some(room) => this.room = room,
                    None => {
                        this.tell(Upload::TooLarge);
                        return Poll::Ready(Some(Err(Error::HttpRequestBodySize(None))));
                    }
                }
            }
            match &frame {
                None => this.tell(Upload::Complete),
                Some(Err(_)) => this.tell(Upload::Broken),
                Some(Ok(_)) if this.body.is_end_stream() => this.tell(Upload::Complete),
                Some(Ok(_)) => {}
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(Error::from)));
        }
        let waiting = this.waiting.get_or_insert_with(|| Box::pin(tokio::time::sleep(this.patience)));
        ready!(waiting.as_mut().poll(cx));
        this.waiting = None;
        this.tell(Upload::Stalled);
        Poll::Ready(Some(Err(Error::ConnectionReadTimeout)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

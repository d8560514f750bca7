//! Bodies of responses of 0.2, on their way from a guest to its connection.
//!
//! The stock body is a channel for the bytes and one for its end, and a guest that writes waits in half a dozen futures, each
//! in a box of its own. Both sides are on one thread here, so a queue and two wakers do.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource, ResourceTable, ResourceType};
use wasmtime_wasi::async_trait;
use wasmtime_wasi::p2::{DynOutputStream, OutputStream, Pollable, StreamError, StreamResult};
use wasmtime_wasi_http::p2::bindings::http::types::{self, ErrorCode};
use wasmtime_wasi_http::p2::body::HostOutgoingBody;
use wasmtime_wasi_http::p2::types::HostOutgoingResponse;
use wasmtime_wasi_http::{Error, FieldMap, WasiHttpView};

use crate::state::State;

/// Writes that wait to be sent before the guest has to wait, and the bytes of each at most: as with the stock body.
const MOST_WRITES: usize = 2;
const MOST_BYTES: usize = 1 << 20;

/// Puts our way to write a response's body in the place of the stock one, which requests keep.
///
/// # Errors
/// Fails only if the stock one is not there, which would be a bug of ours.
pub(crate) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    type Store<'a> = StoreContextMut<'a, State>;
    linker.allow_shadowing(true);
    let mut types = linker.instance("wasi:http/types@0.2.12")?;
    types.func_wrap(
        "[method]outgoing-response.body",
        |mut store: Store<'_>, (response,): (Resource<HostOutgoingResponse>,)| {
            let state = store.data_mut();
            let head_only = state.head_only();
            Ok((begin(state.http().table, &response, head_only)?,))
        },
    )?;
    types.func_wrap(
        "[method]outgoing-body.write",
        |mut store: Store<'_>, (body,): (Resource<HostOutgoingBody>,)| Ok((write(store.data_mut(), body)?,)),
    )?;
    types.func_wrap(
        "[static]outgoing-body.finish",
        |mut store: Store<'_>, (body, trailers): (Resource<HostOutgoingBody>, Option<Resource<FieldMap>>)| {
            Ok((finish(store.data_mut(), body, trailers)?,))
        },
    )?;
    let resource = ResourceType::host::<HostOutgoingBody>();
    types.resource("outgoing-body", resource, |mut store, body| drop_body(store.data_mut(), body))?;
    linker.allow_shadowing(false);
    Ok(())
}

/// One that a guest is to write. What the guest knows as `outgoing-body` is this or the stock one.
struct Outgoing {
    queue: Shared,
    written_to: bool,
}

impl Outgoing {
    /// Where it is in the table, under the name that the guest has for it.
    fn at(body: &Resource<HostOutgoingBody>) -> Resource<Self> {
        Resource::new_own(body.rep())
    }
}

impl Drop for Outgoing {
    /// A guest that is gone may have left without a word. Whether that was an error is seen by how it went.
    fn drop(&mut self) {
        self.queue.end(End::Complete);
    }
}

type Begun = Result<Resource<HostOutgoingBody>, ()>;

fn begin(
    table: &mut ResourceTable,
    response: &Resource<HostOutgoingResponse>,
    head_only: bool,
) -> wasmtime::Result<Begun> {
    let response = table.get_mut(response)?;
    let Ok(length) = declared(&response.headers) else { return Ok(Err(())) };
    // What a response to HEAD declares is the length of what GET would get.
    let length = length.filter(|_| !head_only);
    if response.body.is_some() {
        return Ok(Err(()));
    }
    let queue = Shared(Arc::new(Mutex::new(Queue { length, ..Queue::default() })));
    response.body = Some(Incoming(queue.clone()).boxed_unsync());
    let body = table.push(Outgoing { queue, written_to: false })?;
    Ok(Ok(Resource::new_own(body.rep())))
}

/// The length that a response says it has, if it says so.
fn declared(headers: &HeaderMap) -> Result<Option<u64>, ()> {
    let mut values = headers.get_all(CONTENT_LENGTH).iter();
    let (value, second) = (values.next(), values.next());
    let Some(value) = value else { return Ok(None) };
    let digits = value.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    match (digits.and_then(|digits| digits.parse().ok()), second) {
        (Some(length), None) => Ok(Some(length)),
        _ => Err(()),
    }
}

fn write(
    state: &mut State,
    body: Resource<HostOutgoingBody>,
) -> wasmtime::Result<Result<Resource<DynOutputStream>, ()>> {
    let mut http = state.http();
    let ours = Outgoing::at(&body);
    let Ok(outgoing) = http.table.get_mut(&ours) else {
        return types::HostOutgoingBody::write(&mut http, body);
    };
    if std::mem::replace(&mut outgoing.written_to, true) {
        return Ok(Err(()));
    }
    let stream: DynOutputStream = Box::new(Writing(outgoing.queue.clone()));
    Ok(Ok(http.table.push_child(stream, &ours)?))
}

fn finish(
    state: &mut State,
    body: Resource<HostOutgoingBody>,
    trailers: Option<Resource<FieldMap>>,
) -> wasmtime::Result<Result<(), ErrorCode>> {
    let mut http = state.http();
    let ours = Outgoing::at(&body);
    if http.table.get(&ours).is_err() {
        let finished = types::HostOutgoingBody::finish(&mut http, body, trailers);
        return finished.map_or_else(|error| Ok(Err(error.downcast()?)), |()| Ok(Ok(())));
    }
    let outgoing = http.table.delete(ours)?;
    let trailers = trailers.map(|trailers| http.table.delete(trailers)).transpose()?;
    // Not in the condition: the queue would be locked until the end of the block.
    let wrong = outgoing.queue.lock().wrong_length();
    if let Some(written) = wrong {
        outgoing.queue.end(End::Broken);
        return Ok(Err(ErrorCode::HttpResponseBodySize(Some(written))));
    }
    outgoing.queue.end(trailers.map_or(End::Complete, |trailers| End::Trailers(trailers.into())));
    Ok(Ok(()))
}

/// A guest that drops a body has not finished it.
fn drop_body(state: &mut State, body: u32) -> wasmtime::Result<()> {
    let mut http = state.http();
    let body = Resource::<HostOutgoingBody>::new_own(body);
    let ours = Outgoing::at(&body);
    if http.table.get(&ours).is_err() {
        return types::HostOutgoingBody::drop(&mut http, body);
    }
    http.table.delete(ours)?.queue.end(End::Broken);
    Ok(())
}

/// What was written and is not yet read.
#[derive(Default)]
struct Queue {
    writes: VecDeque<Bytes>,
    /// None while more may come.
    end: Option<End>,
    /// Nobody will read what is still to come.
    abandoned: bool,
    /// The length that there is to be, if that was said, and the bytes up to now.
    length: Option<u64>,
    written: u64,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

enum End {
    Complete,
    Trailers(HeaderMap),
    Broken,
}

impl Queue {
    /// How much was written, if that is not what was said.
    fn wrong_length(&self) -> Option<u64> {
        self.length.is_some_and(|length| length != self.written).then_some(self.written)
    }

    fn is_full(&self) -> bool {
        self.writes.len() >= MOST_WRITES
    }
}

/// A [`Queue`] with two ends. Locked for moments, on the one thread there is.
#[derive(Clone)]
struct Shared(Arc<Mutex<Queue>>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends it, if that was not done before.
    fn end(&self, end: End) {
        let reader = {
            let mut queue = self.lock();
            if queue.end.is_some() {
                return;
            }
            queue.end = Some(end);
            queue.reader.take()
        };
        wake(reader);
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// Leaves word for who waits. Most wait where they did before.
fn wait(place: &mut Option<Waker>, cx: &Context<'_>) {
    match place {
        Some(waker) => waker.clone_from(cx.waker()),
        None => *place = Some(cx.waker().clone()),
    }
}

/// The end that the connection reads.
struct Incoming(Shared);

impl Body for Incoming {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let mut queue = self.0.lock();
        if let Some(bytes) = queue.writes.pop_front() {
            let writer = queue.writer.take();
            drop(queue);
            wake(writer);
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        match queue.end.replace(End::Complete) {
            Some(End::Complete) => Poll::Ready(None),
            Some(End::Trailers(trailers)) => Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
            Some(End::Broken) => Poll::Ready(Some(Err(Error::HttpProtocolError))),
            None => {
                queue.end = None;
                wait(&mut queue.reader, cx);
                Poll::Pending
            }
        }
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        let writer = {
            let mut queue = self.0.lock();
            queue.abandoned = true;
            queue.writes.clear();
            queue.writer.take()
        };
        wake(writer);
    }
}

/// The end that a guest writes to.
struct Writing(Shared);

impl Writing {
    /// Ready when something can be written, or nothing ever will.
    fn poll_ready(&self, cx: &Context<'_>) -> Poll<()> {
        let mut queue = self.0.lock();
        if queue.abandoned || !queue.is_full() {
            return Poll::Ready(());
        }
        wait(&mut queue.writer, cx);
        Poll::Pending
    }
}

#[async_trait]
impl OutputStream for Writing {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        let mut queue = self.0.lock();
        if queue.abandoned {
            return Err(StreamError::Closed);
        }
        if bytes.len() > MOST_BYTES || queue.is_full() {
            return Err(StreamError::trap("more was written than was allowed"));
        }
        queue.written = queue.written.saturating_add(bytes.len() as u64);
        if !bytes.is_empty() {
            queue.writes.push_back(bytes);
        }
        let (written, too_long) = (queue.written, queue.length.is_some_and(|length| queue.written > length));
        let reader = queue.reader.take();
        drop(queue);
        wake(reader);
        if too_long {
            let code = ErrorCode::HttpResponseBodySize(Some(written));
            return Err(StreamError::LastOperationFailed(wasmtime::format_err!(code)));
        }
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        if self.0.lock().abandoned { Err(StreamError::Closed) } else { Ok(()) }
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        let queue = self.0.lock();
        match (queue.abandoned, queue.is_full()) {
            (true, _) => Err(StreamError::Closed),
            (false, full) => Ok(if full { 0 } else { MOST_BYTES }),
        }
    }

    /// As the stock one, which is called with a page at most, without a box for each step of it.
    async fn blocking_write_and_flush(&mut self, bytes: Bytes) -> StreamResult<()> {
        poll_fn(|cx| self.poll_ready(cx)).await;
        self.write(bytes)?;
        poll_fn(|cx| self.poll_ready(cx)).await;
        Ok(())
    }
}

#[async_trait]
impl Pollable for Writing {
    async fn ready(&mut self) {
        poll_fn(|cx| self.poll_ready(cx)).await;
    }
}

#[cfg(test)]
mod tests;

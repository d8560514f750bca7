//! One connection, from its first byte to its close.

use std::error::Error;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::BytesMut;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use wasmcluster_core::app::Serving;
use wasmcluster_core::limit::Limit;
use wasmcluster_core::preface::{Protocol, protocol};

use crate::app::App;
use crate::connections::{Guard, Order, Rest};
use crate::forwarded::Sender;
use crate::reached::reached;
use crate::respond::Responder;
use crate::stream::Stream;

/// Room for the first read. Most requests without a body fit.
const FIRST_READ: usize = 2 << 10;

/// How connections are spoken to; the same for all of a worker.
pub(crate) struct Protocols {
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
}

impl Protocols {
    pub(crate) fn new(serving: &Serving) -> Self {
        let head = usize::try_from(serving.max_header_size).unwrap_or(usize::MAX);
        let mut http1 = http1::Builder::new();
        // Timeouts are the business of `Connections`: hyper would arm a timer for every request.
        http1.header_read_timeout(None).max_header_size(head).max_buf_size(head.max(MIN_BUFFER));
        let headers = usize::try_from(serving.max_headers).unwrap_or(usize::MAX);
        // As many as hyper takes anyway cost no memory of their own.
        if headers != MAX_HEADERS {
            http1.max_headers(headers);
        }
        let mut http2 = http2::Builder::new(TokioExecutor::new());
        http2
            .timer(TokioTimer::new())
            .max_concurrent_streams(serving.max_http2_streams)
            .max_pending_accept_reset_streams(usize::try_from(serving.max_http2_resets).ok())
            .max_header_list_size(serving.max_header_size)
            .keep_alive_interval(serving.keep_alive_timeout)
            .keep_alive_timeout(serving.header_timeout);
        Self { http1, http2 }
    }

    pub(crate) fn http1(&self) -> &http1::Builder {
        &self.http1
    }
}

/// Header fields that hyper reads when nobody tells it otherwise.
const MAX_HEADERS: usize = 100;

/// hyper takes no smaller buffer, and a response wants room.
const MIN_BUFFER: usize = 64 << 10;

/// A client as it comes: from the slot's queue, or from a worker that drains.
pub(crate) struct Client {
    pub(crate) socket: TcpStream,
    /// What was read from it and is still to be used.
    pub(crate) unused: BytesMut,
    /// It has had an answer, and nothing came since.
    pub(crate) idle: bool,
}

impl Client {
    /// One that has just connected.
    pub(crate) fn new(socket: TcpStream) -> Self {
        Self { socket, unused: BytesMut::with_capacity(FIRST_READ), idle: false }
    }
}

/// Serves a client until its connection is closed by either side or by order, or until the heir has it.
pub(crate) async fn serve(app: &'static App, protocols: Arc<Protocols>, guard: Guard, mut client: Client) {
    while let Some(leaving) = attend(app, &protocols, &guard, client).await {
        if let Some(heir) = guard.heir() {
            guard.is_away();
            if heir.take(&leaving).await.is_ok() {
                return;
            }
            guard.is_back();
        }
        // It was about to ask, and is answered here: politely, that it should come back.
        client = leaving;
    }
}

/// Serves a client until it is gone, or is to go to the heir.
async fn attend(
    app: &'static App,
    protocols: &Protocols,
    guard: &Guard,
    Client { mut socket, mut unused, idle }: Client,
) -> Option<Client> {
    let protocol = if idle {
        // It had its answer over HTTP/1.1: others are not handed over.
        Protocol::Http1
    } else {
        match meet(guard, &mut socket, &mut unused).await {
            Meeting::Speaks(protocol) => protocol,
            Meeting::Leaves => return Some(Client { socket, unused, idle }),
            Meeting::Gone => return None,
        }
    };
    let activity = guard.activity();
    let io =
        TokioIo::new(Stream::new(unused.freeze(), socket, activity.clone(), protocol == Protocol::Http1));
    let sender = Sender::new(guard.address(), &app.serving.trusted_proxies);
    let service = Responder::new(app, activity, sender);
    match protocol {
        Protocol::Http1 => {
            let mut connection = protocols.http1.serve_connection(io, service);
            match drive(guard, Pin::new(&mut connection), http1::Connection::graceful_shutdown, pack).await {
                End::Gone => None,
                End::Leaves => Some(unpack(connection.into_parts())),
            }
        }
        Protocol::Http2 => {
            guard.is_http2();
            let connection = pin!(protocols.http2.serve_connection(io, service));
            // It never gets the order to go to the heir.
            drive(guard, connection, http2::Connection::graceful_shutdown, |_, _, _| Packed::NotYet).await;
            None
        }
    }
}

/// What became of the first bytes.
enum Meeting {
    Speaks(Protocol),
    Leaves,
    Gone,
}

/// Waits until it is clear what the client speaks.
async fn meet(guard: &Guard, socket: &mut TcpStream, first: &mut BytesMut) -> Meeting {
    let mut reading = pin!(read_protocol(socket, first));
    obeying(guard, |cx, order| {
        if order == Order::Cut {
            return Poll::Ready(Meeting::Gone);
        }
        // A client that has just connected is about to ask: it is served once more, even in a drain.
        match reading.as_mut().poll(cx) {
            Poll::Ready(protocol) => Poll::Ready(protocol.map_or(Meeting::Gone, Meeting::Speaks)),
            Poll::Pending if order == Order::HandOver && guard.heir().is_some() => {
                Poll::Ready(Meeting::Leaves)
            }
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// Reads until it is clear what the client speaks; `None` when it left before.
async fn read_protocol(socket: &mut TcpStream, first: &mut BytesMut) -> Option<Protocol> {
    loop {
        if let Some(protocol) = protocol(first) {
            return Some(protocol);
        }
        match socket.read_buf(first).await {
            Ok(0) | Err(_) => return None,
            Ok(_) => {}
        }
    }
}

/// How driving a connection ended.
enum End {
    Gone,
    /// To the heir, and nothing is under way on it.
    Leaves,
}

/// Whether a connection is ready to leave.
enum Packed {
    /// Something is under way.
    NotYet,
    Yes,
    /// It was asked to close and could not at once. So it answers what is under way, and closes then.
    Closing,
    /// It failed.
    Gone,
}

/// Polls `connection` to its end, or until it is packed for the heir; closes it by `close` or leaves it when so ordered.
/// What went wrong on the way is the client's affair: it closed early, or was told. What was too much is counted.
async fn drive<C: Future<Output = hyper::Result<()>>>(
    guard: &Guard,
    mut connection: Pin<&mut C>,
    close: fn(Pin<&mut C>),
    pack: fn(Pin<&mut C>, &Guard, &mut Context<'_>) -> Packed,
) -> End {
    let mut closing = false;
    obeying(guard, |cx, order| {
        if order == Order::Cut {
            return Poll::Ready(End::Gone);
        }
        // First what has come already: asked to close before it has read anything, hyper does so at once, and what was
        // read ahead to tell the protocol is lost with it.
        if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
            if let Some(limit) = ended.err().as_ref().and_then(excess) {
                reached(limit);
            }
            return Poll::Ready(End::Gone);
        }
        if closing || order == Order::Serve {
            return Poll::Pending;
        }
        if order == Order::HandOver {
            if guard.heir().is_none() {
                return Poll::Pending;
            }
            match pack(connection.as_mut(), guard, cx) {
                Packed::NotYet => return Poll::Pending,
                Packed::Yes => return Poll::Ready(End::Leaves),
                Packed::Gone => return Poll::Ready(End::Gone),
                Packed::Closing => {}
            }
        } else {
            close(connection.as_mut());
        }
        closing = true;
        connection.as_mut().poll(cx).map(|_| End::Gone)
    })
    .await
}

/// What a client did too much of, to be left by hyper. Of HTTP/1.1, hyper does not tell a head that is too large from one that
/// has too many fields.
fn excess(error: &hyper::Error) -> Option<Limit> {
    if error.is_parse_too_large() {
        return Some(Limit::MaxHeaderSize);
    }
    let http2: &h2::Error = error.source()?.downcast_ref()?;
    (http2.reason() == Some(h2::Reason::ENHANCE_YOUR_CALM)).then_some(Limit::MaxHttp2Resets)
}

type Http1 = http1::Connection<TokioIo<Stream>, Responder>;

/// Readies a connection that was polled and waits for being taken apart, if it waits for a request.
fn pack(mut connection: Pin<&mut Http1>, guard: &Guard, cx: &mut Context<'_>) -> Packed {
    match guard.rest() {
        Rest::Busy => Packed::NotYet,
        // hyper has done nothing yet but keep what it has read.
        Rest::Beginning => Packed::Yes,
        // A response may be complete while its guest still reads the upload. hyper knows: told to close, it does so at once
        // only if it waits for a request. What it has read of that it keeps, and the socket it leaves alone.
        Rest::BetweenRequests => {
            connection.as_mut().graceful_shutdown();
            match connection.poll_without_shutdown(cx) {
                Poll::Ready(Ok(())) => Packed::Yes,
                Poll::Ready(Err(_)) => Packed::Gone,
                Poll::Pending => Packed::Closing,
            }
        }
    }
}

/// What was packed, as it comes to the heir.
fn unpack(parts: http1::Parts<TokioIo<Stream>, Responder>) -> Client {
    let (socket, ahead) = parts.io.into_inner().into_parts();
    let mut unused = BytesMut::from(parts.read_buf);
    unused.extend_from_slice(&ahead);
    Client { socket, idle: unused.is_empty(), unused }
}

/// Polls with the order in force, again whenever that changes.
async fn obeying<T>(guard: &Guard, mut poll: impl FnMut(&mut Context<'_>, Order) -> Poll<T>) -> T {
    poll_fn(|cx| {
        let order = guard.order(cx.waker());
        poll(cx, order)
    })
    .await
}

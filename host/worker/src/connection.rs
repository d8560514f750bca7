//! One connection, from its first byte to its close.

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

use crate::app::App;
use crate::connections::{Guard, Order};
use crate::respond::Responder;
use crate::stream::{Protocol, Stream, protocol};

/// Room for the first read. Most requests without a body fit.
const FIRST_READ: usize = 2 << 10;

/// Requests under way at once on one HTTP/2 connection.
const MAX_STREAMS: u32 = 128;

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
        let mut http2 = http2::Builder::new(TokioExecutor::new());
        http2
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_STREAMS)
            .max_header_list_size(serving.max_header_size)
            .keep_alive_interval(serving.keep_alive_timeout)
            .keep_alive_timeout(serving.header_timeout);
        Self { http1, http2 }
    }
}

/// hyper takes no smaller buffer, and a response wants room.
const MIN_BUFFER: usize = 64 << 10;

/// Serves `socket` until it is closed by either side, or by order.
pub(crate) async fn serve(app: &'static App, protocols: Arc<Protocols>, guard: Guard, mut socket: TcpStream) {
    let mut first = BytesMut::with_capacity(FIRST_READ);
    let protocol = {
        let mut reading = pin!(read_protocol(&mut socket, &mut first));
        obeying(&guard, |cx, order| match order {
            // A client that has just connected is about to ask: it is served once more, even in a drain.
            Order::Serve | Order::Close => reading.as_mut().poll(cx),
            Order::Cut => Poll::Ready(None),
        })
        .await
    };
    let Some(protocol) = protocol else { return };

    let activity = guard.activity();
    let io = TokioIo::new(Stream::new(first.freeze(), socket, activity.clone()));
    let service = Responder::new(app, activity);
    match protocol {
        Protocol::Http1 => {
            let mut connection = pin!(protocols.http1.serve_connection(io, service));
            drive(&guard, connection.as_mut(), |connection| connection.graceful_shutdown()).await;
        }
        Protocol::Http2 => {
            guard.is_http2();
            let mut connection = pin!(protocols.http2.serve_connection(io, service));
            drive(&guard, connection.as_mut(), |connection| connection.graceful_shutdown()).await;
        }
    }
}

/// Reads until it is clear what the client speaks; `None` when it left before.
async fn read_protocol(socket: &mut TcpStream, first: &mut BytesMut) -> Option<Protocol> {
    loop {
        match socket.read_buf(first).await {
            Ok(0) | Err(_) => return None,
            Ok(_) => {}
        }
        if let Some(protocol) = protocol(first) {
            return Some(protocol);
        }
    }
}

/// Polls `connection` to its end, closing it by `close` or leaving it when so ordered. What went wrong on the way is
/// the client's affair: it closed early, or was told.
async fn drive<C: Future>(guard: &Guard, mut connection: Pin<&mut C>, close: fn(Pin<&mut C>)) {
    let mut closing = false;
    obeying(guard, |cx, order| {
        if order == Order::Cut {
            return Poll::Ready(());
        }
        if order == Order::Close && !closing {
            // First what has come already: asked to close before it has read anything, hyper does so at once, and what was
            // read ahead to tell the protocol is lost with it.
            if connection.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            closing = true;
            close(connection.as_mut());
        }
        connection.as_mut().poll(cx).map(drop)
    })
    .await;
}

/// Polls with the order in force, again whenever that changes.
async fn obeying<T>(guard: &Guard, mut poll: impl FnMut(&mut Context<'_>, Order) -> Poll<T>) -> T {
    poll_fn(|cx| {
        let order = guard.order(cx.waker());
        poll(cx, order)
    })
    .await
}

//! A lane that is one of the streams of an HTTP/2 connection.

use std::error::Error;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper::{Method, Request};
use hyper_util::rt::TokioExecutor;
use tokio::net::TcpStream;
use tokio::sync::Mutex;

use super::Trace;
use super::outcome::Stage;
use super::response::Response;
use super::socket::{Reset, Socket};

/// Clones share one connection, and its successor when it is closed.
#[derive(Clone)]
pub(super) struct Lane {
    addr: SocketAddr,
    shared: Arc<Mutex<Option<Connection>>>,
}

#[derive(Clone)]
struct Connection {
    sender: SendRequest<Full<Bytes>>,
    local: SocketAddr,
    requests: Arc<AtomicU64>,
    reset: Reset,
}

impl Lane {
    pub(super) fn new(addr: SocketAddr) -> Self {
        Self { addr, shared: Arc::default() }
    }

    pub(super) async fn ask(
        &mut self,
        path: &str,
        upload: Option<&Bytes>,
        trace: &mut Trace,
    ) -> io::Result<Response> {
        let method = if upload.is_some() { Method::POST } else { Method::GET };
        let request = Request::builder().method(method).uri(format!("http://{}{path}", self.addr));
        let body = Full::new(upload.cloned().unwrap_or_default());
        let request = request.body(body).map_err(io::Error::other)?;
        loop {
            let mut connection = self.connection(trace).await?;
            let nth = connection.requests.fetch_add(1, Ordering::Relaxed) + 1;
            (trace.stage, trace.local, trace.nth) = (Stage::Waiting, Some(connection.local), nth);
            let mut failure = match connection.sender.try_send_request(request.clone()).await {
                Ok(response) => {
                    trace.stage = Stage::Reading;
                    let (head, body) = response.into_parts();
                    let body = body.collect().await.map_err(|error| connection.seen(error))?.to_bytes();
                    return Ok(Response { status: head.status.as_u16(), body: body.into(), last: false });
                }
                Err(failure) => failure,
            };
            self.forget(&connection).await;
            if failure.take_message().is_some() {
                // It had not left yet when the connection was found to be closed.
                trace.reconnected += 1;
            } else {
                let error = failure.into_error();
                // One more time, says the specification; then it is a loss.
                if !is_not_begun(&error) || trace.retried > 0 {
                    return Err(connection.seen(error));
                }
                trace.retried += 1;
            }
        }
    }

    /// The connection of all these lanes; a new one if there is none, or if it takes no more requests.
    async fn connection(&self, trace: &mut Trace) -> io::Result<Connection> {
        trace.stage = Stage::Connecting;
        let mut shared = self.shared.lock().await;
        match &*shared {
            Some(connection) if !connection.sender.is_closed() => return Ok(connection.clone()),
            Some(_) => trace.reconnected += 1,
            None => {}
        }
        *shared = None;
        let stream = TcpStream::connect(self.addr).await?;
        stream.set_nodelay(true)?;
        let local = stream.local_addr()?;
        let reset = Reset::default();
        let socket = Socket::new(stream, reset.clone());
        let (sender, connection) = handshake(TokioExecutor::new(), socket).await.map_err(io::Error::other)?;
        // Why it ends, the requests on it say.
        tokio::spawn(async { connection.await.ok() });
        let connection = Connection { sender, local, requests: Arc::default(), reset };
        Ok(shared.insert(connection).clone())
    }

    /// Has the next request go over another connection.
    async fn forget(&self, failed: &Connection) {
        let mut shared = self.shared.lock().await;
        shared.take_if(|connection| Arc::ptr_eq(&connection.requests, &failed.requests));
    }
}

/// Whether the server says that it did nothing about a request, so that it may be sent again (RFC 9113, 8.7): it refused
/// the stream, or went away and named a last stream before this one.
fn is_not_begun(error: &hyper::Error) -> bool {
    // Streams that the server did begin fail with the end of the connection instead.
    cause(error).is_some_and(|cause| {
        let reason = if cause.is_go_away() { h2::Reason::NO_ERROR } else { h2::Reason::REFUSED_STREAM };
        cause.is_remote() && cause.reason() == Some(reason)
    })
}

impl Connection {
    /// A failure in the terms of a connection that has one stream alone.
    fn seen(&self, error: hyper::Error) -> io::Error {
        let io = error.source().and_then(<dyn Error>::downcast_ref).or_else(|| cause(&error)?.get_io());
        let kind = match (io, cause(&error)) {
            // Whichever way a connection ended, h2 may call it this; it keeps the kind of everything else.
            (Some(error), _) if error.kind() == ErrorKind::BrokenPipe => self.end(),
            (Some(error), _) => error.kind(),
            (None, Some(cause)) if cause.is_remote() => ErrorKind::ConnectionReset,
            // What the server sent breaks the rules.
            (None, Some(_)) => ErrorKind::InvalidData,
            (None, None) => self.end(),
        };
        io::Error::new(kind, with_causes(&error))
    }

    fn end(&self) -> ErrorKind {
        if self.reset.happened() { ErrorKind::ConnectionReset } else { ErrorKind::UnexpectedEof }
    }
}

fn cause(error: &hyper::Error) -> Option<&h2::Error> {
    error.source()?.downcast_ref()
}

fn with_causes(error: &dyn Error) -> String {
    let causes = std::iter::successors(Some(error), |&error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

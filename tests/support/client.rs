//! HTTP as most clients speak it: HTTP/1.1 with keep-alive, and HTTP/2 in the clear.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;

use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::{http1, http2};
use hyper::{HeaderMap, Request, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

/// The body of a request.
pub(crate) type Body = BoxBody<Bytes, Infallible>;

/// Runs a future to its end, on a runtime of this thread.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// A response, complete.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) trailers: HeaderMap,
}

impl Answer {
    /// Reads the body to its end.
    pub(crate) async fn of(response: hyper::Response<Incoming>) -> hyper::Result<Self> {
        let (head, body) = response.into_parts();
        let collected = body.collect().await?;
        let trailers = collected.trailers().cloned().unwrap_or_default();
        Ok(Self { status: head.status, headers: head.headers, body: collected.to_bytes(), trailers })
    }

    /// The body, which must be text.
    #[track_caller]
    pub(crate) fn text(&self) -> &str {
        str::from_utf8(&self.body).unwrap()
    }
}

/// One connection that is kept.
#[derive(Debug)]
pub(crate) struct Connection {
    addr: SocketAddr,
    sender: Sender,
}

#[derive(Debug)]
enum Sender {
    Http1(http1::SendRequest<Body>),
    Http2(http2::SendRequest<Body>),
}

impl Connection {
    /// HTTP/1.1.
    pub(crate) async fn http1(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).await.unwrap();
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        // Why it ends, a request on it says.
        tokio::spawn(async { connection.await.ok() });
        Self { addr, sender: Sender::Http1(sender) }
    }

    /// HTTP/2, without asking first.
    pub(crate) async fn http2(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).await.unwrap();
        let (sender, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(async { connection.await.ok() });
        Self { addr, sender: Sender::Http2(sender) }
    }

    /// Sends a request; the response's body is still to come. Over HTTP/2 its path becomes a whole URI.
    pub(crate) async fn send(
        &mut self,
        mut request: Request<Body>,
    ) -> hyper::Result<hyper::Response<Incoming>> {
        match &mut self.sender {
            Sender::Http1(sender) => {
                sender.ready().await?;
                let host = self.addr.to_string().parse().unwrap();
                request.headers_mut().entry("host").or_insert(host);
                sender.send_request(request).await
            }
            Sender::Http2(sender) => {
                sender.ready().await?;
                if request.uri().authority().is_none() {
                    *request.uri_mut() = format!("http://{}{}", self.addr, request.uri()).parse().unwrap();
                }
                sender.send_request(request).await
            }
        }
    }

    /// One GET.
    pub(crate) async fn get(&mut self, path: &str) -> hyper::Result<Answer> {
        let request = Request::get(path).body(Empty::new().boxed()).unwrap();
        Answer::of(self.send(request).await?).await
    }

    /// One POST.
    pub(crate) async fn post(&mut self, path: &str, body: impl Into<Bytes>) -> hyper::Result<Answer> {
        let request = Request::post(path).body(Full::new(body.into()).boxed()).unwrap();
        Answer::of(self.send(request).await?).await
    }
}

impl Clone for Connection {
    /// Another sender of the same HTTP/2 connection; HTTP/1.1 has but one.
    fn clone(&self) -> Self {
        match &self.sender {
            Sender::Http1(_) => panic!("an HTTP/1.1 connection has one sender"),
            Sender::Http2(sender) => Self { addr: self.addr, sender: Sender::Http2(sender.clone()) },
        }
    }
}

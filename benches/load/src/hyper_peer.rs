//! The server to compare with: hyper, and nothing else that a server of one fixed response needs.
//!
//! The same as a worker of ours without the guest: a current-thread runtime, one process for each "instance", its own
//! SO_REUSEPORT listener, the same response.

use std::convert::Infallible;
use std::net::SocketAddr;

use bytes::Bytes;
use clap::Args;
use http_body_util::Full;
use hyper::Response;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use socket2::{Domain, Socket, Type};
use tokio::net::TcpListener;

use crate::Result;

/// As long as ours.
const BACKLOG: i32 = 4096;

/// What to serve, and where.
#[derive(Args)]
pub(crate) struct Shape {
    #[arg(long)]
    addr: SocketAddr,
    #[arg(long)]
    content_type: HeaderValue,
    #[arg(long)]
    body: String,
}

#[expect(clippy::print_stderr, reason = "the line that says it is ready")]
pub(crate) fn serve(shape: &Shape) -> Result<()> {
    let content_type = shape.content_type.clone();
    let body = Bytes::from(shape.body.clone());
    let socket = Socket::new(Domain::for_address(shape.addr), Type::STREAM.nonblocking().cloexec(), None)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.bind(&shape.addr.into())?;
    socket.listen(BACKLOG)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async move {
        let listener = TcpListener::from_std(socket.into())?;
        eprintln!("Serving HTTP on http://{}/", shape.addr);
        let mut http = http1::Builder::new();
        http.header_read_timeout(None);
        loop {
            // A client that gave up between its connect and this is no reason to stop.
            let Ok((stream, _)) = listener.accept().await else { continue };
            let (content_type, body) = (content_type.clone(), body.clone());
            let service = service_fn(move |_| {
                let mut response = Response::new(Full::new(body.clone()));
                response.headers_mut().insert(CONTENT_TYPE, content_type.clone());
                std::future::ready(Ok::<_, Infallible>(response))
            });
            tokio::spawn(http.serve_connection(TokioIo::new(stream), service));
        }
    })
}

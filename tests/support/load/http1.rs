//! A lane that speaks HTTP/1.1, by hand: it sees each byte, and where they stop.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;

use hyper::body::Bytes;
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::Trace;
use super::outcome::Stage;
use super::response::{Response, malformed};

pub(super) struct Lane {
    addr: SocketAddr,
    /// Whether a connection is kept for the next request.
    keeps: bool,
    kept: Option<Connection>,
}

struct Connection {
    stream: TcpStream,
    local: SocketAddr,
    requests: u64,
}

impl Lane {
    /// A connection for each request, which it says.
    pub(super) fn fresh(addr: SocketAddr) -> Self {
        Self { addr, keeps: false, kept: None }
    }

    /// One connection, for as long as the server keeps it.
    pub(super) fn keep_alive(addr: SocketAddr) -> Self {
        Self { addr, keeps: true, kept: None }
    }

    pub(super) async fn ask(
        &mut self,
        path: &str,
        upload: Option<&Bytes>,
        trace: &mut Trace,
    ) -> io::Result<Response> {
        // Taken, so that nobody uses it again if this fails or is given up.
        let mut connection = self.connection(trace).await?;
        connection.requests += 1;
        (trace.stage, trace.local, trace.nth) = (Stage::Waiting, Some(connection.local), connection.requests);

        let closing = if self.keeps { "" } else { "connection: close\r\n" };
        let (method, body) = upload.map_or(("GET", &[][..]), |upload| ("POST", upload));
        let length = upload.map(|upload| format!("content-length: {}\r\n", upload.len())).unwrap_or_default();
        let head = format!("{method} {path} HTTP/1.1\r\nhost: {}\r\n{length}{closing}\r\n", self.addr);
        connection.stream.write_all(&[head.as_bytes(), body].concat()).await?;
        let mut received = Vec::with_capacity(1 << 10);
        loop {
            let ended = connection.stream.read_buf(&mut received).await? == 0;
            if !ended {
                trace.stage = Stage::Reading;
            }
            if let Some(response) = Response::scan(&received, ended)? {
                if self.keeps && !response.last {
                    self.kept = Some(connection);
                }
                return Ok(response);
            }
        }
    }

    /// The connection that was kept, or a new one.
    async fn connection(&mut self, trace: &mut Trace) -> io::Result<Connection> {
        if let Some(kept) = self.kept.take() {
            if kept.is_open()? {
                return Ok(kept);
            }
            trace.reconnected += 1;
        }
        let stream = TcpStream::connect(self.addr).await?;
        stream.set_nodelay(true)?;
        let local = stream.local_addr()?;
        trace.connections += 1;
        Ok(Connection { stream, local, requests: 0 })
    }
}

impl Connection {
    /// Whether no end of it has come yet. Any client looks before it sends, and what it finds then is no loss.
    fn is_open(&self) -> io::Result<bool> {
        // The kernel is asked, since the runtime may not have heard of it yet.
        match recv(self.stream.as_raw_fd(), &mut [0], MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT) {
            Err(Errno::EAGAIN) => Ok(true),
            Ok(0) | Err(_) => Ok(false),
            Ok(_) => Err(malformed("bytes on an idle connection")),
        }
    }
}

//! The request that a worker must answer well before it is ready.

use std::net::Ipv4Addr;

use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use wasmcluster_core::rejection::Rejection;

use crate::app::App;
use crate::connection::Protocols;
use crate::connections::Activity;
use crate::forwarded::Sender;
use crate::respond::Responder;

/// Room for either side.
const PIPE: usize = 16 << 10;

/// As much of an answer as has its status.
const HEAD: usize = 16;

/// Asks the guest for `path`, on the way that every request takes.
pub(crate) async fn probe(app: &'static App, protocols: &Protocols, path: &str) -> Result<(), Rejection> {
    let (client, server) = duplex(PIPE);
    let service = Responder::new(app, Activity::of_nobody(), Sender::new(Ipv4Addr::LOCALHOST.into(), &[]));
    let connection = protocols.http1().serve_connection(TokioIo::new(server), service);
    let (status, ended) = tokio::join!(ask(client, path, app.authority.as_str()), connection);
    // An answer that was cut short is none, whatever its status.
    match status.filter(|_| ended.is_ok()) {
        Some(200..=399) => Ok(()),
        Some(status) => Err(refusal(path, &format!("was answered with status {status}"))),
        None => Err(refusal(path, "got no answer")),
    }
}

fn refusal(path: &str, what: &str) -> Rejection {
    Rejection::new(
        format!("the probe `{path}` {what}"),
        "a worker is ready when it answers `--probe` with a status from 200 to 399",
    )
}

/// The status of the answer, once all of it was read.
async fn ask(mut stream: DuplexStream, path: &str, host: &str) -> Option<u16> {
    let request = format!(
        "GET {path} HTTP/1.1\r\nhost: {host}\r\nuser-agent: wasmcluster-probe\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.ok()?;
    let (mut head, mut chunk) = (Vec::new(), [0; 4096]);
    loop {
        match stream.read(&mut chunk).await.ok()? {
            0 => break,
            read if head.len() < HEAD => head.extend_from_slice(&chunk[..read]),
            _ => {}
        }
    }
    let status = head.strip_prefix(b"HTTP/1.1 ")?.get(..3)?;
    std::str::from_utf8(status).ok()?.parse().ok()
}

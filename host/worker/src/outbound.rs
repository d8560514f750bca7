//! Outgoing requests of guests: granted or denied, resolved, checked, connected, pooled.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response, Uri};
use http_body_util::BodyExt;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::{self, Client};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tower_service::Service;
use wasmcluster_core::message::ReportKind;
use wasmcluster_core::outbound::{OutboundRule, Verdict, is_special, judge};
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody};

use crate::body::Patient;
use crate::budget::{Budget, Budgeted};
use crate::reports::Reports;

/// What a guest waits at most when it sets no timeouts of its own. The request it serves has its own, shorter one.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(600);

/// How long an unused connection is kept.
const IDLE: Duration = Duration::from_secs(90);

/// How long one address of a host may take to answer before the next is tried.
const CONNECT_EACH: Duration = Duration::from_secs(10);

/// One pool of connections for all instances of a worker.
pub(crate) struct Outbound {
    rules: Vec<OutboundRule>,
    reports: Reports,
    client: Client<HttpsConnector<Connector>, WasiBody>,
}

impl Outbound {
    /// Must be made inside a runtime: the pool has a timer.
    pub(crate) fn new(rules: Vec<OutboundRule>, reports: Reports) -> Self {
        let connector = HttpsConnectorBuilder::new()
            .with_webpki_roots()
            .https_or_http()
            .enable_all_versions()
            .wrap_connector(Connector { rules: rules.clone() });
        let client = Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .build(connector);
        Self { rules, reports, client }
    }

    /// Sends `request` where the rules allow it.
    ///
    /// # Errors
    /// Fails with what the guest is told; a denial is also written to the log, with the flag that would allow it.
    pub(crate) async fn send(
        &self,
        request: Request<WasiBody>,
        options: RequestOptions,
        budget: &Arc<Budget>,
    ) -> wasmtime_wasi_http::Result<Response<WasiBody>> {
        let (host, port) = destination(request.uri())?;
        if judge(&self.rules, &host, port) == Verdict::Denied {
            self.deny(&host, port, "which it was not granted");
            return Err(Error::HttpRequestDenied);
        }
        let under_way = budget.request()?;
        let request = request.map(|body| Budgeted::new(body, Arc::clone(budget)).boxed_unsync());
        let connect = options.connect_timeout.unwrap_or(DEFAULT_TIMEOUT);
        let first_byte = options.first_byte_timeout.unwrap_or(DEFAULT_TIMEOUT);
        let between_bytes = options.between_bytes_timeout.unwrap_or(DEFAULT_TIMEOUT);
        let sent = tokio::time::timeout(connect.saturating_add(first_byte), self.client.request(request));
        let response = match sent.await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(self.explain(error, &host, port)),
            Err(_) => return Err(Error::ConnectionReadTimeout),
        };
        Ok(response.map(|body| {
            // Under way for as long as its response is: until then the connection is not free for another.
            let kept = move |frame| {
                let _until_it_ends = &under_way;
                frame
            };
            Patient::new(body, between_bytes).map_frame(kept).boxed_unsync()
        }))
    }

    fn deny(&self, host: &str, port: u16, why: &str) {
        let message = format!("the guest asked for `{host}:{port}`, {why}");
        self.reports.say(
            ReportKind::OutboundDenied,
            message,
            Some(format!("grant it with `--allow-outbound {host}:{port}`")),
        );
    }

    fn explain(&self, error: legacy::Error, host: &str, port: u16) -> Error {
        match find::<ConnectError>(&error) {
            Some(ConnectError::Forbidden(address)) => {
                self.deny(host, port, &format!("which leads to `{address}`, an address that must be named"));
                Error::DestinationIpProhibited
            }
            Some(ConnectError::Resolve(error)) => {
                Error::DnsError { rcode: Some(error.to_string()), info_code: None }
            }
            Some(ConnectError::Refused(error)) => match error.kind() {
                std::io::ErrorKind::ConnectionRefused => Error::ConnectionRefused,
                std::io::ErrorKind::TimedOut => Error::ConnectionTimeout,
                std::io::ErrorKind::NetworkUnreachable | std::io::ErrorKind::HostUnreachable => {
                    Error::DestinationIpUnroutable
                }
                _ => Error::DestinationUnavailable,
            },
            None if error.is_connect() => Error::TlsProtocolError,
            None => match find::<hyper::Error>(&error) {
                Some(error) if error.is_incomplete_message() => Error::ConnectionTerminated,
                _ => Error::HttpProtocolError,
            },
        }
    }
}

fn destination(uri: &Uri) -> wasmtime_wasi_http::Result<(String, u16)> {
    let host = uri.host().ok_or(Error::HttpRequestUriInvalid)?;
    let default = if uri.scheme_str() == Some("https") { 443 } else { 80 };
    Ok((host.to_owned(), uri.port_u16().unwrap_or(default)))
}

fn find<'e, E: std::error::Error + 'static>(error: &'e (dyn std::error::Error + 'static)) -> Option<&'e E> {
    std::iter::successors(Some(error), |error| error.source()).find_map(|error| error.downcast_ref())
}

/// Resolves, checks what came out, and connects to exactly that: a second look-up could answer differently.
#[derive(Clone)]
struct Connector {
    rules: Vec<OutboundRule>,
}

#[derive(Debug, thiserror::Error)]
enum ConnectError {
    #[error("cannot resolve the host: {0}")]
    Resolve(std::io::Error),
    #[error("address `{0}` is not public")]
    Forbidden(std::net::IpAddr),
    #[error("cannot connect: {0}")]
    Refused(std::io::Error),
}

impl Connector {
    async fn connect(self, uri: Uri) -> Result<TokioIo<TcpStream>, ConnectError> {
        let invalid = || ConnectError::Resolve(std::io::ErrorKind::InvalidInput.into());
        let (host, port) = destination(&uri).map_err(|_| invalid())?;
        let named = judge(&self.rules, &host, port) == Verdict::Named;
        let name = host.trim_start_matches('[').trim_end_matches(']');
        let addresses: Vec<SocketAddr> =
            tokio::net::lookup_host((name, port)).await.map_err(ConnectError::Resolve)?.collect();
        let mut failure = invalid();
        for address in addresses {
            if !named && is_special(address.ip()) {
                failure = ConnectError::Forbidden(address.ip());
                continue;
            }
            let timed_out = || std::io::Error::from(std::io::ErrorKind::TimedOut);
            match tokio::time::timeout(CONNECT_EACH, TcpStream::connect(address))
                .await
                .unwrap_or_else(|_| Err(timed_out()))
            {
                Ok(stream) => {
                    stream.set_nodelay(true).map_err(ConnectError::Refused)?;
                    return Ok(TokioIo::new(stream));
                }
                Err(error) => failure = ConnectError::Refused(error),
            }
        }
        Err(failure)
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<TcpStream>;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(self.clone().connect(uri))
    }
}

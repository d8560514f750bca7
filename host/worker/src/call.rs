//! One request inside the guest, as a future that ends when the guest has.
//!
//! The response's head leaves through [`Exchange`] while the future goes on: a guest writes its body, and may work on,
//! after it has answered.

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use http::header::HOST;
use http::uri::{Authority, Scheme};
use http::{Request, Response};
use hyper::body::Incoming;
use wasmtime_wasi_http::p2::bindings::http::types::Scheme as P2Scheme;
use wasmtime_wasi_http::p3;
use wasmtime_wasi_http::{WasiBody, WasiHttpView};

use crate::body::Patient;
use crate::failure::Failure;
use crate::instance::{Exports, Instance, Instances};

/// Where a guest and the connection that waits for its answer meet.
#[derive(Default)]
pub(crate) struct Exchange {
    head: Mutex<Option<Head>>,
    /// What the client did wrong with its body, as an [`Upload`].
    upload: AtomicU8,
    /// Nothing more will be read from the response's body.
    body_over: AtomicBool,
}

/// How far a client has come with its request's body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Upload {
    /// More is to come, as far as anybody has looked.
    #[default]
    Open,
    /// All of it was read.
    Complete,
    /// The client fell silent in the middle.
    Stalled,
    /// It was not what its framing said, or the client left.
    Broken,
}

impl Upload {
    /// Whether a missing answer is the client's fault.
    pub(crate) fn failed(self) -> bool {
        matches!(self, Self::Stalled | Self::Broken)
    }
}

/// What a guest answered: a response, or in words why there is none.
pub(crate) type Head = Result<Response<WasiBody>, String>;

impl Exchange {
    fn answer(&self, head: Head) {
        *self.head.lock().unwrap_or_else(PoisonError::into_inner) = Some(head);
    }

    /// The answer, once, when it is there.
    pub(crate) fn take(&self) -> Option<Head> {
        self.head.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Notes how reading the request's body ended.
    pub(crate) fn upload(&self, upload: Upload) {
        self.upload.store(upload as u8, Ordering::Relaxed);
    }

    /// How reading the request's body has ended so far.
    pub(crate) fn uploaded(&self) -> Upload {
        [Upload::Open, Upload::Complete, Upload::Stalled, Upload::Broken]
            .into_iter()
            .find(|upload| *upload as u8 == self.upload.load(Ordering::Relaxed))
            .unwrap_or_default()
    }

    /// Tells the guest's call that the body was read to its end. Poll the call afterwards.
    pub(crate) fn end_body(&self) {
        self.body_over.store(true, Ordering::Relaxed);
    }
}

/// Takes an instance, gives it the request, and keeps the instance if it may serve another.
pub(crate) async fn call(
    instances: &Instances,
    exchange: Arc<Exchange>,
    request: Request<Patient<Incoming>>,
    authority: Authority,
) -> Result<(), Failure> {
    let mut instance = instances.take().await?;
    match &instance.exports {
        Exports::P2(_) => call_p2(&mut instance, exchange, request, authority).await?,
        Exports::P3(_) => call_p3(&mut instance, exchange, request, authority).await?,
    }
    instances.put_back(instance);
    Ok(())
}

fn refused(code: &impl std::fmt::Debug) -> String {
    format!("the guest answered with the error `{code:?}`")
}

async fn call_p2(
    Instance { store, exports, .. }: &mut Instance,
    exchange: Arc<Exchange>,
    request: Request<Patient<Incoming>>,
    authority: Authority,
) -> Result<(), Failure> {
    let Exports::P2(proxy) = exports else {
        return Err(Failure::NoAnswer("the component changed its shape".into()));
    };
    // The only request without a name is one of HTTP/1.0.
    let named = request.uri().authority().is_some() || request.headers().contains_key(HOST);
    let request = if named { request } else { absolute(request, authority) };
    let mut http = store.data_mut().http();
    let request = http.new_incoming_request(P2Scheme::Http, request)?;
    let out = http.new_response_outparam_from_callback(move |answer| {
        exchange.answer(answer.map_err(|code| refused(&code)));
    })?;
    proxy.wasi_http_incoming_handler().call_handle(store, request, out).await?;
    Ok(())
}

async fn call_p3(
    Instance { store, exports, .. }: &mut Instance,
    exchange: Arc<Exchange>,
    request: Request<Patient<Incoming>>,
    authority: Authority,
) -> Result<(), Failure> {
    let Exports::P3(service) = exports else {
        return Err(Failure::NoAnswer("the component changed its shape".into()));
    };
    let request = absolute(request, authority);
    let (request, sent) = p3::Request::from_http(store.data_mut().http().hooks, request);
    let sent: std::pin::Pin<Box<dyn Future<Output = _> + Send>> = Box::pin(sent);
    store
        .run_concurrent(async |accessor| {
            let response = match service.handle(accessor, request).await? {
                Ok(response) => response,
                Err(code) => {
                    exchange.answer(Err(refused(&code)));
                    return Ok(());
                }
            };
            exchange.answer(Ok(accessor.with(|store| response.into_http(store, sent))?));
            // The body is carried by this store: leave only when it was read, and when the guest has nothing left to do.
            poll_fn(|cx| {
                if exchange.body_over.load(Ordering::Relaxed) {
                    accessor.poll_no_interesting_tasks(cx)
                } else {
                    std::task::Poll::Pending
                }
            })
            .await;
            wasmtime::error::Ok(())
        })
        .await??;
    Ok(())
}

/// 0.3 takes scheme and authority from the URI alone, and `Host` is a header that it hides: without this a guest that is
/// asked over HTTP/1.1 could not know under which name.
fn absolute<B>(mut request: Request<B>, authority: Authority) -> Request<B> {
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    // What the connection is, not what the client says: a guest may trust it.
    parts.scheme = Some(Scheme::HTTP);
    parts.authority.get_or_insert(authority);
    // Of the forms a request may have only `OPTIONS *` and `CONNECT` lack a path that an absolute URI can carry.
    *request.uri_mut() = http::Uri::from_parts(parts).unwrap_or_default();
    request
}

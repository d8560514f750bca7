//! One request inside the guest, as a future that ends when the guest has.
//!
//! The answer leaves through [`Exchange`] while the future goes on: a guest writes its body, and may work on, after it
//! has answered.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Poll;

use http::header::HOST;
use http::uri::{self, Authority};
use http::{Request, Response};
use hyper::body::Incoming;
use wasmtime_wasi_http::p2::bindings::ProxyPre;
use wasmtime_wasi_http::p2::bindings::http::types::Scheme;
use wasmtime_wasi_http::p3;
use wasmtime_wasi_http::p3::bindings::ServicePre;
use wasmtime_wasi_http::{WasiBody, WasiHttpView};

use crate::answer::{Answer, Taken};
use crate::body::Patient;
use crate::early;
use crate::failure::Failure;
use crate::forwarded::Signature;
use crate::instance::{Instance, Instances, Pool};
use crate::state::State;

/// A call into a guest, not yet ended. Dropping it cancels the guest.
pub(crate) type Call = Pin<Box<dyn Future<Output = Result<(), Failure>> + Send>>;

/// Where a guest and the connection that waits for its answer meet.
pub(crate) struct Exchange {
    /// What its request is called, and how it came.
    pub(crate) signature: Signature,
    answer: Mutex<Option<Result<Answer, String>>>,
    /// Whether there ever was one.
    answered: AtomicBool,
    /// What the client did wrong with its body, as an [`Upload`].
    upload: AtomicU8,
    /// Nothing more will be read from the response's body.
    body_over: AtomicBool,
    /// What the guest printed, once it has ended, where that is kept.
    last_words: OnceLock<String>,
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
    /// There was more than there may be.
    TooLarge,
}

impl Upload {
    /// Whether a missing answer is the client's fault.
    pub(crate) fn failed(self) -> bool {
        matches!(self, Self::Stalled | Self::Broken | Self::TooLarge)
    }
}

impl Exchange {
    pub(crate) fn new(signature: Signature) -> Self {
        Self {
            signature,
            answer: Mutex::default(),
            answered: AtomicBool::default(),
            upload: AtomicU8::default(),
            body_over: AtomicBool::default(),
            last_words: OnceLock::new(),
        }
    }

    fn answer(&self, answer: Result<Response<WasiBody>, String>) {
        *self.lock() = Some(answer.map(Answer::from));
        self.answered.store(true, Ordering::Relaxed);
    }

    fn was_answered(&self) -> bool {
        self.answered.load(Ordering::Relaxed)
    }

    /// The answer, once, when it is there; or in words why there is none.
    pub(crate) fn take(&self) -> Option<Result<Answer, String>> {
        self.lock().take()
    }

    /// Whether there is an answer that the guest has not written to its end.
    pub(crate) fn is_incomplete(&self) -> bool {
        matches!(&*self.lock(), Some(Ok(answer)) if !answer.is_complete())
    }

    fn lock(&self) -> MutexGuard<'_, Option<Result<Answer, String>>> {
        self.answer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what a guest that has ended said last.
    fn hear(&self, state: &State) {
        if let Some(words) = state.last_words() {
            let _ = self.last_words.set(words);
        }
    }

    /// What the guest has printed, as far as somebody wants to know.
    pub(crate) fn last_words(&self) -> Option<String> {
        self.last_words.get().cloned()
    }

    /// Notes how reading the request's body ended.
    pub(crate) fn upload(&self, upload: Upload) {
        self.upload.store(upload as u8, Ordering::Relaxed);
    }

    /// How reading the request's body has ended so far.
    pub(crate) fn uploaded(&self) -> Upload {
        [Upload::Open, Upload::Complete, Upload::Stalled, Upload::Broken, Upload::TooLarge]
            .into_iter()
            .find(|upload| *upload as u8 == self.upload.load(Ordering::Relaxed))
            .unwrap_or_default()
    }

    /// Tells the guest's call that the body was read to its end. Poll the call afterwards.
    pub(crate) fn end_body(&self) {
        self.body_over.store(true, Ordering::Relaxed);
    }

    /// Takes what the guest has written of its body by now, if nobody has come for the answer yet. A guest whose body is
    /// taken can go on writing: poll the call again after [`Taken::Some`].
    pub(crate) fn gather(&self) -> Taken {
        let mut answer = self.lock();
        match answer.as_mut() {
            Some(Ok(written)) => written.gather().unwrap_or_else(|failed| {
                *answer = Some(Err(failed));
                Taken::Nothing
            }),
            Some(Err(_)) | None => Taken::Nothing,
        }
    }

    /// Whether the body was read to its end. As long as nobody has come for the answer it is read here, so that a guest
    /// that does not wait is through with its whole response before anybody does.
    fn body_is_over(&self) -> bool {
        self.body_over.load(Ordering::Relaxed) || self.gather() == Taken::Everything
    }
}

/// Takes an instance, gives it the request, and keeps the instance if it may serve another.
pub(crate) fn call(
    instances: &'static Instances,
    exchange: Arc<Exchange>,
    request: Request<Patient<Incoming>>,
    authority: Authority,
) -> Call {
    match instances {
        Instances::P2(pool) => Box::pin(call_p2(pool, exchange, request, authority)),
        Instances::P3(pool) => Box::pin(call_p3(pool, exchange, request, authority)),
    }
}

fn refused(code: &impl std::fmt::Debug) -> String {
    format!("the guest answered with the error `{code:?}`")
}

async fn call_p2(
    pool: &Pool<ProxyPre<State>>,
    exchange: Arc<Exchange>,
    request: Request<Patient<Incoming>>,
    authority: Authority,
) -> Result<(), Failure> {
    let mut instance = pool.take().await?;
    // The only request without a name is one of HTTP/1.0.
    let named = request.uri().authority().is_some() || request.headers().contains_key(HOST);
    let secure = exchange.signature.secure;
    let request = if named { request } else { absolute(request, authority, secure) };
    instance.store.data_mut().begin(request.method());
    let mut http = instance.store.data_mut().http();
    let scheme = if secure { Scheme::Https } else { Scheme::Http };
    let request = http.new_incoming_request(scheme, request)?;
    let waiting = Arc::clone(&exchange);
    let out = http.new_response_outparam_from_callback(move |answer| {
        waiting.answer(answer.map_err(|code| refused(&code)));
    })?;
    let handler = instance.exports.wasi_http_incoming_handler();
    let ended = handler.call_handle(&mut instance.store, request, out).await;
    exchange.hear(instance.store.data());
    ended.map_err(|error| pool.dump(&mut instance.store, error))?;
    // A guest that forgot this one may be in no state for the next.
    pool.take_back(instance, exchange.was_answered());
    Ok(())
}

async fn call_p3(
    pool: &Pool<ServicePre<State>>,
    exchange: Arc<Exchange>,
    request: Request<Patient<Incoming>>,
    authority: Authority,
) -> Result<(), Failure> {
    let mut instance = pool.take().await?;
    let Instance { store, exports, .. } = &mut instance;
    let request = absolute(request, authority, exchange.signature.secure);
    store.data_mut().begin(request.method());
    let (request, sent) = p3::Request::from_http(store.data_mut().http().hooks, request);
    let sent: Pin<Box<dyn Future<Output = _> + Send>> = Box::pin(sent);
    let ended = store
        .run_concurrent(async |accessor| {
            let response = match exports.handle(accessor, request).await? {
                Ok(response) => response,
                Err(code) => {
                    exchange.answer(Err(refused(&code)));
                    return Ok(());
                }
            };
            exchange.answer(Ok(accessor.with(|store| early::into_http(response, store, sent))?));
            // The body is carried by this store: leave only when it was read, and when the guest has nothing left to do.
            poll_fn(|cx| {
                if exchange.body_is_over() { accessor.poll_no_interesting_tasks(cx) } else { Poll::Pending }
            })
            .await;
            wasmtime::error::Ok(())
        })
        .await;
    exchange.hear(store.data());
    ended.flatten().map_err(|error| pool.dump(store, error))?;
    pool.take_back(instance, true);
    Ok(())
}

/// 0.3 takes scheme and authority from the URI alone, and `Host` is a header that it hides: without this a guest that is
/// asked over HTTP/1.1 could not know under which name.
fn absolute<B>(mut request: Request<B>, authority: Authority, secure: bool) -> Request<B> {
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    // What the connection is, not what the client says: a guest may trust it.
    parts.scheme = Some(if secure { uri::Scheme::HTTPS } else { uri::Scheme::HTTP });
    parts.authority.get_or_insert(authority);
    // Of the forms a request may have only `OPTIONS *` and `CONNECT` lack a path that an absolute URI can carry.
    *request.uri_mut() = http::Uri::from_parts(parts).unwrap_or_default();
    request
}

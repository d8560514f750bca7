//! What can go wrong with a request: what the log says of it, and what the client is told.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};
use wasmcluster_core::app::Serving;
use wasmcluster_core::limit::Limit;
use wasmcluster_core::message::{Report, ReportKind};
use wasmtime::PoolConcurrencyLimitError;
use wasmtime::component::ResourceTableError;
use wasmtime_wasi::I32Exit;
use wasmtime_wasi_http::FieldMapError;

use crate::app::App;
use crate::call::{Exchange, Upload};
use crate::forwarded::RequestId;
use crate::page::{Page, Reader};
use crate::reached::reached;
use crate::response::ResponseBody;
use crate::trap;

/// How a guest's call ended other than well.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It trapped, here or while its instance was made.
    Trapped(wasmtime::Error),
    /// It held as many resources of the host as it may, and wanted another.
    TooManyResources,
    /// It gave the host more in one call than it may.
    TooMuchAtOnce,
    /// It made a larger list of header fields than it may. (Of 0.3 the guest hears of it, and goes on.)
    FieldsTooLarge,
    /// The body of its response has more than it may have.
    ResponseTooLarge,
    /// There was no room for its instance.
    NoRoom,
    /// It called `exit`.
    Exited(i32),
    /// It used up its time.
    TimedOut,
    /// It ended without an answer, or with one that is none; in words.
    NoAnswer(String),
}

impl Failure {
    /// The limit that was reached, if one was.
    fn limit(&self) -> Option<Limit> {
        match self {
            Self::TooManyResources => Some(Limit::MaxResources),
            Self::TooMuchAtOnce => Some(Limit::MaxHostcallSize),
            Self::FieldsTooLarge => Some(Limit::MaxFieldSize),
            Self::ResponseTooLarge => Some(Limit::MaxResponseSize),
            Self::TimedOut => Some(Limit::Timeout),
            Self::Trapped(_) | Self::NoRoom | Self::Exited(_) | Self::NoAnswer(_) => None,
        }
    }

    /// Whether the guest was ended because of what it did.
    fn is_the_guests(&self) -> bool {
        matches!(self, Self::Trapped(_) | Self::TooManyResources | Self::TooMuchAtOnce | Self::FieldsTooLarge)
    }

    /// What the log says of it.
    fn told(&self, serving: &Serving) -> Report {
        let expected = |flag: &str| format!("raise `--{flag}` if that is to be expected");
        let (kind, message, hint) = match self {
            Self::Trapped(error) => (ReportKind::Trap, trap::cause("the guest trapped", error), None),
            Self::TooManyResources => {
                let message = "the guest held more resources of the host than it may".into();
                (ReportKind::Limit, message, Some(expected("max-resources")))
            }
            Self::TooMuchAtOnce => {
                let message = "the guest gave the host more in one call than it may".into();
                (ReportKind::Limit, message, Some(expected("max-hostcall-size")))
            }
            Self::FieldsTooLarge => {
                let message = "the guest made a larger list of header fields than it may".into();
                (ReportKind::Limit, message, Some(expected("max-field-size")))
            }
            Self::ResponseTooLarge => {
                let message = "the guest's response was larger than it may be".into();
                (ReportKind::Limit, message, Some(expected("max-response-size")))
            }
            Self::NoRoom => {
                let hint = "lower `--max-concurrent-requests`, or raise `--instances`".to_owned();
                (ReportKind::Worker, "no room for another instance".into(), Some(hint))
            }
            Self::Exited(code) => (ReportKind::BadResponse, format!("the guest called exit({code})"), None),
            Self::TimedOut => {
                let message = format!("the guest took longer than {:?}", serving.timeout.unwrap_or_default());
                (ReportKind::Timeout, message, Some(expected("timeout")))
            }
            Self::NoAnswer(message) => (ReportKind::BadResponse, message.clone(), None),
        };
        let backtrace = match self {
            Self::Trapped(error) => trap::backtrace(error),
            _ => Vec::new(),
        };
        Report { kind, message, hint, backtrace, request: None }
    }
}

impl From<wasmtime::Error> for Failure {
    fn from(error: wasmtime::Error) -> Self {
        if let Some(exit) = error.downcast_ref::<I32Exit>() {
            Self::Exited(exit.0)
        } else if error.is::<PoolConcurrencyLimitError>() {
            Self::NoRoom
        } else if matches!(error.downcast_ref(), Some(ResourceTableError::Full)) {
            Self::TooManyResources
        } else if matches!(error.downcast_ref(), Some(FieldMapError::TotalSizeTooBig)) {
            Self::FieldsTooLarge
        } else if is_fuel(&error) {
            Self::TooMuchAtOnce
        } else {
            Self::Trapped(error)
        }
    }
}

/// The type of this error cannot be named.
fn is_fuel(error: &wasmtime::Error) -> bool {
    error.root_cause().to_string().contains("fuel allocated for hostcalls")
}

impl App {
    /// Writes `failure` into the log, and of which request it was.
    pub(crate) fn report(&self, failure: &Failure, request: &RequestId) {
        if let Some(limit) = failure.limit() {
            reached(limit);
        }
        if failure.is_the_guests() {
            self.served.trapped();
        }
        let request = Some(request.to_string());
        self.reports.report(|| Report { request, ..failure.told(&self.serving) });
    }

    /// Writes into the log how a guest ended that already answered.
    pub(crate) fn report_if_failed(&self, ended: Result<(), Failure>, request: &RequestId) {
        if let Err(failure) = ended {
            self.served.failed();
            self.report(&failure, request);
        }
    }

    /// Writes `failure` into the log, unless it is the client's, and decides what the client is told.
    pub(crate) fn refuse(&self, failure: &Failure, exchange: &Exchange, reader: Reader) -> Refusal {
        if let Some(refusal) = Refusal::of(exchange.uploaded()) {
            return refusal;
        }
        let request = &exchange.signature.id;
        self.report(failure, request);
        let refusal = match failure {
            Failure::TimedOut => Refusal::new(StatusCode::GATEWAY_TIMEOUT, "the handler took too long"),
            Failure::NoRoom => Refusal::busy(),
            Failure::Trapped(_)
            | Failure::TooManyResources
            | Failure::TooMuchAtOnce
            | Failure::FieldsTooLarge
            | Failure::ResponseTooLarge
            | Failure::Exited(_)
            | Failure::NoAnswer(_) => Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "the handler failed"),
        };
        let report = || Report { request: Some(request.to_string()), ..failure.told(&self.serving) };
        Refusal { page: Page::of(reader, || (report(), exchange.last_words())), ..refusal }
    }
}

/// An answer of ours in the guest's place. It says nothing about the inside, but on its page.
#[derive(Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    text: &'static str,
    retry: bool,
    page: Option<Box<Page>>,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, text: &'static str) -> Self {
        Self { status, text, retry: false, page: None }
    }

    /// There is too much to do right now; another attempt may find less.
    pub(crate) fn busy() -> Self {
        Self { retry: true, ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "too many requests at once") }
    }

    /// What a client is told whose upload failed.
    pub(crate) fn of(upload: Upload) -> Option<Self> {
        match upload {
            Upload::Stalled => {
                Some(Self::new(StatusCode::REQUEST_TIMEOUT, "the rest of the request did not come"))
            }
            Upload::Broken => Some(Self::new(StatusCode::BAD_REQUEST, "the request's body is broken")),
            Upload::TooLarge => Some(Self::too_large()),
            Upload::Open | Upload::Complete => None,
        }
    }

    /// The request's body has more than it may have.
    pub(crate) fn too_large() -> Self {
        reached(Limit::MaxBodySize);
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "the request's body is too large")
    }

    pub(crate) fn response(self) -> Response<ResponseBody> {
        let mut response = Response::new(ResponseBody::full(Bytes::from(format!("{}\n", self.text))));
        *response.status_mut() = self.status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        if self.retry {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if let Some(page) = self.page {
            page.write(&mut response);
        }
        response
    }
}

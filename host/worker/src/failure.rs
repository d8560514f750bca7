//! What can go wrong with a request: what the log says of it, and what the client is told.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};
use wasmcluster_core::limit::Limit;
use wasmcluster_core::message::ReportKind;
use wasmtime::PoolConcurrencyLimitError;
use wasmtime::component::ResourceTableError;
use wasmtime_wasi::I32Exit;
use wasmtime_wasi_http::FieldMapError;

use crate::app::App;
use crate::call::{Exchange, Upload};
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
    /// Writes `failure` into the log.
    pub(crate) fn report(&self, failure: &Failure) {
        if let Some(limit) = failure.limit() {
            reached(limit);
        }
        match failure {
            Failure::Trapped(error) => {
                self.served.trapped();
                self.reports.say_trap(trap::cause("the guest trapped", error), trap::backtrace(error));
            }
            Failure::TooManyResources => {
                self.served.trapped();
                self.reports.say(
                    ReportKind::Limit,
                    "the guest held more resources of the host than it may",
                    Some("raise `--max-resources` if that is to be expected".into()),
                );
            }
            Failure::TooMuchAtOnce => {
                self.served.trapped();
                self.reports.say(
                    ReportKind::Limit,
                    "the guest gave the host more in one call than it may",
                    Some("raise `--max-hostcall-size` if that is to be expected".into()),
                );
            }
            Failure::FieldsTooLarge => {
                self.served.trapped();
                self.reports.say(
                    ReportKind::Limit,
                    "the guest made a larger list of header fields than it may",
                    Some("raise `--max-field-size` if that is to be expected".into()),
                );
            }
            Failure::ResponseTooLarge => self.reports.say(
                ReportKind::Limit,
                "the guest's response was larger than it may be",
                Some("raise `--max-response-size` if that is to be expected".into()),
            ),
            Failure::NoRoom => self.reports.say(
                ReportKind::Worker,
                "no room for another instance",
                Some("lower `--max-concurrent-requests`, or raise `--instances`".into()),
            ),
            Failure::Exited(code) => {
                self.reports.say(ReportKind::BadResponse, format!("the guest called exit({code})"), None);
            }
            Failure::TimedOut => self.reports.say(
                ReportKind::Timeout,
                format!("the guest took longer than {:?}", self.serving.timeout.unwrap_or_default()),
                Some("raise `--timeout` if that is to be expected".into()),
            ),
            Failure::NoAnswer(message) => self.reports.say(ReportKind::BadResponse, message, None),
        }
    }

    /// Writes into the log how a guest ended that already answered.
    pub(crate) fn report_if_failed(&self, ended: Result<(), Failure>) {
        if let Err(failure) = ended {
            self.served.failed();
            self.report(&failure);
        }
    }

    /// Writes `failure` into the log, unless it is the client's, and decides what the client is told.
    pub(crate) fn refuse(&self, failure: &Failure, exchange: &Exchange) -> Refusal {
        if let Some(refusal) = Refusal::of(exchange.uploaded()) {
            return refusal;
        }
        self.report(failure);
        match failure {
            Failure::TimedOut => Refusal::new(StatusCode::GATEWAY_TIMEOUT, "the handler took too long"),
            Failure::NoRoom => Refusal::busy(),
            Failure::Trapped(_)
            | Failure::TooManyResources
            | Failure::TooMuchAtOnce
            | Failure::FieldsTooLarge
            | Failure::ResponseTooLarge
            | Failure::Exited(_)
            | Failure::NoAnswer(_) => Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "the handler failed"),
        }
    }
}

/// An answer of ours in the guest's place. It says nothing about the inside.
#[derive(Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    text: &'static str,
    retry: bool,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, text: &'static str) -> Self {
        Self { status, text, retry: false }
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
        response
    }
}

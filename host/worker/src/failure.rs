//! What can go wrong with a request: what the log says of it, and what the client is told.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};
use wasmcluster_core::message::ReportKind;
use wasmtime::PoolConcurrencyLimitError;
use wasmtime::component::ResourceTableError;
use wasmtime_wasi::I32Exit;

use crate::app::App;
use crate::call::{Exchange, Upload};
use crate::response::ResponseBody;

/// How a guest's call ended other than well.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It trapped, here or while its instance was made.
    Trapped(wasmtime::Error),
    /// It held as many resources of the host as it may, and wanted another.
    TooManyResources,
    /// There was no room for its instance.
    NoRoom,
    /// It called `exit`.
    Exited(i32),
    /// It used up its time.
    TimedOut,
    /// It ended without an answer, or with one that is none; in words.
    NoAnswer(String),
}

impl From<wasmtime::Error> for Failure {
    fn from(error: wasmtime::Error) -> Self {
        if let Some(exit) = error.downcast_ref::<I32Exit>() {
            Self::Exited(exit.0)
        } else if error.is::<PoolConcurrencyLimitError>() {
            Self::NoRoom
        } else if matches!(error.downcast_ref(), Some(ResourceTableError::Full)) {
            Self::TooManyResources
        } else {
            Self::Trapped(error)
        }
    }
}

impl App {
    /// Writes `failure` into the log.
    pub(crate) fn report(&self, failure: &Failure) {
        match failure {
            Failure::Trapped(error) => {
                self.served.trapped();
                self.reports.say(ReportKind::Trap, trap(error), None);
            }
            Failure::TooManyResources => {
                self.served.trapped();
                self.reports.say(
                    ReportKind::Limit,
                    "the guest held more resources of the host than it may",
                    Some("raise `--max-resources` if that is to be expected".into()),
                );
            }
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
        match exchange.uploaded() {
            Upload::Stalled => {
                return Refusal::new(StatusCode::REQUEST_TIMEOUT, "the rest of the request did not come");
            }
            Upload::Broken => return Refusal::new(StatusCode::BAD_REQUEST, "the request's body is broken"),
            Upload::TooLarge => return Refusal::too_large(),
            Upload::Open | Upload::Complete => {}
        }
        self.report(failure);
        match failure {
            Failure::TimedOut => Refusal::new(StatusCode::GATEWAY_TIMEOUT, "the handler took too long"),
            Failure::NoRoom => Refusal::busy(),
            Failure::Trapped(_) | Failure::TooManyResources | Failure::Exited(_) | Failure::NoAnswer(_) => {
                Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "the handler failed")
            }
        }
    }
}

/// The cause alone: the backtrace is for `--json` and the debugger, not for a line in a log.
fn trap(error: &wasmtime::Error) -> String {
    let cause = error.root_cause().to_string();
    let cause = cause.lines().next().unwrap_or_default();
    format!("the guest trapped: {}", cause.strip_prefix("wasm trap: ").unwrap_or(cause))
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

    /// The request's body has more than it may have.
    pub(crate) fn too_large() -> Self {
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

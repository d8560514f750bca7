//! From a request to its response.
//!
//! The guest's future lives in the connection's task: first here, until there is a head; then, if it is not finished,
//! inside the response's body. Nothing is spawned and no channel is added, so backpressure reaches the guest by itself
//! and a client that leaves cancels it.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::header::{CONNECTION, CONTENT_LENGTH, COOKIE, HOST, TRANSFER_ENCODING};
use http::uri::Authority;
use http::{HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body::Body;
use hyper::body::Incoming;
use hyper::service::Service;
use tokio::sync::SemaphorePermit;
use wasmcluster_core::limit::Limit;

use crate::answer::{Answer, Taken};
use crate::app::{App, Ticket};
use crate::body::Patient;
use crate::call::{Exchange, Upload};
use crate::connections::Activity;
use crate::epoch;
use crate::failure::{Failure, Refusal};
use crate::forwarded::{Sender, Signature};
use crate::guest::{Deadline, Guest};
use crate::page::Reader;
use crate::reached::reached;
use crate::response::{ResponseBody, response};

/// How often a guest may add to its response before the head is sent. One that writes in crumbs would keep everybody else
/// waiting.
const MAX_ROUNDS: u32 = 32;

/// How often a response is waited for that is begun, when its guest has to wait for others: in five ticks, which is some ten
/// milliseconds of computing.
const MAX_YIELDS: u32 = 5 * epoch::LOOKS;

/// What answers the requests of one connection.
pub(crate) struct Responder {
    app: &'static App,
    activity: Activity,
    sender: Sender<'static>,
    /// The last name under which the client asked, which is the next one, too: it need not be understood again.
    host: RefCell<Option<Authority>>,
    /// Requests that may still come.
    left: Cell<u32>,
}

impl Responder {
    pub(crate) fn new(app: &'static App, activity: Activity, sender: Sender<'static>) -> Self {
        let left = Cell::new(app.serving.max_keep_alive_requests);
        Self { app, activity, sender, host: RefCell::default(), left }
    }
}

impl Service<Request<Incoming>> for Responder {
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = Responding;

    fn call(&self, mut request: Request<Incoming>) -> Responding {
        let ticket = Ticket::of(self.app, self.activity.clone(), &request);
        let http1 = request.version() <= Version::HTTP_11;
        let head_only = request.method() == Method::HEAD;
        let last = ends_connection(&request) | self.counts_the_last();
        let empty = request.body().is_end_stream();
        let reader = Reader::of(self.app.serving.dev, request.headers());
        let (last, stage) = match self.authority(&request).and_then(|authority| {
            self.check_size(&request)?;
            Ok(authority)
        }) {
            Ok(authority) => {
                let signature = self.sender.sign(request.headers_mut());
                (last, Stage::admit(self.app, request, authority, signature))
            }
            // Who sends this may mean something else by what follows, too.
            Err(refusal) => (true, Stage::Refused(refusal)),
        };
        let activity = self.activity.clone();
        Responding {
            app: self.app,
            activity,
            ticket: Some(ticket),
            http1,
            head_only,
            last,
            empty,
            reader,
            stage: Some(stage),
        }
    }
}

/// The response to one request, as a future. What goes wrong becomes a response, so it never fails.
pub(crate) struct Responding {
    app: &'static App,
    activity: Activity,
    ticket: Option<Ticket>,
    http1: bool,
    head_only: bool,
    /// The connection ends with this.
    last: bool,
    /// The request has no body.
    empty: bool,
    reader: Reader,
    stage: Option<Stage>,
}

/// How far a request has come.
enum Stage {
    /// There was no place under the cap.
    Waiting(Pin<Box<dyn Future<Output = Result<Asked, Refusal>> + Send>>),
    Asked(Asked),
    Refused(Refusal),
}

/// A guest that was asked, and where its answer will be.
struct Asked {
    guest: Guest,
    exchange: Arc<Exchange>,
    /// How often it had to wait for others between head and end of its answer.
    yields: u32,
}

impl Stage {
    fn admit(
        app: &'static App,
        request: Request<Incoming>,
        authority: Authority,
        signature: Signature,
    ) -> Self {
        let mut deadline = Deadline::after(app.serving.timeout);
        match app.places.try_acquire() {
            Ok(place) => Self::Asked(Asked::new(app, request, (authority, signature), (place, deadline))),
            Err(_) => {
                let Some(turn) = app.wait() else {
                    reached(Limit::MaxWaitingRequests);
                    return Self::Refused(Refusal::busy());
                };
                reached(Limit::MaxConcurrentRequests);
                Self::Waiting(Box::pin(async move {
                    let place = deadline.place(app).await?;
                    drop(turn);
                    Ok(Asked::new(app, request, (authority, signature), (place, deadline)))
                }))
            }
        }
    }
}

impl Asked {
    fn new(
        app: &'static App,
        request: Request<Incoming>,
        (authority, signature): (Authority, Signature),
        entry: (SemaphorePermit<'static>, Deadline),
    ) -> Self {
        let exchange = Arc::new(Exchange::new(signature));
        let request = request.map(|body| {
            let empty = body.is_end_stream();
            let body = Patient::new(body, app.serving.body_timeout).at_most(app.serving.max_body_size);
            if empty {
                exchange.upload(Upload::Complete);
                body
            } else {
                body.telling(Arc::clone(&exchange))
            }
        });
        let guest = Guest::new(app, &exchange, request, authority, entry);
        Self { guest, exchange, yields: 0 }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Answer, Failure>> {
        epoch::resumed();
        let yields = epoch::yields();
        let mut ended = self.guest.advance(cx);
        let mut taken = self.exchange.gather();
        for _ in 0..MAX_ROUNDS {
            // What was written is kept with the head, and the guest writes on for as long as it does so without waiting.
            if taken != Taken::Some || ended.is_ready() {
                break;
            }
            ended = self.guest.advance(cx);
            taken = self.exchange.gather();
        }
        // A guest that was interrupted does not wait for anything, and may be a moment away from the end of its response,
        // which then goes out with its length. It gets a few turns more; one that computes for longer is not waited for.
        let interrupted = ended.is_pending() && epoch::yields() != yields;
        if interrupted && self.yields < MAX_YIELDS && taken != Taken::Enough && self.exchange.is_incomplete()
        {
            self.yields += 1;
            return Poll::Pending;
        }
        match (self.exchange.take(), ended) {
            // Nothing was sent yet: a guest that answered and then broke down has not answered.
            (Some(_), Poll::Ready(Err(failure))) if !matches!(failure, Failure::Exited(0)) => {
                Poll::Ready(Err(failure))
            }
            (Some(answer), _) => Poll::Ready(answer.map_err(Failure::NoAnswer).and_then(final_status)),
            (None, Poll::Ready(Ok(()))) => {
                Poll::Ready(Err(Failure::NoAnswer("the guest returned without an answer".into())))
            }
            (None, Poll::Ready(Err(failure))) => Poll::Ready(Err(failure)),
            (None, Poll::Pending) => self.guest.poll_deadline(cx).map(Err),
        }
    }
}

impl Future for Responding {
    type Output = Result<Response<ResponseBody>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if let Some(Stage::Waiting(asked)) = &mut this.stage {
            let asked = ready!(asked.as_mut().poll(cx));
            this.stage = Some(asked.map_or_else(Stage::Refused, Stage::Asked));
        }
        let answered = match &mut this.stage {
            Some(Stage::Asked(asked)) => Some(ready!(asked.poll(cx))),
            _ => None,
        };
        let response = match (this.stage.take(), answered) {
            (Some(Stage::Asked(asked)), Some(answered)) => this.answer(asked, answered, cx),
            (Some(Stage::Refused(refusal)), _) => {
                if !this.empty {
                    this.leave_unread();
                }
                refusal.response()
            }
            // Nobody polls a future again that was ready.
            _ => return Poll::Pending,
        };
        Poll::Ready(Ok(this.finish(response)))
    }
}

impl Responding {
    fn answer(
        &mut self,
        Asked { guest, exchange, .. }: Asked,
        answered: Result<Answer, Failure>,
        cx: &mut Context<'_>,
    ) -> Response<ResponseBody> {
        let answer = match answered {
            Ok(answer) => answer,
            Err(failure) => return self.fail(&failure, &exchange),
        };
        // A guest may have taken what it was given of the body for all of it: in 0.3 the two look alike. What it says to a
        // client whose body failed is its own affair, but that all is well must not be said.
        let upload = exchange.uploaded();
        if (answer.head.status.is_success() || upload == Upload::TooLarge)
            && let Some(refusal) = Refusal::of(upload)
        {
            self.give_up(upload);
            return refusal.response();
        }
        // To HEAD there is no body, whatever is said of its length.
        if let Some(most) = self.app.serving.max_response_size
            && !self.head_only
            && answer.is_larger_than(most)
        {
            return self.fail(&Failure::ResponseTooLarge, &exchange);
        }
        let response = response(self.app, answer, guest, (&exchange, &self.activity), cx);
        // Its body is there to be read and nobody will: what follows it can be found only by reading it all.
        if response.body().is_complete() && matches!(exchange.uploaded(), Upload::Open | Upload::TooLarge) {
            self.leave_unread();
        }
        response
    }

    fn fail(&mut self, failure: &Failure, exchange: &Exchange) -> Response<ResponseBody> {
        let refusal = self.app.refuse(failure, exchange, self.reader);
        self.give_up(exchange.uploaded());
        let mut response = refusal.response();
        // Whoever asks what went wrong can say which line of the log it is.
        exchange.signature.id.write(response.headers_mut());
        response
    }

    /// Nothing more is read of a request whose body has come so far.
    fn give_up(&mut self, upload: Upload) {
        match upload {
            Upload::Open | Upload::TooLarge => self.leave_unread(),
            // Where the next request would begin, nobody knows.
            Upload::Stalled | Upload::Broken => self.last = true,
            Upload::Complete => {}
        }
    }

    /// What the client still sends will not be read, so this is the connection's last request.
    fn leave_unread(&mut self) {
        self.activity.leave_unread();
        self.last = true;
    }

    fn finish(&mut self, mut response: Response<ResponseBody>) -> Response<ResponseBody> {
        if response.status().is_server_error() {
            self.app.served.failed();
        }
        if self.head_only {
            response = without_body(response);
        }
        if self.http1 && (self.last || self.app.is_draining()) {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        if let Some(ticket) = self.ticket.take() {
            response.body_mut().hold(ticket);
        }
        response
    }
}

/// The answer to HEAD: the headers that the answer to GET has, and no body.
fn without_body(response: Response<ResponseBody>) -> Response<ResponseBody> {
    let (mut parts, body) = response.into_parts();
    let (length, body) = body.head_only();
    if let Some(length) = length.filter(|length| *length > 0) {
        parts.headers.entry(CONTENT_LENGTH).or_insert_with(|| HeaderValue::from(length));
    }
    Response::from_parts(parts, body)
}

/// Whether this must be the connection's last request.
///
/// hyper reads a request that has both `Transfer-Encoding` and `Content-Length` by the former and drops the latter. That
/// is allowed, but the connection must then be closed, because something between the client and us may have counted
/// otherwise. Of the dropped header nothing is left to see: so every chunked upload ends its connection.
fn ends_connection(request: &Request<Incoming>) -> bool {
    request.version() == Version::HTTP_11 && request.headers().contains_key(TRANSFER_ENCODING)
}

impl Responder {
    /// Counts a request; whether it is the last one that the connection may carry. Over HTTP/2, more may be on their way:
    /// those are answered.
    fn counts_the_last(&self) -> bool {
        let left = self.left.get().saturating_sub(1);
        self.left.set(left);
        if left == 0 && self.activity.close() {
            reached(Limit::MaxKeepAliveRequests);
        }
        left == 0
    }

    /// Refuses what says by itself that it is larger than it may be.
    fn check_size(&self, request: &Request<Incoming>) -> Result<(), Refusal> {
        let serving = &self.app.serving;
        // HTTP/2 has a limit for their size alone, and may have a field for each cookie.
        if request.uri().path_and_query().map_or(0, |target| target.as_str().len())
            > serving.max_target_size as usize
        {
            reached(Limit::MaxTargetSize);
            return Err(Refusal::new(StatusCode::URI_TOO_LONG, "the request's target is too long"));
        }
        let cookies = request.headers().get_all(COOKIE).iter().count();
        if request.headers().len() - cookies.saturating_sub(1) > serving.max_headers as usize {
            reached(Limit::MaxHeaders);
            return Err(Refusal::new(
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "the request has too many header fields",
            ));
        }
        match (request.body().size_hint().lower(), serving.max_body_size) {
            (least, Some(most)) if least > most => Err(Refusal::too_large()),
            _ => Ok(()),
        }
    }

    /// The name under which the client asks.
    fn authority(&self, request: &Request<Incoming>) -> Result<Authority, Refusal> {
        let bad = |text| Err(Refusal::new(StatusCode::BAD_REQUEST, text));
        if request.method() == Method::CONNECT {
            return Err(Refusal::new(StatusCode::NOT_IMPLEMENTED, "this server is no proxy"));
        }
        if request.uri().path_and_query().is_none() {
            return bad("the target has no path");
        }
        let mut hosts = request.headers().get_all(HOST).iter();
        let (host, second) = (hosts.next(), hosts.next());
        if second.is_some() {
            return bad("more than one host header");
        }
        if host.is_none() && request.version() == Version::HTTP_11 {
            return bad("no host header");
        }
        match (request.uri().authority(), host) {
            (Some(authority), _) => checked(authority.clone()),
            (None, Some(host)) => {
                if let Some(known) = &*self.host.borrow()
                    && known.as_str().as_bytes() == host.as_bytes()
                {
                    return Ok(known.clone());
                }
                let authority =
                    Authority::try_from(host.as_bytes()).or_else(|_| bad("the host header names no host"))?;
                let authority = checked(authority)?;
                self.host.replace(Some(authority.clone()));
                Ok(authority)
            }
            (None, None) if request.version() == Version::HTTP_10 => Ok(self.app.authority.clone()),
            (None, None) => bad("no authority"),
        }
    }
}

/// A name is a host, or a host and a port. What the library takes may be more.
fn checked(authority: Authority) -> Result<Authority, Refusal> {
    let port = authority.as_str().strip_prefix(authority.host()).and_then(|rest| rest.strip_prefix(':'));
    if authority.as_str() != authority.host()
        && port.is_none_or(|port| !port.is_empty() && port.parse::<u16>().is_err())
    {
        return Err(Refusal::new(StatusCode::BAD_REQUEST, "the host header names no host and port"));
    }
    Ok(authority)
}

fn final_status(answer: Answer) -> Result<Answer, Failure> {
    match answer.head.status {
        status if status.is_informational() => Err(Failure::NoAnswer(format!(
            "the guest answered with status {}, which is not final",
            status.as_u16()
        ))),
        _ => Ok(answer),
    }
}

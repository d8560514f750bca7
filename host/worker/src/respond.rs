//! From a request to its response.
//!
//! The guest's future lives in the connection's task: first here, until there is a head; then, if it is not finished,
//! inside the response's body. Nothing is spawned and no channel is added, so backpressure reaches the guest by itself
//! and a client that leaves cancels it.

use std::convert::Infallible;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use http::header::{CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::uri::Authority;
use http::{HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body::Body;
use hyper::body::Incoming;

use crate::app::{App, Ticket};
use crate::body::Patient;
use crate::call::{Exchange, Upload};
use crate::connections::Activity;
use crate::failure::{Failure, Refusal};
use crate::guest::{Deadline, Guest};
use crate::response::{ResponseBody, Rest};

/// Answers one request. What goes wrong becomes a response, so this never fails.
pub(crate) async fn respond(
    app: Arc<App>,
    activity: Activity,
    request: Request<Incoming>,
) -> Result<Response<ResponseBody>, Infallible> {
    let ticket = Ticket::of(&app, activity.clone());
    let http1 = request.version() <= Version::HTTP_11;
    let head_only = request.method() == Method::HEAD;
    let mut last = ends_connection(&request);
    let asked = match authority(&app, &request) {
        Ok(authority) => ask(&app, &activity, request, authority).await,
        Err(refusal) => {
            // Who sends this may mean something else by what follows, too.
            last = true;
            Err(refusal)
        }
    };
    let mut response = match asked {
        Ok((response, exchange)) => {
            // Its body is there to be read and nobody will: what follows it can be found only by reading it all.
            if response.body().is_complete() && exchange.uploaded() == Upload::Open {
                activity.leave_unread();
                last = true;
            }
            response
        }
        Err(refusal) => refusal.response(),
    };
    if head_only {
        response = without_body(response);
    }
    if http1 && (last || app.is_draining()) {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response.body_mut().hold(ticket);
    Ok(response)
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

/// The name under which the client asked.
fn authority(app: &App, request: &Request<Incoming>) -> Result<Authority, Refusal> {
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
    let authority = match (request.uri().authority(), host) {
        (Some(authority), _) => authority.clone(),
        (None, Some(host)) => {
            Authority::try_from(host.as_bytes()).or_else(|_| bad("the host header names no host"))?
        }
        (None, None) if request.version() == Version::HTTP_10 => app.authority.clone(),
        (None, None) => return bad("no authority"),
    };
    let port = authority.as_str().strip_prefix(authority.host()).and_then(|rest| rest.strip_prefix(':'));
    if authority.as_str() != authority.host()
        && port.is_none_or(|port| !port.is_empty() && port.parse::<u16>().is_err())
    {
        return bad("the host header names no host and port");
    }
    Ok(authority)
}

/// Puts the request to the guest, and waits for the head of its answer.
async fn ask(
    app: &Arc<App>,
    activity: &Activity,
    request: Request<Incoming>,
    authority: Authority,
) -> Result<(Response<ResponseBody>, Arc<Exchange>), Refusal> {
    let deadline = Deadline::after(app.serving.timeout);
    let permit = deadline.permit(app).await?;
    let exchange = Arc::new(Exchange::default());
    let request = request.map(|body| {
        let empty = body.is_end_stream();
        let body = Patient::new(body, app.serving.body_timeout);
        if empty {
            exchange.upload(Upload::Complete);
            body
        } else {
            body.telling(Arc::clone(&exchange))
        }
    });
    let mut guest = Guest::new(app, &exchange, request, authority, (permit, deadline));
    let answer = poll_fn(|cx| {
        let ended = guest.poll(cx);
        match (exchange.take(), ended) {
            // Nothing was sent yet: a guest that answered and then broke down has not answered.
            (Some(_), Poll::Ready(Err(failure))) if !matches!(failure, Failure::Exited(0)) => {
                Poll::Ready(Err(failure))
            }
            (Some(head), _) => Poll::Ready(head.map_err(Failure::NoAnswer)),
            (None, Poll::Ready(Ok(()))) => {
                Poll::Ready(Err(Failure::NoAnswer("the guest returned without an answer".into())))
            }
            (None, Poll::Ready(Err(failure))) => Poll::Ready(Err(failure)),
            (None, Poll::Pending) => Poll::Pending,
        }
    });
    let (parts, body) = match answer.await.and_then(final_status) {
        Ok(answer) => answer.into_parts(),
        Err(failure) => return Err(app.refuse(&failure, &exchange)),
    };
    let mut rest = Some(Rest {
        app: Arc::clone(app),
        guest,
        body,
        exchange: Arc::clone(&exchange),
        activity: activity.clone(),
    });
    let gathered = poll_fn(|cx| match rest.take() {
        Some(rest) => Poll::Ready(ResponseBody::gather(rest, cx)),
        None => Poll::Pending,
    });
    match gathered.await {
        Ok(body) => Ok((Response::from_parts(parts, body), exchange)),
        Err(failure) => Err(app.refuse(&failure, &exchange)),
    }
}

fn final_status<B>(answer: Response<B>) -> Result<Response<B>, Failure> {
    match answer.status() {
        status if status.is_informational() => Err(Failure::NoAnswer(format!(
            "the guest answered with status {}, which is not final",
            status.as_u16()
        ))),
        _ => Ok(answer),
    }
}

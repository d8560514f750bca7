//! A handler: routes, JSON in and out, a response that is streamed, a request to somebody else.

use std::pin::Pin;

use bytes::Bytes;
use futures_lite::stream::unfold;
use http::{Method, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use serde::{Deserialize, Serialize};
use wasip3::clocks::monotonic_clock::wait_for;
use wasip3::exports::http::handler::Guest;
use wasip3::http::types::{self, ErrorCode};
use wasip3::http::{client, service};
use wasip3::http_compat::{
    IncomingRequestBody, http_from_wasi_request, http_from_wasi_response, http_into_wasi_request,
    http_into_wasi_response,
};

// Makes `Handler` what the component answers requests with.
service::export!(Handler);

struct Handler;

impl Guest for Handler {
    // Called once for every request, and for the next one while this one waits. An `Err` becomes a 500.
    async fn handle(request: types::Request) -> Result<types::Response, ErrorCode> {
        http_into_wasi_response(answer(http_from_wasi_request(request)?).await)
    }
}

/// Whatever a response may have for a body.
type Body = Pin<Box<dyn http_body::Body<Data = Bytes, Error = ErrorCode>>>;

#[derive(Debug, PartialEq)]
enum Route<'a> {
    Welcome,
    ShowUser(&'a str),
    AddUser,
    Events,
    Echo,
    Fetch,
    NotAllowed,
    NotFound,
}

/// What is asked for. It needs nothing of WASI, so `cargo test` can try it.
fn route<'a>(method: &Method, path: &'a str) -> Route<'a> {
    // "/users/7" is ["users", "7"].
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    match (method, parts.as_slice()) {
        (&Method::GET, []) => Route::Welcome,
        (&Method::GET, ["users", id]) => Route::ShowUser(id),
        (&Method::POST, ["users"]) => Route::AddUser,
        (&Method::GET, ["events"]) => Route::Events,
        (&Method::POST, ["echo"]) => Route::Echo,
        (&Method::GET, ["fetch"]) => Route::Fetch,
        (_, [] | ["users", _] | ["users" | "events" | "echo" | "fetch"]) => Route::NotAllowed,
        _ => Route::NotFound,
    }
}

async fn answer(request: Request<IncomingRequestBody>) -> Response<Body> {
    let (head, body) = request.into_parts();
    match route(&head.method, head.uri.path()) {
        Route::Welcome => respond(StatusCode::OK, "text/plain", "Hello from starter\n"),
        Route::ShowUser(id) => show_user(id),
        Route::AddUser => add_user(body).await,
        Route::Events => events(),
        // It goes back as it comes, however long it is.
        Route::Echo => Response::new(Box::pin(body)),
        Route::Fetch => fetch(head.uri.query().unwrap_or_default()).await,
        Route::NotAllowed => problem(StatusCode::METHOD_NOT_ALLOWED, "method not allowed"),
        Route::NotFound => problem(StatusCode::NOT_FOUND, "no such path"),
    }
}

#[derive(Serialize)]
struct User {
    id: u64,
    name: String,
}

#[derive(Deserialize)]
struct NewUser {
    name: String,
}

fn show_user(id: &str) -> Response<Body> {
    match id.parse() {
        Ok(id) => json(StatusCode::OK, &User { id, name: format!("user {id}") }),
        Err(_) => problem(StatusCode::NOT_FOUND, "a user's id is a number"),
    }
}

async fn add_user(body: IncomingRequestBody) -> Response<Body> {
    let bytes = match body.collect().await {
        Ok(collected) => collected.to_bytes(),
        Err(error) => return problem(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    // What is wrong with the body is the client's business, so it is told.
    match serde_json::from_slice::<NewUser>(&bytes) {
        Ok(user) => json(StatusCode::CREATED, &User { id: 8, name: user.name }),
        Err(error) => problem(StatusCode::BAD_REQUEST, &error.to_string()),
    }
}

/// Five lines, one every 200 ms, each of which reaches the client when it is made.
fn events() -> Response<Body> {
    let lines = unfold(1, |number| async move {
        if number > 5 {
            return None;
        }
        wait_for(200_000_000).await;
        let line = Frame::data(Bytes::from(format!("event {number}\n")));
        Some((Ok::<_, ErrorCode>(line), number + 1))
    });
    Response::new(Box::pin(StreamBody::new(lines)))
}

/// `?url=http://example.org/`: what that answers. It takes `--allow-outbound example.org`.
async fn fetch(query: &str) -> Response<Body> {
    let Some(url) = query.split('&').find_map(|pair| pair.strip_prefix("url=")) else {
        return problem(StatusCode::BAD_REQUEST, "which url?");
    };
    let request = match Request::get(url).body(Empty::<Bytes>::new()) {
        Ok(request) => request,
        Err(error) => return problem(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    let sent = match http_into_wasi_request(request) {
        Ok(request) => client::send(request).await.and_then(http_from_wasi_response),
        Err(error) => Err(error),
    };
    match sent {
        Ok(answer) => {
            let (head, body) = answer.into_parts();
            let mut response = Response::new(Box::pin(body) as Body);
            *response.status_mut() = head.status;
            response
        }
        Err(error) => problem(StatusCode::BAD_GATEWAY, &error.to_string()),
    }
}

#[derive(Serialize)]
struct Problem<'a> {
    error: &'a str,
}

fn json(status: StatusCode, value: &impl Serialize) -> Response<Body> {
    match serde_json::to_string(value) {
        Ok(text) => respond(status, "application/json", text),
        Err(error) => respond(StatusCode::INTERNAL_SERVER_ERROR, "text/plain", error.to_string()),
    }
}

fn problem(status: StatusCode, error: &str) -> Response<Body> {
    json(status, &Problem { error })
}

fn respond(status: StatusCode, kind: &'static str, text: impl Into<Bytes>) -> Response<Body> {
    let body = Full::new(text.into()).map_err(|never| -> ErrorCode { match never {} });
    let mut response = Response::new(Box::pin(body) as Body);
    *response.status_mut() = status;
    response.headers_mut().insert("content-type", http::HeaderValue::from_static(kind));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_find_their_way() {
        assert_eq!(route(&Method::GET, "/"), Route::Welcome);
        assert_eq!(route(&Method::GET, "/users/7"), Route::ShowUser("7"));
        assert_eq!(route(&Method::POST, "/users"), Route::AddUser);
        assert_eq!(route(&Method::DELETE, "/users/7"), Route::NotAllowed);
        assert_eq!(route(&Method::GET, "/nothing"), Route::NotFound);
    }
}

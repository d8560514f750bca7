//! A small JSON service of users and events with `wstd`: routes, JSON in and out, a limit, a response that is streamed.

use std::convert::Infallible;

use futures_lite::stream::unfold;
use serde::{Deserialize, Serialize};
use wstd::http::body::Body;
use wstd::http::body::util::{BodyExt, LengthLimitError, Limited};
use wstd::http::{Error, HeaderValue, Method, Request, Response, StatusCode};
use wstd::rand::get_random_bytes;
use wstd::time::Duration;

/// What a user may be long in JSON.
const LARGEST: usize = 64 << 10;

#[derive(Debug, PartialEq)]
enum Route<'a> {
    Welcome,
    ShowUser(&'a str),
    AddUser,
    Events,
    /// The path exists, the method is another one: this one.
    Only(&'static str),
    Nowhere,
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
        (_, [] | ["users", _] | ["events"]) => Route::Only("GET"),
        (_, ["users"]) => Route::Only("POST"),
        _ => Route::Nowhere,
    }
}

// Called once for every request. An `Err` becomes a 500.
#[wstd::http_server]
async fn main(request: Request<Body>) -> Result<Response<Body>, Error> {
    let (head, body) = request.into_parts();
    let mut response = match route(&head.method, head.uri.path()) {
        Route::Welcome => Response::new("try /users/7 and /events\n".into()),
        Route::ShowUser(id) => show_user(id)?,
        Route::AddUser => add_user(body).await?,
        Route::Events => events(),
        Route::Only(method) => not_allowed(method)?,
        Route::Nowhere => problem(StatusCode::NOT_FOUND, "no such path")?,
    };
    // Every response has the request's, or a new one where it has none that is fit for logs.
    let id = match head.headers.get("x-request-id") {
        Some(id) if is_fit_for_logs(id) => id.clone(),
        _ => new_request_id()?,
    };
    response.headers_mut().insert("x-request-id", id);
    Ok(response)
}

fn is_fit_for_logs(id: &HeaderValue) -> bool {
    let fits = |byte: &u8| byte.is_ascii_alphanumeric() || b"_=-".contains(byte);
    (1..=255).contains(&id.len()) && id.as_bytes().iter().all(fits)
}

fn new_request_id() -> Result<HeaderValue, Error> {
    let mut bytes = [0; 16];
    get_random_bytes(&mut bytes);
    Ok(format!("{:032x}", u128::from_be_bytes(bytes)).parse()?)
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

fn show_user(id: &str) -> Result<Response<Body>, Error> {
    match id.parse() {
        Ok(id) => json(StatusCode::OK, &User { id, name: format!("user {id}") }),
        Err(_) => problem(StatusCode::NOT_FOUND, "a user's id is a number"),
    }
}

async fn add_user(body: Body) -> Result<Response<Body>, Error> {
    // What is wrong with the body is the client's business, so it is told.
    let body = match Limited::new(body.into_boxed_body(), LARGEST).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => {
            return problem(StatusCode::PAYLOAD_TOO_LARGE, &format!("a user is {LARGEST} bytes at most"));
        }
        Err(error) => return problem(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    match serde_json::from_slice::<NewUser>(&body) {
        Ok(user) if user.name.is_empty() => problem(StatusCode::BAD_REQUEST, "a user has a name"),
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
        wstd::task::sleep(Duration::from_millis(200)).await;
        Some((Ok::<_, Infallible>(format!("event {number}\n")), number + 1))
    });
    Response::new(Body::from_try_stream(lines))
}

#[derive(Serialize)]
struct Problem<'a> {
    error: &'a str,
}

fn json(status: StatusCode, value: &impl Serialize) -> Result<Response<Body>, Error> {
    let response = Response::builder().status(status).header("content-type", "application/json");
    Ok(response.body(Body::from_json(value)?)?)
}

fn problem(status: StatusCode, error: &str) -> Result<Response<Body>, Error> {
    json(status, &Problem { error })
}

fn not_allowed(allowed: &str) -> Result<Response<Body>, Error> {
    let mut response = problem(StatusCode::METHOD_NOT_ALLOWED, "method not allowed")?;
    response.headers_mut().insert("allow", allowed.parse()?);
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_find_their_way() {
        assert_eq!(route(&Method::GET, "/"), Route::Welcome);
        assert_eq!(route(&Method::GET, "/users/7"), Route::ShowUser("7"));
        assert_eq!(route(&Method::POST, "/users"), Route::AddUser);
        assert_eq!(route(&Method::GET, "/events"), Route::Events);
        assert_eq!(route(&Method::DELETE, "/users/7"), Route::Only("GET"));
        assert_eq!(route(&Method::GET, "/users"), Route::Only("POST"));
        assert_eq!(route(&Method::GET, "/nowhere"), Route::Nowhere);
    }

    #[test]
    fn what_would_garble_a_log_is_no_request_id() {
        let fits = |id: &str| is_fit_for_logs(&HeaderValue::from_str(id).unwrap());
        assert!(fits("abc-1") && fits(&"x".repeat(255)));
        assert!(!fits("") && !fits("no good") && !fits(&"x".repeat(256)));
    }
}

//! A handler: routes, JSON in and out, a response that is streamed, a request to somebody else.

use std::convert::Infallible;

use futures_lite::stream::unfold;
use serde::{Deserialize, Serialize};
use wstd::http::body::Body;
use wstd::http::{Client, Error, Method, Request, Response, StatusCode};
use wstd::time::Duration;

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

// Called once for every request. An `Err` becomes a 500.
#[wstd::http_server]
async fn main(request: Request<Body>) -> Result<Response<Body>, Error> {
    let (head, body) = request.into_parts();
    match route(&head.method, head.uri.path()) {
        Route::Welcome => Ok(Response::new("Hello from starter\n".into())),
        Route::ShowUser(id) => show_user(id),
        Route::AddUser => add_user(body).await,
        Route::Events => Ok(events()),
        // It goes back as it comes, however long it is.
        Route::Echo => Ok(Response::new(body)),
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

fn show_user(id: &str) -> Result<Response<Body>, Error> {
    match id.parse() {
        Ok(id) => json(StatusCode::OK, &User { id, name: format!("user {id}") }),
        Err(_) => problem(StatusCode::NOT_FOUND, "a user's id is a number"),
    }
}

async fn add_user(mut body: Body) -> Result<Response<Body>, Error> {
    // What is wrong with the body is the client's business, so it is told.
    match body.json::<NewUser>().await {
        Ok(user) => json(StatusCode::CREATED, &User { id: 8, name: user.name }),
        Err(error) => problem(StatusCode::BAD_REQUEST, &format!("{error:#}")),
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

/// `?url=http://example.org/`: what that answers. It takes `--allow-outbound example.org`.
async fn fetch(query: &str) -> Result<Response<Body>, Error> {
    let Some(url) = query.split('&').find_map(|pair| pair.strip_prefix("url=")) else {
        return problem(StatusCode::BAD_REQUEST, "which url?");
    };
    let request = match Request::get(url).body(Body::empty()) {
        Ok(request) => request,
        Err(error) => return problem(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    match Client::new().send(request).await {
        Ok(answer) => Ok(Response::builder().status(answer.status()).body(answer.into_body())?),
        Err(error) => problem(StatusCode::BAD_GATEWAY, &format!("{error:#}")),
    }
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

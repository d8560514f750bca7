//! A small JSON service with `wstd`: routes, JSON in and out, and a response that is streamed.

use std::convert::Infallible;

use futures_lite::stream::unfold;
use serde::{Deserialize, Serialize};
use wstd::http::body::Body;
use wstd::http::{Error, Method, Request, Response, StatusCode};
use wstd::time::Duration;

#[derive(Serialize)]
struct User {
    id: u64,
    name: String,
}

#[derive(Deserialize)]
struct NewUser {
    name: String,
}

#[derive(Serialize)]
struct Problem {
    error: String,
}

// Called once for every request. An `Err` becomes a 500.
#[wstd::http_server]
async fn main(request: Request<Body>) -> Result<Response<Body>, Error> {
    let (head, body) = request.into_parts();
    // "/users/7" is ["users", "7"].
    let path: Vec<&str> = head.uri.path().split('/').filter(|part| !part.is_empty()).collect();

    match (head.method, path.as_slice()) {
        (Method::GET, []) => Ok(Response::new("try /users/7 and /events\n".into())),
        (Method::GET, ["users", id]) => show_user(id),
        (Method::POST, ["users"]) => add_user(body).await,
        (Method::GET, ["events"]) => Ok(events()),
        // The path exists, the method is another one.
        (_, []) | (_, ["users", _]) | (_, ["events"]) => not_allowed("GET"),
        (_, ["users"]) => not_allowed("POST"),
        _ => problem(StatusCode::NOT_FOUND, "no such path"),
    }
}

fn show_user(id: &str) -> Result<Response<Body>, Error> {
    match id.parse() {
        Ok(id) => json(StatusCode::OK, &User { id, name: format!("user {id}") }),
        Err(_) => problem(StatusCode::NOT_FOUND, "a user's id is a number"),
    }
}

async fn add_user(mut body: Body) -> Result<Response<Body>, Error> {
    // Reads the whole body. What is wrong with it is the client's business, so it is told.
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

fn json(status: StatusCode, value: &impl Serialize) -> Result<Response<Body>, Error> {
    let response = Response::builder().status(status).header("content-type", "application/json");
    Ok(response.body(Body::from_json(value)?)?)
}

fn problem(status: StatusCode, error: &str) -> Result<Response<Body>, Error> {
    json(status, &Problem { error: error.to_owned() })
}

fn not_allowed(allowed: &str) -> Result<Response<Body>, Error> {
    let mut response = problem(StatusCode::METHOD_NOT_ALLOWED, "method not allowed")?;
    response.headers_mut().insert("allow", allowed.parse()?);
    Ok(response)
}

//! Requests to elsewhere.

use wasip3::http::client;
use wasip3::http::types::{ErrorCode, Fields, Method, Request, Response, Scheme};
use wasip3::{spawn_local, wit_future, wit_stream};
use zoo::{Answer, Query, Url};

use crate::bodies::{Reader, buffer};
use crate::respond;

/// Asks `url` so many times and passes on the last answer.
pub async fn relay(query: &Query) -> Response {
    let method = query.text("method").unwrap_or("GET");
    let bytes = query.number("bytes", 0);
    let url = Url::parse(query.text("url").unwrap_or_default());
    for _ in 1..query.number("n", 1) {
        // Read to its end, so that the next one may take the same connection.
        match send(method, &url, bytes).await {
            Ok(response) => drain(Reader::of_response(response)).await,
            Err(error) => return failure(error),
        }
    }
    match send(method, &url, bytes).await {
        Ok(response) => pass_on(response),
        Err(error) => failure(error),
    }
}

fn pass_on(response: Response) -> Response {
    let first_line = format!("status: {}\n", response.get_status_code());
    let mut reader = Reader::of_response(response);
    respond::text(200, async move |body| {
        body.write(first_line.into_bytes()).await?;
        let mut buffer = buffer();
        while let Some(chunk) = reader.chunk(buffer).await {
            buffer = body.write(chunk).await?;
        }
        reader.trailers().await?;
        Ok(None)
    })
}

async fn drain(mut reader: Reader) {
    let mut buffer = buffer();
    while let Some(mut chunk) = reader.chunk(buffer).await {
        chunk.clear();
        buffer = chunk;
    }
}

/// Asks `url` until it may not any more, or often enough, and leaves all answers unread until then.
pub async fn hold(query: &Query) -> Response {
    let url = Url::parse(query.text("url").unwrap_or_default());
    let mut held = Vec::new();
    while held.len() < query.number("n", 1) as usize {
        match send("GET", &url, 0).await {
            Ok(response) => held.push(response),
            Err(_) => break,
        }
    }
    respond::answer(Answer::ok(format!("held {}\n", held.len())))
}

async fn send(method: &str, url: &Url, bytes: u64) -> Result<Response, ErrorCode> {
    let (end, trailers) = wit_future::new(|| Ok(None));
    let contents = (bytes > 0).then(|| {
        let (mut writer, contents) = wit_stream::new();
        spawn_local(async move {
            // Nobody may be there to take it, which the answer says.
            let piece = 64 << 10;
            for sent in (0..bytes).step_by(piece) {
                let rest = writer.write_all(zoo::chunk(0, (bytes - sent).min(piece as u64))).await;
                if !rest.is_empty() {
                    break;
                }
            }
            drop(writer);
            let _ = end.write(Ok(None)).await;
        });
        contents
    });
    let (request, _) = Request::new(Fields::new(), contents, trailers, None);
    let valid = request.set_method(&parse_method(method)).is_ok()
        && request.set_scheme(Some(&parse_scheme(&url.scheme))).is_ok()
        && request.set_authority(Some(&url.authority)).is_ok()
        && request.set_path_with_query(Some(&url.path)).is_ok();
    if !valid {
        return Err(ErrorCode::HttpRequestUriInvalid);
    }
    client::send(request).await
}

fn failure(error: ErrorCode) -> Response {
    respond::answer(Answer { status: 502, body: format!("error: {error:?}\n") })
}

fn parse_method(name: &str) -> Method {
    match name {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" => Method::Post,
        "PUT" => Method::Put,
        "DELETE" => Method::Delete,
        "CONNECT" => Method::Connect,
        "OPTIONS" => Method::Options,
        "TRACE" => Method::Trace,
        "PATCH" => Method::Patch,
        _ => Method::Other(name.to_owned()),
    }
}

fn parse_scheme(name: &str) -> Scheme {
    match name {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        _ => Scheme::Other(name.to_owned()),
    }
}

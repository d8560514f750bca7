//! Requests to elsewhere.

use std::io::{self, Write};

use wasip2::http::outgoing_handler;
use wasip2::http::types::{
    ErrorCode, Fields, IncomingResponse, Method, OutgoingBody, OutgoingRequest, ResponseOutparam, Scheme,
};
use zoo::{Answer, Query, Url};

use crate::bodies::Reader;
use crate::respond;

/// Asks `url` so many times and passes on the last answer.
pub fn relay(query: &Query, out: ResponseOutparam) -> io::Result<()> {
    let method = query.text("method").unwrap_or("GET");
    let bytes = query.number("bytes", 0);
    let url = Url::parse(query.text("url").unwrap_or_default());
    for _ in 1..query.number("n", 1) {
        // Read to its end, so that the next one may take the same connection.
        match send(method, &url, bytes) {
            Ok(response) => {
                let mut reader = read(&response);
                while reader.chunk()?.is_some() {}
            }
            Err(error) => return respond::answer(out, failure(error)),
        }
    }
    match send(method, &url, bytes) {
        Ok(response) => {
            let mut reader = read(&response);
            let mut body = respond::text(out, 200);
            body.write(format!("status: {}\n", response.status()).as_bytes())?;
            while let Some(chunk) = reader.chunk()? {
                body.write(&chunk)?;
            }
            body.finish(None);
            Ok(())
        }
        Err(error) => respond::answer(out, failure(error)),
    }
}

/// Asks `url` until it may not any more, or often enough, and leaves all answers unread until then.
pub fn hold(query: &Query, out: ResponseOutparam) -> io::Result<()> {
    let url = Url::parse(query.text("url").unwrap_or_default());
    let mut held = Vec::new();
    while held.len() < query.number("n", 1) as usize {
        match send("GET", &url, 0) {
            Ok(response) => held.push(response),
            Err(_) => break,
        }
    }
    respond::answer(out, Answer::ok(format!("held {}\n", held.len())))
}

fn send(method: &str, url: &Url, bytes: u64) -> Result<IncomingResponse, ErrorCode> {
    let request = OutgoingRequest::new(Fields::new());
    let valid = request.set_method(&parse_method(method)).is_ok()
        && request.set_scheme(Some(&parse_scheme(&url.scheme))).is_ok()
        && request.set_authority(Some(&url.authority)).is_ok()
        && request.set_path_with_query(Some(&url.path)).is_ok();
    if !valid {
        return Err(ErrorCode::HttpRequestUriInvalid);
    }
    let body = (bytes > 0).then(|| request.body().expect("the body is taken once"));
    let future = outgoing_handler::handle(request, None)?;
    if let Some(body) = body {
        let mut stream = body.write().expect("the stream is taken once");
        let piece = zoo::chunk(0, 64 << 10);
        // Nobody may be there to take it, which the answer says.
        let _ = (0..bytes)
            .step_by(piece.len())
            .try_for_each(|sent| stream.write_all(&piece[..piece.len().min((bytes - sent) as usize)]));
        drop(stream);
        let _ = OutgoingBody::finish(body, None);
    }
    loop {
        match future.get() {
            Some(result) => return result.expect("the response is taken once"),
            None => future.subscribe().block(),
        }
    }
}

fn read(response: &IncomingResponse) -> Reader {
    Reader::new(response.consume().expect("the body is taken once"))
}

fn failure(error: ErrorCode) -> Answer {
    Answer { status: 502, body: format!("error: {error:?}\n") }
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

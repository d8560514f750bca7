//! Requests to elsewhere.

use std::io;

use wasip2::http::outgoing_handler;
use wasip2::http::types::{
    ErrorCode, Fields, IncomingResponse, Method, OutgoingRequest, ResponseOutparam, Scheme,
};
use zoo::{Answer, Query, Url};

use crate::bodies::Reader;
use crate::respond;

/// Asks `url` so many times and passes on the last answer.
pub fn relay(query: &Query, out: ResponseOutparam) -> io::Result<()> {
    let method = query.text("method").unwrap_or("GET");
    let url = Url::parse(query.text("url").unwrap_or_default());
    for _ in 1..query.number("n", 1) {
        // Read to its end, so that the next one may take the same connection.
        match send(method, &url) {
            Ok(response) => {
                let mut reader = read(&response);
                while reader.chunk()?.is_some() {}
            }
            Err(error) => return respond::answer(out, failure(error)),
        }
    }
    match send(method, &url) {
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

fn send(method: &str, url: &Url) -> Result<IncomingResponse, ErrorCode> {
    let request = OutgoingRequest::new(Fields::new());
    let valid = request.set_method(&parse_method(method)).is_ok()
        && request.set_scheme(Some(&parse_scheme(&url.scheme))).is_ok()
        && request.set_authority(Some(&url.authority)).is_ok()
        && request.set_path_with_query(Some(&url.path)).is_ok();
    if !valid {
        return Err(ErrorCode::HttpRequestUriInvalid);
    }
    let future = outgoing_handler::handle(request, None)?;
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

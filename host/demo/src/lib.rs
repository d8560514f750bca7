//! The component `wasmcluster serve` shows when it is given none: a page that says who answered, and the same as JSON.

use std::io::Write;

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{
    Fields, IncomingRequest, Method, OutgoingBody, OutgoingResponse, ResponseOutparam,
};

use crate::status::Status;

mod page;
mod status;

wasip2::http::proxy::export!(Demo);

struct Demo;

impl Guest for Demo {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let target = request.path_with_query().unwrap_or_default();
        let path = target.split('?').next().unwrap_or_default();
        let status = Status::of_this_request();
        // A HEAD request is answered as a GET is, and the host keeps the body.
        match (request.method(), path) {
            (Method::Get | Method::Head, "/") => {
                let authority = request.authority().unwrap_or_else(|| "localhost".to_owned());
                respond(out, 200, "text/html; charset=utf-8", &page::render(&status, &authority));
            }
            (Method::Get | Method::Head, "/json") => respond(out, 200, "application/json", &status.to_json()),
            _ => respond(out, 404, "text/plain; charset=utf-8", "not found\n"),
        }
    }
}

fn respond(out: ResponseOutparam, status: u16, content_type: &str, text: &str) {
    let headers = [
        ("content-type".to_owned(), content_type.as_bytes().to_vec()),
        ("content-length".to_owned(), text.len().to_string().into_bytes()),
        // Every answer tells which worker gave it: an old one would be a lie.
        ("cache-control".to_owned(), b"no-store".to_vec()),
    ];
    let response = OutgoingResponse::new(Fields::from_list(&headers).expect("the headers are well-formed"));
    response.set_status_code(status).expect("the status is valid");
    let body = response.body().expect("the body is taken once");
    ResponseOutparam::set(out, Ok(response));

    let mut stream = body.write().expect("the stream is taken once");
    // A client that went away, or asked for the head alone, is no reason to trap.
    let _ = stream.write_all(text.as_bytes());
    drop(stream);
    let _ = OutgoingBody::finish(body, None);
}

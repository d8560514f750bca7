//! Answers every request with a greeting, over wasi:http 0.2.

use std::io::Write;

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam};

// Makes `Hello` the component's request handler.
wasip2::http::proxy::export!(Hello);

struct Hello;

impl Guest for Hello {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let path = request.path_with_query().unwrap_or_default();

        // First the head of the response: headers and a status, which is 200 unless set.
        let headers = Fields::new();
        headers.set("content-type", &[b"text/plain".to_vec()]).expect("a valid header");
        let response = OutgoingResponse::new(headers);
        let body = response.body().expect("the body can be taken once");

        // From here on the client sees the head, and whatever is written to the body.
        ResponseOutparam::set(out, Ok(response));
        let mut stream = body.write().expect("the stream can be taken once");
        // Writing fails when the client has gone away, which is no error of ours.
        let _ = writeln!(stream, "Hello from {path}");

        // The stream ends before its body does. Without `finish` the response counts as cut short.
        drop(stream);
        let _ = OutgoingBody::finish(body, None);
    }
}

//! The least a 0.2 component can do and still be an ordinary one: the benchmark's guest.

use std::io::Write;

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam};

wasip2::http::proxy::export!(Hello);

struct Hello;

impl Guest for Hello {
    fn handle(_request: IncomingRequest, out: ResponseOutparam) {
        let headers = Fields::from_list(&[("content-type".to_owned(), b"text/plain".to_vec())])
            .expect("the header is well-formed");
        let response = OutgoingResponse::new(headers);
        let body = response.body().expect("the body is taken once");
        ResponseOutparam::set(out, Ok(response));

        let mut stream = body.write().expect("the stream is taken once");
        // A client that went away is no reason to trap.
        let _ = stream.write_all(b"hello from wasm\n");
        drop(stream);
        let _ = OutgoingBody::finish(body, None);
    }
}

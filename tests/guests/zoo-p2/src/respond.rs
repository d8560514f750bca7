//! The two halves of a response: its head, and the body that follows.

use std::io::{self, Write};

use wasip2::http::types::{Fields, OutgoingBody, OutgoingResponse, ResponseOutparam, Trailers};
use wasip2::io::streams::OutputStream;
use zoo::Answer;

pub fn answer(out: ResponseOutparam, answer: Answer) -> io::Result<()> {
    let mut body = text(out, answer.status);
    body.write(answer.body.as_bytes())?;
    body.finish(None);
    Ok(())
}

/// Sends the head of a response of plain text.
pub fn text(out: ResponseOutparam, status: u16) -> Body {
    start(out, status, fields(&[("content-type", "text/plain")]))
}

/// Sends a head.
pub fn start(out: ResponseOutparam, status: u16, headers: Fields) -> Body {
    let response = OutgoingResponse::new(headers);
    response.set_status_code(status).expect("the status is valid");
    let body = response.body().expect("the body is taken once");
    ResponseOutparam::set(out, Ok(response));
    let stream = body.write().expect("the stream is taken once");
    Body { stream, body }
}

pub fn fields(entries: &[(&str, &str)]) -> Fields {
    let entries: Vec<_> =
        entries.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect();
    Fields::from_list(&entries).expect("the fields are well-formed")
}

/// A body that is cut short, as the client sees it, unless it is finished.
pub struct Body {
    // Dropped first: a body must outlive its stream.
    stream: OutputStream,
    body: OutgoingBody,
}

impl Body {
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    pub fn flush(&mut self) -> io::Result<()> {
        Write::flush(&mut self.stream)
    }

    pub fn stream(&self) -> &OutputStream {
        &self.stream
    }

    pub fn finish(self, trailers: Option<Trailers>) {
        drop(self.stream);
        // Fails where fewer bytes were written than declared, which some paths do on purpose.
        let _ = OutgoingBody::finish(self.body, trailers);
    }
}

//! Request bodies read, response bodies written, and both at once.

use std::io;

use wasip2::http::types::{FutureTrailers, IncomingBody, IncomingRequest, ResponseOutparam, Trailers};
use wasip2::io::streams::{InputStream, StreamError};
use zoo::{Answer, Query};

use crate::host::sleep;
use crate::respond;

const BUFFER: u64 = 64 * 1024;

/// A request's or a response's body while it is read.
pub struct Reader {
    // Dropped first: a body must outlive its stream.
    stream: InputStream,
    body: IncomingBody,
}

impl Reader {
    pub fn new(body: IncomingBody) -> Self {
        Self { stream: body.stream().expect("the stream is taken once"), body }
    }

    pub fn of(request: &IncomingRequest) -> Self {
        Self::new(request.consume().expect("the body is taken once"))
    }

    /// What has arrived, up to a buffer full; `None` after the last.
    pub fn chunk(&mut self) -> io::Result<Option<Vec<u8>>> {
        match self.stream.blocking_read(BUFFER) {
            Ok(chunk) => Ok(Some(chunk)),
            Err(StreamError::Closed) => Ok(None),
            Err(StreamError::LastOperationFailed(error)) => Err(io::Error::other(error.to_debug_string())),
        }
    }

    pub fn trailers(self) -> Option<Trailers> {
        drop(self.stream);
        wait_for_trailers(IncomingBody::finish(self.body))
    }
}

fn wait_for_trailers(future: FutureTrailers) -> Option<Trailers> {
    loop {
        match future.get() {
            Some(result) => return result.ok()?.ok()?,
            None => future.subscribe().block(),
        }
    }
}

/// Sends the body back as it comes, by a buffer, or with `direct` without it ever entering the guest.
pub fn echo(query: &Query, request: IncomingRequest, out: ResponseOutparam) -> io::Result<()> {
    let headers = respond::fields(&[]);
    // A server may leave out trailers that no `trailer` header announced.
    for name in ["content-type", "trailer"] {
        let values = request.headers().get(name);
        headers.set(name, &values).expect("the header was valid when it came");
    }

    let mut reader = Reader::of(&request);
    let mut body = respond::start(out, 200, headers);
    if query.has("direct") {
        while body.stream().blocking_splice(&reader.stream, BUFFER).is_ok() {}
    } else {
        while let Some(chunk) = reader.chunk()? {
            body.write(&chunk)?;
        }
    }
    body.finish(reader.trailers());
    Ok(())
}

pub fn discard(request: IncomingRequest, out: ResponseOutparam) -> io::Result<()> {
    let mut reader = Reader::of(&request);
    let mut length = 0;
    while let Some(chunk) = reader.chunk()? {
        length += chunk.len();
    }
    respond::answer(out, Answer::ok(format!("{length}\n")))
}

/// Takes the first of the body and leaves the rest with the host.
pub fn hold(query: &Query, request: IncomingRequest, out: ResponseOutparam) -> io::Result<()> {
    let mut reader = Reader::of(&request);
    let held = reader.chunk()?.map_or(0, |chunk| chunk.len());
    sleep(query.number("ms", 1000));
    respond::answer(out, Answer::ok(format!("held {held} bytes\n")))
}

pub fn stream(query: &Query, out: ResponseOutparam) -> io::Result<()> {
    let (chunks, size, ms) = (query.number("chunks", 3), query.number("size", 8), query.number("ms", 100));
    let mut body = respond::text(out, 200);
    for index in 0..chunks {
        if index > 0 {
            sleep(ms);
        }
        body.write(&zoo::chunk(index, size))?;
        body.flush()?;
    }
    body.finish(None);
    Ok(())
}

pub fn huge(query: &Query, out: ResponseOutparam) -> io::Result<()> {
    let total = query.number("mib", 1) * 1024 * 1024;
    let mut body = respond::start(out, 200, respond::fields(&[("content-type", "application/octet-stream")]));
    let mut buffer = vec![0; BUFFER as usize];
    for offset in (0..total).step_by(buffer.len()) {
        zoo::fill_with_pattern(&mut buffer, offset);
        body.write(&buffer)?;
    }
    body.finish(None);
    Ok(())
}

pub fn length(query: &Query, out: ResponseOutparam) -> io::Result<()> {
    let n = query.number("n", 0);
    let declared = query.number("declared", n).to_string();
    let mut body = respond::start(
        out,
        200,
        respond::fields(&[("content-type", "text/plain"), ("content-length", &declared)]),
    );
    body.write(&zoo::chunk(0, n))?;
    body.finish(None);
    Ok(())
}

pub fn trailers(out: ResponseOutparam) -> io::Result<()> {
    let headers = respond::fields(&[("content-type", "text/plain"), ("trailer", "x-checksum")]);
    let mut body = respond::start(out, 200, headers);
    body.write(b"body\n")?;
    body.finish(Some(respond::fields(&[("x-checksum", "abc")])));
    Ok(())
}

//! Request bodies read, response bodies written, and both at once.

use wasip3::http::types::{ErrorCode, Request, Response, Trailers};
use wasip3::wit_bindgen::{FutureReader, FutureWriter, StreamReader, StreamResult};
use wasip3::wit_future;
use zoo::{Answer, Query};

use crate::host::sleep;
use crate::respond;

const BUFFER: usize = 64 * 1024;

/// A request's or a response's body while it is read.
pub struct Reader {
    stream: StreamReader<u8>,
    trailers: FutureReader<Result<Option<Trailers>, ErrorCode>>,
    // Tells the host, when it is dropped, that the body is done with.
    _done: FutureWriter<Result<(), ErrorCode>>,
}

impl Reader {
    pub fn of_request(request: Request) -> Self {
        let (done, result) = wit_future::new(|| Ok(()));
        let (stream, trailers) = Request::consume_body(request, result);
        Self { stream, trailers, _done: done }
    }

    pub fn of_response(response: Response) -> Self {
        let (done, result) = wit_future::new(|| Ok(()));
        let (stream, trailers) = Response::consume_body(response, result);
        Self { stream, trailers, _done: done }
    }

    /// Fills `buffer`, which is empty, with what has arrived; `None` after the last.
    pub async fn chunk(&mut self, buffer: Vec<u8>) -> Option<Vec<u8>> {
        match self.stream.read(buffer).await {
            (StreamResult::Complete(_), buffer) => Some(buffer),
            (StreamResult::Dropped | StreamResult::Cancelled, _) => None,
        }
    }

    pub fn stream(self) -> StreamReader<u8> {
        self.stream
    }

    /// An error here means that the body was cut short.
    pub async fn trailers(self) -> Result<Option<Trailers>, ErrorCode> {
        drop(self.stream);
        self.trailers.await
    }
}

pub fn buffer() -> Vec<u8> {
    Vec::with_capacity(BUFFER)
}

/// Sends the body back as it comes, by a buffer, or with `direct` without it ever entering the guest.
pub fn echo(query: &Query, request: Request) -> Response {
    let headers = respond::fields(&[]);
    // A server may leave out trailers that no `trailer` header announced.
    for name in ["content-type", "trailer"] {
        let values = request.get_headers().get(name);
        headers.set(name, &values).expect("the header was valid when it came");
    }

    let mut reader = Reader::of_request(request);
    if query.has("direct") {
        let (response, _) = Response::new(headers, Some(reader.stream), reader.trailers);
        return response;
    }
    respond::start(200, headers, async move |body| {
        let mut buffer = buffer();
        while let Some(chunk) = reader.chunk(buffer).await {
            buffer = body.write(chunk).await?;
        }
        reader.trailers().await
    })
}

pub async fn discard(request: Request) -> Response {
    let mut reader = Reader::of_request(request);
    let mut length = 0;
    let mut buffer = buffer();
    while let Some(mut chunk) = reader.chunk(buffer).await {
        length += chunk.len();
        chunk.clear();
        buffer = chunk;
    }
    respond::answer(Answer::ok(format!("{length}\n")))
}

/// Takes the first of the body and leaves the rest with the host.
pub async fn hold(query: &Query, request: Request) -> Response {
    let mut reader = Reader::of_request(request);
    let held = reader.chunk(buffer()).await.map_or(0, |chunk| chunk.len());
    sleep(query.number("ms", 1000)).await;
    respond::answer(Answer::ok(format!("held {held} bytes\n")))
}

pub fn stream(query: &Query) -> Response {
    let (chunks, size, ms) = (query.number("chunks", 3), query.number("size", 8), query.number("ms", 100));
    respond::text(200, async move |body| {
        for index in 0..chunks {
            if index > 0 {
                sleep(ms).await;
            }
            body.write(zoo::chunk(index, size)).await?;
        }
        Ok(None)
    })
}

pub fn huge(query: &Query) -> Response {
    let total = query.number("mib", 1) * 1024 * 1024;
    let headers = respond::fields(&[("content-type", "application/octet-stream")]);
    respond::start(200, headers, async move |body| {
        let mut buffer = buffer();
        for offset in (0..total).step_by(BUFFER) {
            buffer.resize(BUFFER, 0);
            zoo::fill_with_pattern(&mut buffer, offset);
            buffer = body.write(buffer).await?;
        }
        Ok(None)
    })
}

pub fn length(query: &Query) -> Response {
    let n = query.number("n", 0);
    let declared = query.number("declared", n).to_string();
    let headers = respond::fields(&[("content-type", "text/plain"), ("content-length", &declared)]);
    respond::start(200, headers, async move |body| {
        body.write(zoo::chunk(0, n)).await?;
        Ok(None)
    })
}

/// Makes responses that nobody asked for, lets whoever wants it have their bodies, and answers with the last.
pub async fn responses(query: &Query) -> Response {
    let (n, size) = (query.number("n", 1), query.number("size", 16));
    let response = || {
        respond::text(200, async move |body| {
            body.write(zoo::chunk(0, size)).await?;
            Ok(None)
        })
    };
    let mut made: Vec<_> = (0..n).map(|_| response()).collect();
    sleep(100).await;
    made.pop().expect("at least one")
}

pub fn trailers() -> Response {
    let headers = respond::fields(&[("content-type", "text/plain"), ("trailer", "x-checksum")]);
    respond::start(200, headers, async |body| {
        body.write(b"body\n".to_vec()).await?;
        Ok(Some(respond::fields(&[("x-checksum", "abc")])))
    })
}

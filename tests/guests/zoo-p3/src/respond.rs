//! The two halves of a response: its head, and the body that follows.

use wasip3::http::types::{ErrorCode, Fields, Response, Trailers};
use wasip3::wit_bindgen::StreamWriter;
use wasip3::{spawn_local, wit_future, wit_stream};
use zoo::Answer;

/// How a body ends: with trailers, without any, or cut short.
pub type End = Result<Option<Trailers>, ErrorCode>;

pub fn answer(answer: Answer) -> Response {
    text(answer.status, async move |body| {
        body.write(answer.body.into_bytes()).await?;
        Ok(None)
    })
}

/// A response of plain text.
pub fn text(status: u16, produce: impl AsyncFnOnce(&mut Body) -> End + 'static) -> Response {
    start(status, fields(&[("content-type", "text/plain")]), produce)
}

/// A response whose body `produce` writes once the head is on its way.
pub fn start(
    status: u16,
    headers: Fields,
    produce: impl AsyncFnOnce(&mut Body) -> End + 'static,
) -> Response {
    let (writer, contents) = wit_stream::new();
    let (end, trailers) = wit_future::new(|| Ok(None));
    let (response, _) = Response::new(headers, Some(contents), trailers);
    response.set_status_code(status).expect("the status is valid");
    spawn_local(async move {
        let mut body = Body(writer);
        let result = produce(&mut body).await;
        drop(body);
        // A client that goes away in the middle ends the work early and is no failure.
        let _ = end.write(result).await;
    });
    response
}

pub fn fields(entries: &[(&str, &str)]) -> Fields {
    let entries: Vec<_> =
        entries.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect();
    Fields::from_list(&entries).expect("the fields are well-formed")
}

pub struct Body(StreamWriter<u8>);

impl Body {
    /// Completes when the host has taken all of `bytes`, and gives the emptied buffer back.
    pub async fn write(&mut self, bytes: Vec<u8>) -> Result<Vec<u8>, ErrorCode> {
        let rest = self.0.write_all(bytes).await;
        if rest.is_empty() { Ok(rest) } else { Err(ErrorCode::ConnectionTerminated) }
    }
}

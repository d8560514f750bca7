//! Answers every request with a greeting, over wasi:http 0.3, where handlers are async.

use wasip3::exports::http::handler::Guest;
use wasip3::http::types::{ErrorCode, Fields, Request, Response};
use wasip3::{spawn_local, wit_future, wit_stream};

// Makes `Hello` the component's request handler.
wasip3::http::service::export!(Hello);

struct Hello;

impl Guest for Hello {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let path = request.get_path_with_query().unwrap_or_default();

        let headers = Fields::new();
        headers.set("content-type", &[b"text/plain".to_vec()]).expect("a valid header");

        // A body is a stream of bytes, and a future for the trailers that end it.
        let (mut writer, body) = wit_stream::new();
        let (end, trailers) = wit_future::new(|| Ok(None));
        let (response, _sent) = Response::new(headers, Some(body), trailers);

        // Nobody reads the body before the response is returned, so it is written in a task beside it.
        spawn_local(async move {
            writer.write_all(format!("Hello from {path}\n").into_bytes()).await;
            drop(writer);
            // No trailers. Writing fails when the client has gone away, which is no error of ours.
            let _ = end.write(Ok(None)).await;
        });
        Ok(response)
    }
}

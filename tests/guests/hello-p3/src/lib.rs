//! The least a 0.3 component can do and still be an ordinary one: the benchmark's guest.

use wasip3::exports::http::handler::Guest;
use wasip3::http::types::{ErrorCode, Fields, Request, Response};
use wasip3::{spawn_local, wit_future, wit_stream};

wasip3::http::service::export!(Hello);

struct Hello;

impl Guest for Hello {
    async fn handle(_request: Request) -> Result<Response, ErrorCode> {
        let headers = Fields::from_list(&[("content-type".to_owned(), b"text/plain".to_vec())])
            .expect("the header is well-formed");
        let (mut writer, body) = wit_stream::new();
        let (end, trailers) = wit_future::new(|| Ok(None));
        let (response, _) = Response::new(headers, Some(body), trailers);
        spawn_local(async move {
            writer.write_all(b"hello from wasm\n".to_vec()).await;
            drop(writer);
            // Dropping `end` would say the same by a task of its own: 1 µs a request.
            let _ = end.write(Ok(None)).await;
        });
        Ok(response)
    }
}

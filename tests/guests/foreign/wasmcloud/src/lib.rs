//! What somebody writes for wasmCloud, with wasmCloud's own library: nothing here knows of another host.

use std::io::Read;

use wasmcloud_component::http::{self, ErrorCode, IncomingRequest, Response, StatusCode};
use wasmcloud_component::info;
use wasmcloud_component::wasi::config::store as config;
use wasmcloud_component::wasi::keyvalue::store as keyvalue;

struct Component;

http::export!(Component);

fn internal(error: impl std::fmt::Debug) -> ErrorCode {
    ErrorCode::InternalError(Some(format!("{error:?}")))
}

impl http::Server for Component {
    fn handle(request: IncomingRequest) -> http::Result<Response<impl http::OutgoingBody>> {
        let (head, mut sent) = request.into_parts();
        info!("{} {}", head.method, head.uri.path());
        let body = match head.uri.path() {
            "/" => b"hello from wasmCloud\n".to_vec(),
            "/greeting" => match config::get("greeting").map_err(internal)? {
                Some(greeting) => format!("{greeting}\n").into_bytes(),
                None => return Err(internal("no greeting")),
            },
            "/echo" => {
                let mut body = Vec::new();
                sent.read_to_end(&mut body).map_err(internal)?;
                body
            }
            "/store" => {
                let bucket = keyvalue::open("default").map_err(internal)?;
                bucket.set("seen", b"once").map_err(internal)?;
                b"stored\n".to_vec()
            }
            _ => {
                let mut response = Response::new(b"no such page\n".to_vec());
                *response.status_mut() = StatusCode::NOT_FOUND;
                return Ok(response);
            }
        };
        Ok(Response::new(body))
    }
}

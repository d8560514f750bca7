//! A 0.3 component that cannot be instantiated, although it exports a proper handler.

use wasip3::exports::http::handler::Guest;
use wasip3::http::types::{ErrorCode, Fields, Request, Response};
use wasip3::wit_future;

wasip3::http::service::export!(Refuses);

/// Instantiation calls an export of this name before anything else can be called. A constructor in `.init_array`
/// would not do: those wait for the first call of an export.
#[unsafe(no_mangle)]
pub extern "C" fn _initialize() {
    panic!("this component refuses to start");
}

struct Refuses;

impl Guest for Refuses {
    async fn handle(_request: Request) -> Result<Response, ErrorCode> {
        let (_, trailers) = wit_future::new(|| Ok(None));
        let (response, _) = Response::new(Fields::new(), None, trailers);
        Ok(response)
    }
}

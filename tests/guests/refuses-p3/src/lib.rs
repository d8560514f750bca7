//! A 0.3 component that cannot be instantiated, although it exports a proper handler.

use wasip3::exports::http::handler::Guest;
use wasip3::http::types::{ErrorCode, Fields, Request, Response};
use wasip3::wit_future;

wasip3::http::service::export!(Refuses);

/// A constructor, which instantiation runs before anything can be called.
#[used]
#[unsafe(link_section = ".init_array")]
static REFUSE: extern "C" fn() = refuse;

extern "C" fn refuse() {
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

//! A 0.2 component that cannot be instantiated, although it exports a proper handler.

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{Fields, IncomingRequest, OutgoingResponse, ResponseOutparam};

wasip2::http::proxy::export!(Refuses);

/// Instantiation calls an export of this name before anything else can be called. A constructor in `.init_array`
/// would not do: those wait for the first call of an export.
#[unsafe(no_mangle)]
pub extern "C" fn _initialize() {
    panic!("this component refuses to start");
}

struct Refuses;

impl Guest for Refuses {
    fn handle(_request: IncomingRequest, out: ResponseOutparam) {
        ResponseOutparam::set(out, Ok(OutgoingResponse::new(Fields::new())));
    }
}

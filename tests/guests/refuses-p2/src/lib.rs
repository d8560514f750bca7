//! A 0.2 component that cannot be instantiated, although it exports a proper handler.

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{Fields, IncomingRequest, OutgoingResponse, ResponseOutparam};

wasip2::http::proxy::export!(Refuses);

/// A constructor, which instantiation runs before anything can be called.
#[used]
#[unsafe(link_section = ".init_array")]
static REFUSE: extern "C" fn() = refuse;

extern "C" fn refuse() {
    panic!("this component refuses to start");
}

struct Refuses;

impl Guest for Refuses {
    fn handle(_request: IncomingRequest, out: ResponseOutparam) {
        ResponseOutparam::set(out, Ok(OutgoingResponse::new(Fields::new())));
    }
}

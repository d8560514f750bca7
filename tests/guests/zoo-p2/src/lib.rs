//! The zoo in wasi:http 0.2: one component, and the path says how it behaves.

use std::io;

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{IncomingRequest, ResponseOutparam};
use zoo::{Answer, Query};

mod bodies;
mod files;
mod heads;
mod host;
mod misbehave;
mod outbound;
mod respond;

wasip2::http::proxy::export!(Zoo);

struct Zoo;

impl Guest for Zoo {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let query = Query::parse(&request.path_with_query().unwrap_or_default());
        // A client that goes away in the middle ends the work early and is no failure.
        let _ = route(&query, request, out);
    }
}

fn route(query: &Query, request: IncomingRequest, out: ResponseOutparam) -> io::Result<()> {
    if let Some(answer) = zoo::answer(query) {
        return respond::answer(out, answer);
    }
    match query.path() {
        "/echo" => bodies::echo(query, request, out),
        "/discard" => bodies::discard(request, out),
        "/ignore-body" => respond::answer(out, Answer::ok("ignored\n")),
        "/hold-body" => bodies::hold(query, request, out),
        "/stream" => bodies::stream(query, out),
        "/huge" => bodies::huge(query, out),
        "/length" => bodies::length(query, out),
        "/trailers" => bodies::trailers(out),

        "/headers" => heads::headers(query, out),
        "/field" => heads::field(query, out),
        "/handles" => heads::handles(query, out),
        "/status" => heads::status(query, out),
        "/inspect" => respond::answer(out, heads::inspect(&request)),

        "/slow" => misbehave::slow(query, out),
        "/spin-after-head" => misbehave::spin_after_head(query, out),
        "/trap-after-head" => misbehave::trap_after_head(out),
        "/never" => misbehave::never(),
        "/no-response" => Ok(()),
        "/error" => misbehave::error(out),
        "/exit" => misbehave::exit(query),
        "/work-after" => misbehave::work_after(query, out),

        "/log" => host::log(query, out),
        "/log-partial" => host::log_partial(out),
        "/env" => respond::answer(out, host::environment()),
        "/args" => respond::answer(out, host::arguments()),
        "/clock" => respond::answer(out, host::clock()),
        "/random" => respond::answer(out, host::random()),

        "/fs" => respond::answer(out, files::read(query)),
        "/write" => respond::answer(out, files::write(query, request)),
        "/list" => respond::answer(out, files::list(query)),

        "/outbound" => outbound::relay(query, out),
        "/outbound-held" => outbound::hold(query, out),
        _ => respond::answer(out, Answer::not_found("not found\n")),
    }
}

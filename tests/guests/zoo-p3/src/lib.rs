//! The zoo in wasi:http 0.3: one component, and the path says how it behaves.

use wasip3::exports::http::handler::Guest;
use wasip3::http::types::{ErrorCode, Request, Response};
use zoo::{Answer, Query};

mod bodies;
mod files;
mod heads;
mod host;
mod misbehave;
mod outbound;
mod respond;

wasip3::http::service::export!(Zoo);

struct Zoo;

impl Guest for Zoo {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let query = Query::parse(&request.get_path_with_query().unwrap_or_default());
        if let Some(answer) = zoo::answer(&query) {
            return Ok(respond::answer(answer));
        }
        Ok(match query.path() {
            "/echo" => bodies::echo(&query, request),
            "/discard" => bodies::discard(request).await,
            "/ignore-body" => respond::answer(Answer::ok("ignored\n")),
            "/hold-body" => bodies::hold(&query, request).await,
            "/stream" => bodies::stream(&query),
            "/huge" => bodies::huge(&query),
            "/length" => bodies::length(&query),
            "/responses" => bodies::responses(&query).await,
            "/trailers" => bodies::trailers(),

            "/headers" => heads::headers(&query),
            "/field" => heads::field(&query),
            "/handles" => heads::handles(&query),
            "/status" => heads::status(&query),
            "/inspect" => respond::answer(heads::inspect(&request)),

            "/slow" => misbehave::slow(&query).await,
            "/spin-after-head" => misbehave::spin_after_head(&query),
            "/trap-after-head" => misbehave::trap_after_head(),
            "/never" => misbehave::never().await,
            "/no-response" => return Err(ErrorCode::HttpResponseIncomplete),
            "/error" => return Err(ErrorCode::InternalError(Some("the zoo says no".to_owned()))),
            "/exit" => misbehave::exit(&query),
            "/work-after" => misbehave::work_after(&query),

            "/log" => host::log(&query).await,
            "/log-partial" => host::log_partial().await,
            "/env" => respond::answer(host::environment()),
            "/args" => respond::answer(host::arguments()),
            "/clock" => respond::answer(host::clock()),
            "/random" => respond::answer(host::random()),

            "/fs" => respond::answer(files::read(&query).await),
            "/write" => respond::answer(files::write(&query, request).await),
            "/list" => respond::answer(files::list(&query).await),

            "/outbound" => outbound::relay(&query).await,
            "/outbound-held" => outbound::hold(&query).await,
            _ => respond::answer(Answer::not_found("not found\n")),
        })
    }
}

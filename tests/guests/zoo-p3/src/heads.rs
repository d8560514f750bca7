//! Status, headers, and what the request's head said.

use wasip3::http::types::{Fields, Method, Request, Response, Scheme};
use wasip3::wit_future;
use zoo::{Answer, Query};

use crate::respond;

pub fn headers(query: &Query) -> Response {
    let value = zoo::chunk(0, query.number("size", 16));
    let fields = Fields::new();
    for index in 0..query.number("count", 1) {
        if let Err(error) = fields.append(&format!("x-header-{index}"), &value) {
            return respond::answer(Answer::failed(error));
        }
    }
    respond::start(200, fields, async |body| {
        body.write(b"headers\n".to_vec()).await?;
        Ok(None)
    })
}

/// Puts one field into a response in every way that there is, and says what came of each.
pub fn field(query: &Query) -> Response {
    let name = query.text("name").unwrap_or_default();
    let value = query.text("value").unwrap_or_default().as_bytes().to_vec();
    let fields = Fields::new();
    let appended = fields.append(name, &value);
    let set = fields.set(name, std::slice::from_ref(&value));
    let made = Fields::from_list(&[(name.to_owned(), value)]).map(drop);
    let said = format!("append: {appended:?}\nset: {set:?}\nfrom-list: {made:?}\n");
    respond::start(200, fields, async |body| {
        body.write(said.into_bytes()).await?;
        Ok(None)
    })
}

pub fn handles(query: &Query) -> Response {
    let n = query.maybe_number("n");
    let mut held = Vec::new();
    while n != Some(held.len() as u64) {
        held.push(Fields::new());
    }
    respond::answer(Answer::ok(format!("held {} handles\n", held.len())))
}

pub fn status(query: &Query) -> Response {
    let (_, trailers) = wit_future::new(|| Ok(None));
    let (response, _) = Response::new(Fields::new(), None, trailers);
    match response.set_status_code(query.number("code", 200) as u16) {
        Ok(()) => response,
        Err(()) => respond::answer(Answer::failed("the status is not valid")),
    }
}

pub fn inspect(request: &Request) -> Answer {
    let entries = request.get_headers().copy_all();
    let headers = entries.iter().map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value)));
    Answer::ok(format!(
        "method: {}\nscheme: {}\nauthority: {}\npath: {}\n{}",
        method_name(request.get_method()),
        request.get_scheme().map_or_else(|| "none".to_owned(), scheme_name),
        request.get_authority().unwrap_or_else(|| "none".to_owned()),
        request.get_path_with_query().unwrap_or_else(|| "none".to_owned()),
        zoo::sorted_lines(headers.collect()),
    ))
}

fn method_name(method: Method) -> String {
    match method {
        Method::Get => "GET".to_owned(),
        Method::Head => "HEAD".to_owned(),
        Method::Post => "POST".to_owned(),
        Method::Put => "PUT".to_owned(),
        Method::Delete => "DELETE".to_owned(),
        Method::Connect => "CONNECT".to_owned(),
        Method::Options => "OPTIONS".to_owned(),
        Method::Trace => "TRACE".to_owned(),
        Method::Patch => "PATCH".to_owned(),
        Method::Other(name) => name,
    }
}

fn scheme_name(scheme: Scheme) -> String {
    match scheme {
        Scheme::Http => "http".to_owned(),
        Scheme::Https => "https".to_owned(),
        Scheme::Other(name) => name,
    }
}

//! The page, filled in here so that it is whole without a script.

use crate::status::Status;

const PAGE: &str = include_str!("page.html");

pub fn render(status: &Status, authority: &str) -> String {
    let or_unknown = |number: Option<u64>| number.map_or_else(|| "unknown".to_owned(), |n| n.to_string());
    PAGE.replace("{{slot}}", &or_unknown(status.slot))
        .replace("{{pid}}", &or_unknown(status.pid))
        .replace("{{generation}}", &or_unknown(status.generation))
        .replace("{{requests}}", &status.requests.to_string())
        .replace("{{authority}}", &escape(authority))
}

/// The authority is the client's own text.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

//! What went wrong, for whoever writes the guest (`--dev`): in their terminal, or in their browser.
//!
//! It has what the log says of it and what the guest has printed, and so its inside. All of that is text of the guest's choice: in a page it
//! is written such that it stays text.

use std::fmt::Write;

use bytes::Bytes;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use wasmcluster_core::message::Report;

use crate::response::ResponseBody;

/// Who reads an answer that says what went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reader {
    /// Anybody: they are told nothing.
    Stranger,
    /// Who writes the guest, in something that shows text.
    Terminal,
    /// The same in a browser.
    Browser,
}

impl Reader {
    /// The one of a request with these headers.
    pub(crate) fn of(dev: bool, headers: &HeaderMap) -> Self {
        if !dev {
            return Self::Stranger;
        }
        let types =
            headers.get_all(ACCEPT).iter().flat_map(|list| list.as_bytes().split(|&byte| byte == b','));
        let mut names = types.map(|accepted| accepted.split(|&byte| byte == b';').next().unwrap_or_default());
        match names.any(|name| name.trim_ascii().eq_ignore_ascii_case(b"text/html")) {
            true => Self::Browser,
            false => Self::Terminal,
        }
    }
}

/// What a page says.
#[derive(Debug)]
pub(crate) struct Page {
    report: Report,
    /// What the guest has printed.
    printed: Option<String>,
    in_browser: bool,
}

impl Page {
    /// None for a stranger.
    pub(crate) fn of(reader: Reader, what: impl FnOnce() -> (Report, Option<String>)) -> Option<Box<Self>> {
        match reader {
            Reader::Stranger => None,
            Reader::Terminal | Reader::Browser => {
                let (report, printed) = what();
                Some(Box::new(Self { report, printed, in_browser: reader == Reader::Browser }))
            }
        }
    }

    /// Puts it in the place of what strangers read.
    pub(crate) fn write(&self, response: &mut Response<ResponseBody>) {
        let status = response.status();
        let (kind, text) = match self.in_browser {
            true => ("text/html; charset=utf-8", self.html(status.as_str())),
            false => ("text/plain; charset=utf-8", self.text()),
        };
        *response.body_mut() = ResponseBody::full(Bytes::from(text));
        let headers: [(HeaderName, &'static str); 3] = [
            (CONTENT_TYPE, kind),
            // Should something of the guest's be more than text after all, it can neither run nor load anything.
            (CONTENT_SECURITY_POLICY, "sandbox; script-src 'none'; img-src 'none'; connect-src 'none'"),
            (CACHE_CONTROL, "no-store"),
        ];
        for (name, value) in headers {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
    }

    /// As the log has it.
    fn text(&self) -> String {
        let Report { message, hint, backtrace, request, .. } = &self.report;
        let mut text = presentable(message);
        if let Some(request) = request {
            let _ = write!(text, " (request {request})");
        }
        text.push('\n');
        for line in self.printed.iter().flat_map(|printed| printed.lines()) {
            let _ = writeln!(text, "    | {}", presentable(line));
        }
        for frame in backtrace {
            let _ = writeln!(text, "    at {}", presentable(&frame.to_string()));
        }
        if let Some(hint) = hint {
            let _ = writeln!(text, "hint: {}", presentable(hint));
        }
        text
    }

    fn html(&self, status: &str) -> String {
        let Report { message, hint, backtrace, request, .. } = &self.report;
        let message = escaped(message);
        let mut page = format!("{HEAD}<title>{status}: {message}</title>\n{STYLE}<h1>{message}</h1>\n");
        if let Some(printed) = &self.printed {
            let lines: Vec<_> = printed.lines().map(escaped).collect();
            let _ = writeln!(page, "<pre>{}</pre>", lines.join("\n"));
        }
        if !backtrace.is_empty() {
            page.push_str("<ol>\n");
            for frame in backtrace {
                let _ = writeln!(page, "<li>{}", escaped(&frame.to_string()));
            }
            page.push_str("</ol>\n");
        }
        if let Some(hint) = hint {
            let _ = writeln!(page, "<p><b>hint:</b> {}", escaped(hint));
        }
        let request = request.as_deref().map(|request| format!("request {}, ", escaped(request)));
        let request = request.unwrap_or_default();
        let _ =
            writeln!(page, "<footer>status {status}, {request}shown because of <code>--dev</code></footer>");
        page
    }
}

const HEAD: &str = "<!doctype html>\n<html lang=en>\n<meta charset=utf-8>\n\
    <meta name=viewport content=\"width=device-width\">\n";

const STYLE: &str = "<style>
:root { color-scheme: light dark }
body { margin: 3rem auto; max-width: 60rem; padding: 0 1.5rem; font: 1rem/1.5 system-ui, sans-serif }
h1 { border-left: .4rem solid #d33; padding-left: 1rem; font-size: 1.4rem; overflow-wrap: anywhere }
pre, ol { padding: 1rem; border-radius: .5rem; background: #8882; overflow-x: auto }
ol { padding-left: 3.5rem }
pre, li, code { font-family: ui-monospace, monospace; font-size: .9rem; white-space: pre-wrap; overflow-wrap: anywhere }
footer { margin-top: 2rem; color: #888; font-size: .85rem }
</style>
";

/// Text in which nothing moves the cursor of who reads it.
fn presentable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match character.is_control() {
            true => shown.extend(character.escape_default()),
            false => shown.push(character),
        }
    }
    shown
}

/// The same, for a page.
fn escaped(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in presentable(text).chars() {
        match character {
            '&' => shown.push_str("&amp;"),
            '<' => shown.push_str("&lt;"),
            '>' => shown.push_str("&gt;"),
            '"' => shown.push_str("&quot;"),
            '\'' => shown.push_str("&#39;"),
            other => shown.push(other),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_is_who_takes_a_page() {
        let of = |accepted: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in accepted {
                headers.append(ACCEPT, HeaderValue::from_static(value));
            }
            (Reader::of(true, &headers), Reader::of(false, &headers))
        };
        let browser = (Reader::Browser, Reader::Stranger);
        assert_eq!(of(&["text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"]), browser);
        assert_eq!(of(&["application/json", "a/b; q=1, Text/HTML ;q=0.1"]), browser);
        let terminal = (Reader::Terminal, Reader::Stranger);
        for accepted in [&[][..], &["*/*"], &["text/htmlx, x-text/html"], &["a/b;text/html"]] {
            assert_eq!(of(accepted), terminal, "{accepted:?}");
        }
    }

    #[test]
    fn nothing_in_a_page_is_more_than_text() {
        assert_eq!(
            escaped("<b a=\"1\" c='2'>&amp;\u{1b}\n"),
            "&lt;b a=&quot;1&quot; c=&#39;2&#39;&gt;&amp;amp;\\u{1b}\\n"
        );
    }
}

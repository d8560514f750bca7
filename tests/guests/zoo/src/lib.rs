//! What the two zoos have in common: everything that knows no HTTP types.
//!
//! `README.md` in the parent directory lists every path and its answer.

mod config;
mod memory;
mod misbehave;
mod query;

pub use query::{Query, Url};

/// A whole answer of text.
pub struct Answer {
    pub status: u16,
    pub body: String,
}

impl Answer {
    pub fn ok(body: impl Into<String>) -> Self {
        Self { status: 200, body: body.into() }
    }

    pub fn not_found(body: impl Into<String>) -> Self {
        Self { status: 404, body: body.into() }
    }

    pub fn failed(error: impl std::fmt::Display) -> Self {
        Self { status: 500, body: format!("error: {error}\n") }
    }
}

/// Answers the paths that behave alike in both versions, `None` for every other one.
pub fn answer(query: &Query) -> Option<Answer> {
    Some(match query.path() {
        "/" => Answer::ok("hello from the zoo\n"),
        "/counter" => Answer::ok(memory::count()),
        "/config" => config::lookup(query.text("key").unwrap_or_default()),
        "/spin" => misbehave::spin(query.maybe_number("ms")),
        "/allocate" => misbehave::allocate(query.maybe_number("mib")),
        "/recurse" => Answer::ok(format!("recursed {} times\n", misbehave::recurse(u64::MAX))),
        "/trap" => misbehave::trap(),
        "/panic" => panic!("the zoo panicked on purpose"),
        _ => return None,
    })
}

/// Burns the processor for so many milliseconds.
pub fn spin(ms: u64) -> Answer {
    misbehave::spin(Some(ms))
}

/// Fills `buffer` with the bytes a stream of the pattern has from `offset` on: byte `i` is `i % 251`. The period is
/// prime, so a lost, doubled or swapped chunk shows.
pub fn fill_with_pattern(buffer: &mut [u8], offset: u64) {
    let mut value = (offset % 251) as u8;
    for byte in buffer {
        *byte = value;
        value = if value == 250 { 0 } else { value + 1 };
    }
}

/// The content of chunk `index` of `/stream`: a letter, `size` times.
pub fn chunk(index: u64, size: u64) -> Vec<u8> {
    vec![b'a' + (index % 26) as u8; size as usize]
}

/// The line `/log` prints, with its newline.
pub fn log_line(bytes: u64) -> Vec<u8> {
    let mut line = vec![b'x'; bytes as usize];
    line.push(b'\n');
    line
}

/// One line each, in order.
pub fn sorted_lines(mut lines: Vec<String>) -> String {
    lines.sort_unstable();
    lines.into_iter().map(|line| line + "\n").collect()
}

/// Hexadecimal digits of `bytes`.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

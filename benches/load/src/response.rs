//! Reading a response: all of it is looked at, as little as possible is done.

use std::borrow::Cow;

/// What bytes from a server amount to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Read<'a> {
    /// A part of a response.
    Partial,
    /// One whole response and nothing else: its body, borrowed if it came with a length and owned if it came in chunks.
    Whole(Cow<'a, [u8]>),
}

/// Why bytes are not the response that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Wrong {
    Status,
    Length,
    Body,
    Surplus,
}

impl Wrong {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Status => "another status than 200",
            Self::Length => "no length that can be understood",
            Self::Body => "another body",
            Self::Surplus => "bytes behind the response",
        }
    }
}

/// Reads a response. Status, length and body must be right.
pub(crate) fn read<'a>(bytes: &'a [u8], body: Option<&[u8]>) -> Result<Read<'a>, Wrong> {
    const STATUS: &[u8] = b"HTTP/1.1 200 OK\r\n";
    let enough = bytes.len().min(STATUS.len());
    if bytes[..enough] != STATUS[..enough] {
        return Err(Wrong::Status);
    }
    let Some((head, rest)) = split_head(bytes) else { return Ok(Read::Partial) };
    let split = match length(head)? {
        Some(length) => rest.split_at_checked(length).map(|(body, surplus)| (body.into(), surplus)),
        None => join_chunks(rest)?,
    };
    let Some((found, surplus)) = split else { return Ok(Read::Partial) };
    if !surplus.is_empty() {
        return Err(Wrong::Surplus);
    }
    if body.is_some_and(|body| body != &*found) { Err(Wrong::Body) } else { Ok(Read::Whole(found)) }
}

/// The head without its last line end, and what follows it.
pub(crate) fn split_head(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    Some((&bytes[..end], &bytes[end + 4..]))
}

/// The values of a header.
pub(crate) fn header<'a>(head: &'a [u8], name: &str) -> impl Iterator<Item = &'a [u8]> {
    head.split(|byte| *byte == b'\n').filter_map(move |line| {
        let (field, value) = line.split_at_checked(name.len())?;
        let value = value.strip_prefix(b":")?;
        field.eq_ignore_ascii_case(name.as_bytes()).then(|| value.trim_ascii())
    })
}

/// The length of the body; `None` if it comes in chunks.
fn length(head: &[u8]) -> Result<Option<usize>, Wrong> {
    let mut lengths = header(head, "content-length");
    let mut encodings = header(head, "transfer-encoding");
    match (lengths.next(), lengths.next(), encodings.next(), encodings.next()) {
        (Some(length), None, None, None) => {
            let length = std::str::from_utf8(length).map_err(|_| Wrong::Length)?;
            length.parse().map(Some).map_err(|_| Wrong::Length)
        }
        (None, None, Some(encoding), None) if encoding.eq_ignore_ascii_case(b"chunked") => Ok(None),
        _ => Err(Wrong::Length),
    }
}

/// A body and what follows it; `None` if its end is not there.
type Split<'a> = Option<(Cow<'a, [u8]>, &'a [u8])>;

/// Puts chunks together. No extensions, no trailers.
fn join_chunks(mut bytes: &[u8]) -> Result<Split<'_>, Wrong> {
    let mut body = Vec::new();
    loop {
        let Some(end) = bytes.windows(2).position(|window| window == b"\r\n") else { return Ok(None) };
        let size = std::str::from_utf8(&bytes[..end]).map_err(|_| Wrong::Length)?;
        let size = usize::from_str_radix(size, 16).map_err(|_| Wrong::Length)?;
        let Some(chunk) = bytes.get(end + 2..end + 2 + size + 2) else { return Ok(None) };
        let Some(chunk) = chunk.strip_suffix(b"\r\n") else { return Err(Wrong::Length) };
        body.extend_from_slice(chunk);
        bytes = &bytes[end + 2 + size + 2..];
        if size == 0 {
            return Ok(Some((body.into(), bytes)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\ndate: now\r\n\r\nabc";

    #[test]
    fn a_response_is_read_when_it_is_whole() {
        for end in 0..GOOD.len() {
            assert_eq!(read(&GOOD[..end], Some(b"abc")), Ok(Read::Partial), "{end} bytes");
        }
        assert_eq!(read(GOOD, Some(b"abc")), Ok(whole()));
        assert_eq!(read(GOOD, None), Ok(whole()));
    }

    #[test]
    fn chunks_are_joined() {
        const CHUNKED: &[u8] =
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n";
        for end in 0..CHUNKED.len() {
            assert_eq!(read(&CHUNKED[..end], Some(b"abc")), Ok(Read::Partial), "{end} bytes");
        }
        assert_eq!(read(CHUNKED, Some(b"abc")), Ok(whole()));
    }

    fn whole() -> Read<'static> {
        Read::Whole(Cow::Borrowed(b"abc"))
    }

    #[test]
    fn what_is_wrong_is_named() {
        let cases: [(&[u8], Wrong); 8] = [
            (b"HTTP/1.1 500 Internal Server Error\r\n", Wrong::Status),
            (b"HTTP/1.1 200 OK\r\n\r\n", Wrong::Length),
            (b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n", Wrong::Length),
            (b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 3\r\n\r\nabc", Wrong::Length),
            (b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\nabc", Wrong::Length),
            (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabcde", Wrong::Length),
            (b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabd", Wrong::Body),
            (b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabcH", Wrong::Surplus),
        ];
        for (bytes, expected) in cases {
            assert_eq!(read(bytes, Some(b"abc")), Err(expected), "{}", bytes.escape_ascii());
        }
    }
}

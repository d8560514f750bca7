//! Reading a response of HTTP/1.1 out of the bytes that have come so far.

use std::io::{self, ErrorKind};

/// A response, complete.
#[derive(Debug)]
pub(super) struct Response {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
    /// Whether the server says that it is the last one on its connection.
    pub(super) last: bool,
}

impl Response {
    /// For messages: the beginning of it.
    pub(super) fn shown(&self) -> String {
        const MOST: usize = 200;
        let start = &self.body[..self.body.len().min(MOST)];
        format!("status {}, {} bytes: {:?}", self.status, self.body.len(), String::from_utf8_lossy(start))
    }

    /// The response to a GET. None while there is more to come; `ended` says that no more will.
    pub(super) fn scan(bytes: &[u8], ended: bool) -> io::Result<Option<Self>> {
        match Self::scan_some(bytes, ended)? {
            Some((response, [])) => Ok(Some(response)),
            Some(_) => Err(malformed("more than one response")),
            None if ended => Err(ErrorKind::UnexpectedEof.into()),
            None => Ok(None),
        }
    }

    /// The first response in there, and what follows it.
    fn scan_some(bytes: &[u8], ended: bool) -> io::Result<Option<(Self, &[u8])>> {
        let Some((head, rest)) = split(bytes, b"\r\n\r\n") else { return Ok(None) };
        let head = str::from_utf8(head).map_err(|_| malformed("a head that is no text"))?;
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.")?.get(2..5)?.parse().ok());
        let status: u16 = status.ok_or_else(|| malformed("no status line"))?;
        if (100..200).contains(&status) {
            return Self::scan_some(rest, ended);
        }
        let (mut last, mut chunked, mut length) = (false, false, None);
        for line in lines {
            let (name, value) = line.split_once(':').ok_or_else(|| malformed("a header without a colon"))?;
            let value = value.trim();
            match name.to_ascii_lowercase().as_str() {
                "connection" => last = value.eq_ignore_ascii_case("close"),
                "transfer-encoding" => chunked = value.eq_ignore_ascii_case("chunked"),
                "content-length" => {
                    length = Some(value.parse().map_err(|_| malformed("a length that is no number"))?);
                }
                _ => {}
            }
        }
        let body = if matches!(status, 204 | 304) {
            Some((Vec::new(), rest))
        } else if chunked {
            chunks(rest)?
        } else if let Some(length) = length {
            rest.split_at_checked(length).map(|(body, rest)| (body.to_vec(), rest))
        } else {
            // The end of the connection is its end.
            last = true;
            ended.then(|| (rest.to_vec(), &[][..]))
        };
        Ok(body.map(|(body, rest)| (Self { status, body, last }, rest)))
    }
}

/// A body in chunks, and what follows it. None while there is more to come.
fn chunks(mut bytes: &[u8]) -> io::Result<Option<(Vec<u8>, &[u8])>> {
    let mut body = Vec::new();
    loop {
        let Some((line, rest)) = split(bytes, b"\r\n") else { return Ok(None) };
        let size = str::from_utf8(line).unwrap_or_default().split(';').next().unwrap_or_default();
        let size = usize::from_str_radix(size.trim(), 16).map_err(|_| malformed("a chunk without a size"))?;
        if size == 0 {
            // Trailers up to an empty line, which may come at once.
            let end = if rest.starts_with(b"\r\n") { split(rest, b"\r\n") } else { split(rest, b"\r\n\r\n") };
            return Ok(end.map(|(_, rest)| (body, rest)));
        }
        let Some((chunk, rest)) = rest.split_at_checked(size) else { return Ok(None) };
        body.extend_from_slice(chunk);
        let Some((end, rest)) = rest.split_at_checked(2) else { return Ok(None) };
        if end != b"\r\n" {
            return Err(malformed("a chunk longer than it says"));
        }
        bytes = rest;
    }
}

/// What stands before the first `separator`, and after it.
fn split<'a>(bytes: &'a [u8], separator: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = bytes.windows(separator.len()).position(|window| window == separator)?;
    Some((&bytes[..at], &bytes[at + separator.len()..]))
}

pub(super) fn malformed(why: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_is_complete_with_its_last_byte_and_not_before() {
        for response in [
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nsum: 1\r\n\r\n",
            "HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
        ] {
            let bytes = response.as_bytes();
            for length in 0..bytes.len() {
                let (part, error) = (&bytes[..length], ErrorKind::UnexpectedEof);
                assert!(Response::scan(part, false).unwrap().is_none(), "{length} of {response}");
                assert_eq!(Response::scan(part, true).unwrap_err().kind(), error, "{length} of {response}");
            }
            let complete = Response::scan(bytes, false).unwrap().unwrap();
            assert_eq!((complete.status, &complete.body[..], complete.last), (200, &b"hello"[..], false));
            let more = format!("{response}HTTP");
            assert_eq!(Response::scan(more.as_bytes(), false).unwrap_err().kind(), ErrorKind::InvalidData);
        }
    }

    #[test]
    fn the_end_of_the_connection_may_be_that_of_the_body() {
        let bytes = b"HTTP/1.0 404 Not Found\r\n\r\ngone";
        assert!(Response::scan(bytes, false).unwrap().is_none());
        let complete = Response::scan(bytes, true).unwrap().unwrap();
        assert_eq!((complete.status, &complete.body[..], complete.last), (404, &b"gone"[..], true));
    }

    #[test]
    fn what_is_not_http_is_said_to_be_malformed() {
        for bytes in [
            "SSH-2.0-x\r\n\r\n",
            "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: many\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nx\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhello\r\n0\r\n\r\n",
        ] {
            let error = Response::scan(bytes.as_bytes(), false).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidData, "{bytes}");
        }
    }
}

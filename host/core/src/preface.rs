//! What a client speaks, told from the first bytes that it sends.

/// What every HTTP/2 connection begins with; no HTTP/1 request does.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The version a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1, HTTP/1.0, or nothing at all, which is answered as if it was.
    Http1,
    /// HTTP/2 with prior knowledge.
    Http2,
}

/// What the first bytes say, or `None` while they could be either.
#[must_use]
pub fn protocol(first: &[u8]) -> Option<Protocol> {
    if first.len() >= PREFACE.len() {
        let http2 = first.starts_with(PREFACE);
        return Some(if http2 { Protocol::Http2 } else { Protocol::Http1 });
    }
    if PREFACE.starts_with(first) { None } else { Some(Protocol::Http1) }
}

#[cfg(any(test, fuzzing))]
pub mod laws;
#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::laws::any_beginning_is_told_once;
    use super::*;
    use crate::laws::cases;

    proptest! {
        #![proptest_config(cases(256))]

        #[test]
        fn any_beginning(alike in 0..=PREFACE.len(), rest: Vec<u8>) {
            any_beginning_is_told_once(&[&PREFACE[..alike], &rest].concat());
        }
    }

    #[test]
    fn a_preface_is_told_from_a_request_as_early_as_possible() {
        assert_eq!(protocol(b""), None);
        assert_eq!(protocol(b"P"), None);
        assert_eq!(protocol(b"PO"), Some(Protocol::Http1));
        assert_eq!(protocol(b"GET / HTTP/1.1\r\n"), Some(Protocol::Http1));
        assert_eq!(protocol(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r"), None);
        assert_eq!(protocol(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x12"), Some(Protocol::Http2));
        assert_eq!(protocol(b"PRI * HTTP/1.1\r\nHost: a\r\n\r\n"), Some(Protocol::Http1));
        assert_eq!(
            protocol(&[0x16, 0x03, 0x01]),
            Some(Protocol::Http1),
            "hyper answers a TLS hello with 400"
        );
    }
}

//! What holds for whatever a client begins with.

use super::{PREFACE, Protocol, protocol};

/// Any first bytes are judged as soon as there is a difference, and what was said once is said of whatever follows: so it does
/// not matter in which pieces they come.
pub fn any_beginning_is_told_once(bytes: &[u8]) {
    let mut told = None;
    for end in 0..=bytes.len() {
        let now = protocol(&bytes[..end]);
        if told.is_some() {
            assert_eq!(now, told, "after {end} bytes");
        }
        told = now;
        let alike = PREFACE.iter().zip(&bytes[..end]).all(|(expected, byte)| expected == byte);
        let expected = match (alike, end < PREFACE.len()) {
            (true, true) => None,
            (true, false) => Some(Protocol::Http2),
            (false, _) => Some(Protocol::Http1),
        };
        assert_eq!(now, expected, "after {end} bytes");
    }
}

//! What must hold for whatever bytes somebody else chooses, said once: property tests and fuzz targets call the same functions.
//!
//! Each module that reads what others have written has its own `laws` beside it. A law is a function that panics where it is
//! broken. None of this is in a program that is built to be used.

use core::iter;

/// Cuts bytes into pieces, as a pipe or a socket may: of these lengths, one after the other, and the rest in one piece.
pub fn pieces<'a>(mut bytes: &'a [u8], lengths: &[u8]) -> impl Iterator<Item = &'a [u8]> {
    let mut lengths = lengths.iter();
    iter::from_fn(move || {
        // A piece of nothing would be the end.
        let length = lengths.next().map_or(bytes.len(), |length| usize::from(*length).max(1));
        let (piece, rest) = bytes.split_at(length.min(bytes.len()));
        bytes = rest;
        (!piece.is_empty()).then_some(piece)
    })
}

/// Lengths of pieces, and the bytes to be cut, from the bytes of a fuzzer: how many lengths there are, the lengths, and the
/// rest.
#[must_use]
pub fn lengths_and_bytes(input: &[u8]) -> (&[u8], &[u8]) {
    let Some((count, rest)) = input.split_first() else { return (&[], &[]) };
    rest.split_at(usize::from(*count).min(rest.len()))
}

/// How property tests run: so many times, each time with other bytes, and without a file that remembers what was found. What a
/// run finds it prints, smallest first; it becomes a test of its own.
#[cfg(test)]
pub(crate) fn cases(cases: u32) -> proptest::test_runner::Config {
    proptest::test_runner::Config { cases, failure_persistence: None, ..Default::default() }
}

//! The last requests of a worker, where its supervisor can read them when the worker cannot say anything any more.
//!
//! A file in memory that both have: [`ENTRIES`] of [`WORDS`] each, and a new request takes the place of the oldest. The first
//! word of an entry is the request's number, from 1 on, and whether it was answered; the others are its text, with zeros behind it.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

/// How many requests are remembered.
pub const ENTRIES: usize = 16;

/// Words of one entry.
pub const WORDS: usize = 16;

/// The whole, in bytes.
pub const SIZE: usize = ENTRIES * WORDS * size_of::<u64>();

/// Bytes of a request's text.
const TEXT: usize = (WORDS - 1) * size_of::<u64>();

/// As it is in memory, zeros at first. Words and no more: whoever reads it at the same time reads an old one or a new one.
pub type Shared = [[AtomicU64; WORDS]; ENTRIES];

/// A request that a worker had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recent {
    /// Its method and its path, or the beginning of them. What follows a path may be secret.
    pub request: String,
    /// Whether its response was sent, or given up.
    pub answered: bool,
}

/// Notes the request with a number of its own.
pub fn begin(shared: &Shared, number: u64, method: &str, path: &str) {
    let mut text = [0; TEXT];
    let mut rest = &mut text[..];
    for part in [method, " ", path] {
        let (taken, behind) = rest.split_at_mut(part.len().min(rest.len()));
        taken.copy_from_slice(&part.as_bytes()[..taken.len()]);
        rest = behind;
    }
    let [first, words @ ..] = entry(shared, number);
    for (word, bytes) in words.iter().zip(text.as_chunks().0) {
        word.store(u64::from_le_bytes(*bytes), Ordering::Relaxed);
    }
    first.store(number << 1, Ordering::Relaxed);
}

/// Notes that the request with this number was answered, if it is still remembered. To be called where it began.
pub fn end(shared: &Shared, number: u64) {
    let [first, ..] = entry(shared, number);
    if first.load(Ordering::Relaxed) == number << 1 {
        first.store(number << 1 | 1, Ordering::Relaxed);
    }
}

fn entry(shared: &Shared, number: u64) -> &[AtomicU64; WORDS] {
    let number = usize::try_from(number % ENTRIES as u64).unwrap_or_default();
    &shared[number]
}

/// What is remembered, the oldest first. The bytes are of a worker, and may be anything.
#[must_use]
pub fn read(bytes: &[u8; SIZE]) -> Vec<Recent> {
    let entries = bytes.as_chunks::<{ SIZE / ENTRIES }>().0;
    let mut numbered: Vec<_> = entries.iter().filter_map(understand).collect();
    numbered.sort_by_key(|(number, _)| *number);
    numbered.into_iter().map(|(_, recent)| recent).collect()
}

fn understand(entry: &[u8; SIZE / ENTRIES]) -> Option<(u64, Recent)> {
    let (first, text) = entry.split_first_chunk()?;
    let first = u64::from_le_bytes(*first);
    let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
    let text = String::from_utf8_lossy(text);
    let mut request = String::new();
    for character in text.chars() {
        match character.is_control() {
            true => request.extend(character.escape_default()),
            false => request.push(character),
        }
    }
    (first >> 1 > 0).then_some((first >> 1, Recent { request, answered: first & 1 == 1 }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::laws::cases;

    fn shared() -> Shared {
        Shared::default()
    }

    fn bytes(shared: &Shared) -> [u8; SIZE] {
        let words = shared.as_flattened().iter().flat_map(|word| word.load(Ordering::Relaxed).to_le_bytes());
        words.collect::<Vec<_>>().try_into().expect("as many bytes")
    }

    fn recent(request: &str, answered: bool) -> Recent {
        Recent { request: request.into(), answered }
    }

    #[test]
    fn the_last_ones_are_remembered_with_what_became_of_them() {
        let shared = shared();
        assert_eq!(read(&bytes(&shared)), []);
        for number in 1..=20 {
            begin(&shared, number, "GET", &format!("/{number}"));
        }
        // The first one's place is another's by now.
        for number in [1, 6, 20] {
            end(&shared, number);
        }
        let read = read(&bytes(&shared));
        let expected = (5..=20).map(|number| recent(&format!("GET /{number}"), [6, 20].contains(&number)));
        assert_eq!(read, expected.collect::<Vec<_>>());
    }

    #[test]
    fn a_long_one_is_remembered_by_its_beginning() {
        let shared = shared();
        begin(&shared, 1, "GET", &format!("/{}é", "a".repeat(114)));
        begin(&shared, 2, &"X".repeat(500), "/");
        let read = read(&bytes(&shared));
        assert_eq!(read[0].request, format!("GET /{}\u{fffd}", "a".repeat(114)));
        assert_eq!(read[1].request, "X".repeat(TEXT));
    }

    proptest! {
        #![proptest_config(cases(512))]

        #[test]
        fn any_bytes(bytes in prop::collection::vec(any::<u8>(), SIZE)) {
            let read = read(&bytes.try_into().expect("as many bytes"));
            prop_assert!(read.len() <= ENTRIES);
            prop_assert!(read.iter().all(|recent| !recent.request.chars().any(char::is_control)));
        }
    }
}

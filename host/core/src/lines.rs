//! Cutting what children print into lines, in bounded memory.
//!
//! A worker has a [`LineWriter`] for each guest that prints, and the supervisor a [`LineReader`] for each pipe. Both know
//! how long a line may be, so what the one writes as a line the other reads as one.

use crate::message::LOG_LINE;

/// Longest line that is read, in bytes. A longer one is split, and the pieces say so.
pub const MAX_READ: usize = LOG_LINE;

/// Longest line that is written, in bytes: with its end it is one that is read whole. What is longer is broken into several.
pub const MAX_WRITTEN: usize = LOG_LINE - 1;

/// One line, or a piece of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Without its end; what is not UTF-8 is replaced.
    pub text: String,
    /// Whether the line goes on in the next piece.
    pub unfinished: bool,
}

/// Bytes on their way to becoming lines. Never more than [`MAX_READ`] of them.
#[derive(Debug, Default)]
pub struct LineReader {
    /// Of [`MAX_READ`], once there was anything to put in.
    bytes: Vec<u8>,
    /// What of it holds bytes that were not yet taken.
    start: usize,
    end: usize,
    ended: bool,
}

impl LineReader {
    /// Goes on with the [`rest`](Self::rest) of another one.
    #[must_use]
    pub fn resume(rest: Vec<u8>, ended: bool) -> Self {
        let end = rest.len();
        Self { bytes: rest, start: 0, end, ended }
    }

    /// What was read and is no line yet.
    #[must_use]
    pub fn rest(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// Where to put more bytes. Never empty once [`next_line`](Self::next_line) had no more.
    pub fn space(&mut self) -> &mut [u8] {
        self.bytes.resize(MAX_READ, 0);
        self.bytes.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        &mut self.bytes[self.end..]
    }

    /// The first `count` bytes of the space were filled.
    pub fn filled(&mut self, count: usize) {
        self.end = MAX_READ.min(self.end + count);
    }

    /// No more bytes will come: what is left is a line.
    pub fn end(&mut self) {
        self.ended = true;
    }

    /// The next line that is complete.
    pub fn next_line(&mut self) -> Option<Line> {
        let waiting = self.rest();
        if let Some(length) = waiting.iter().position(|&byte| byte == b'\n') {
            let line = waiting[..length].strip_suffix(b"\r").unwrap_or(&waiting[..length]);
            let line = Line { text: String::from_utf8_lossy(line).into_owned(), unfinished: false };
            self.start += length + 1;
            return Some(line);
        }
        if waiting.len() == MAX_READ {
            let piece = &waiting[..whole_characters(waiting)];
            let line = Line { text: String::from_utf8_lossy(piece).into_owned(), unfinished: true };
            self.start += piece.len();
            return Some(line);
        }
        if self.ended && !waiting.is_empty() {
            let line = Line { text: String::from_utf8_lossy(waiting).into_owned(), unfinished: false };
            self.start = self.end;
            return Some(line);
        }
        None
    }
}

/// What one guest has printed and is no line yet. Whole lines are pushed, without their ends.
#[derive(Debug, Default)]
pub struct LineWriter(Vec<u8>);

impl LineWriter {
    /// Takes what was printed, in any pieces.
    pub fn write(&mut self, mut written: &[u8], mut push: impl FnMut(&[u8])) {
        while let Some(end) = written.iter().position(|byte| *byte == b'\n') {
            let (head, tail) = written.split_at(end);
            if self.0.is_empty() && head.len() <= MAX_WRITTEN {
                push(head);
            } else {
                self.0.extend_from_slice(head);
                self.shorten(&mut push);
                push(&self.0);
                self.0.clear();
            }
            written = &tail[1..];
        }
        self.0.extend_from_slice(written);
        self.shorten(&mut push);
    }

    /// Nothing more will be printed: what is left is a line.
    pub fn end(&mut self, mut push: impl FnMut(&[u8])) {
        if !self.0.is_empty() {
            push(&self.0);
            self.0.clear();
        }
    }

    /// Breaks off what is too much for one line. What just fits may be all of it, and its end may come next.
    fn shorten(&mut self, mut push: impl FnMut(&[u8])) {
        let mut start = 0;
        while self.0.len() - start > MAX_WRITTEN {
            let longest = &self.0[start..start + MAX_WRITTEN];
            let piece = &longest[..whole_characters(longest)];
            push(piece);
            start += piece.len();
        }
        self.0.drain(..start);
    }
}

/// How many of `bytes`, which are not the end of the line, can be taken without cutting a character in two.
fn whole_characters(bytes: &[u8]) -> usize {
    // A character has at most four bytes: if one was begun and not finished, its first byte is among the last three.
    let tail = bytes.len().saturating_sub(3);
    let begun = bytes[tail..].iter().rposition(|byte| byte & 0xc0 != 0x80).map(|position| tail + position);
    match begun {
        Some(begun)
            if begun > 0 && bytes[begun] >= 0xc0 && bytes.len() - begun < character_length(bytes[begun]) =>
        {
            begun
        }
        _ => bytes.len(),
    }
}

/// As its first byte announces.
fn character_length(first: u8) -> usize {
    match first {
        0xf0.. => 4,
        0xe0.. => 3,
        0xc0.. => 2,
        _ => 1,
    }
}

#[cfg(any(test, fuzzing))]
pub mod laws;
#[cfg(test)]
mod tests;

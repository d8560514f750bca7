//! What children write on their log pipes, line by line, in bounded memory.

use std::io;
use std::os::fd::OwnedFd;

use serde::{Deserialize, Serialize};
use tokio::net::unix::pipe::Receiver;
use wasmcluster_core::message::LOG_LINE;

use crate::upgrade::{Descriptors, Passed};

/// Longest line in bytes. A longer one is split, and the pieces say so.
const MAX_LINE: usize = LOG_LINE;

/// One line, or a piece of one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// Without its end; what is not UTF-8 is replaced.
    pub(crate) text: String,
    /// Whether the line goes on in the next piece.
    pub(crate) unfinished: bool,
}

/// The reading end of one log pipe.
#[derive(Debug)]
pub(crate) struct Output {
    /// None after its end.
    pipe: Option<Receiver>,
    lines: LineBuffer,
}

/// An [`Output`] on its way to another program.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PassedOutput {
    pipe: Option<Passed>,
    /// What was read and is no line yet.
    rest: Vec<u8>,
}

impl Output {
    /// Of a pipe that is ours alone to read.
    pub(crate) fn new(pipe: OwnedFd) -> io::Result<Self> {
        Ok(Self { pipe: Some(Receiver::from_owned_fd(pipe)?), lines: LineBuffer::default() })
    }

    /// What somebody else needs to go on with it.
    pub(crate) fn pass(self, descriptors: &mut Descriptors) -> io::Result<PassedOutput> {
        let Self { pipe, lines } = self;
        let pipe = pipe.map(Receiver::into_nonblocking_fd).transpose()?.map(|pipe| descriptors.put(pipe));
        Ok(PassedOutput { pipe, rest: lines.bytes[lines.start..lines.end].to_owned() })
    }

    /// Goes on with what somebody else had.
    pub(crate) fn take(passed: PassedOutput, descriptors: &mut Descriptors) -> io::Result<Self> {
        let pipe = passed.pipe.map(|pipe| descriptors.take(pipe)).transpose()?;
        let ended = pipe.is_none();
        let pipe = pipe.map(Receiver::from_owned_fd).transpose()?;
        let end = passed.rest.len();
        Ok(Self { pipe, lines: LineBuffer { bytes: passed.rest, start: 0, end, ended } })
    }

    /// Whether more may come.
    pub(crate) fn is_open(&self) -> bool {
        self.pipe.is_some()
    }

    /// Waits for more bytes or the end. Cancel safe. Whatever became complete is then in
    /// [`next_line`](Self::next_line), which must be asked until it has no more.
    pub(crate) async fn fill(&mut self) {
        let Some(pipe) = &self.pipe else { return };
        // The space is only asked for when there is something to put there: most workers never write a line.
        let read = match pipe.readable().await {
            Ok(()) => pipe.try_read(self.lines.space()),
            Err(error) => Err(error),
        };
        match read {
            Ok(read @ 1..) => self.lines.filled(read),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            // The end. An error on a pipe leaves nothing to read either.
            Ok(0) | Err(_) => {
                self.pipe = None;
                self.lines.end();
            }
        }
    }

    /// The next line that is complete.
    pub(crate) fn next_line(&mut self) -> Option<Line> {
        self.lines.next_line()
    }
}

/// Bytes on their way to becoming lines. Never more than [`MAX_LINE`] of them.
#[derive(Debug, Default)]
struct LineBuffer {
    /// Of [`MAX_LINE`], once there was anything to put in.
    bytes: Vec<u8>,
    /// What of it holds bytes that were not yet taken.
    start: usize,
    end: usize,
    ended: bool,
}

impl LineBuffer {
    /// Where to put more bytes. Never empty once [`next_line`](Self::next_line) had no more.
    fn space(&mut self) -> &mut [u8] {
        self.bytes.resize(MAX_LINE, 0);
        self.bytes.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        &mut self.bytes[self.end..]
    }

    /// The first `count` bytes of the space were filled.
    fn filled(&mut self, count: usize) {
        self.end = MAX_LINE.min(self.end + count);
    }

    /// No more bytes will come: what is left is a line.
    fn end(&mut self) {
        self.ended = true;
    }

    fn next_line(&mut self) -> Option<Line> {
        let waiting = &self.bytes[self.start..self.end];
        if let Some(length) = waiting.iter().position(|&byte| byte == b'\n') {
            let line = waiting[..length].strip_suffix(b"\r").unwrap_or(&waiting[..length]);
            let line = Line { text: String::from_utf8_lossy(line).into_owned(), unfinished: false };
            self.start += length + 1;
            return Some(line);
        }
        if waiting.len() == MAX_LINE {
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

#[cfg(test)]
mod tests;

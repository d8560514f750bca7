//! What guests print, as whole lines on the worker's log pipes.
//!
//! A guest must never wait for whoever reads the log, and neither may the worker: lines go into a bounded buffer that a
//! task empties into the pipe. When the buffer is full, lines are thrown away and counted.

use std::os::fd::RawFd;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::sync::Notify;
use wasmcluster_core::message::LOG_LINE;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

/// Longest line in bytes; what is longer is broken into several.
const MAX_LINE: usize = LOG_LINE - 1;

/// What may wait for the pipe, in bytes.
const MAX_PENDING: usize = 1 << 20;

/// What one write of a guest may hold, in bytes.
const MAX_WRITE: usize = 64 << 10;

/// One of the worker's two log pipes.
#[derive(Clone)]
pub(crate) struct LogPipe(Arc<Shared>);

struct Shared {
    pending: Mutex<Pending>,
    filled: Notify,
}

#[derive(Default)]
struct Pending {
    lines: Vec<u8>,
    dropped: u64,
}

impl LogPipe {
    /// A pipe that nothing empties until [`forward`](Self::forward) runs.
    pub(crate) fn new() -> Self {
        Self(Arc::new(Shared { pending: Mutex::default(), filled: Notify::new() }))
    }

    /// Writes lines to `fd` as they come, for as long as somebody reads them.
    ///
    /// # Errors
    /// Fails when `fd` is not a pipe; the future does when its reader is gone.
    pub(crate) fn forward(
        self,
        fd: RawFd,
    ) -> std::io::Result<impl Future<Output = std::io::Result<()>> + use<>> {
        let mut pipe = sender(fd)?;
        Ok(async move {
            let mut lines = Vec::new();
            loop {
                let filled = self.0.filled.notified();
                std::mem::swap(&mut self.lock().lines, &mut lines);
                if lines.is_empty() {
                    filled.await;
                    continue;
                }
                pipe.write_all(&lines).await?;
                lines.clear();
            }
        })
    }

    /// Waits until all that was printed has been taken by [`forward`](Self::forward).
    ///
    /// The caller bounds the wait: nobody may read the pipe.
    pub(crate) async fn flushed(&self) {
        while !self.lock().lines.is_empty() {
            tokio::time::sleep(core::time::Duration::from_millis(1)).await;
        }
    }

    /// How many lines were thrown away since this was last asked.
    pub(crate) fn take_dropped(&self) -> u64 {
        std::mem::take(&mut self.lock().dropped)
    }

    /// A stream for one store. Every stream has a line of its own, so that lines of different guests never mix.
    pub(crate) fn stream(&self) -> GuestOutput {
        GuestOutput { line: Arc::new(Line { pipe: self.clone(), bytes: Mutex::default() }) }
    }

    fn push(&self, line: &[u8]) {
        let mut pending = self.lock();
        if pending.lines.len() + line.len() >= MAX_PENDING {
            pending.dropped += 1;
            return;
        }
        pending.lines.extend_from_slice(line);
        pending.lines.push(b'\n');
        drop(pending);
        self.0.filled.notify_one();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Pending> {
        self.0.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A pipe end of our own, so that making it non-blocking does not change the descriptor that panics are printed to.
fn sender(fd: RawFd) -> std::io::Result<pipe::Sender> {
    pipe::OpenOptions::new().open_sender(format!("/proc/self/fd/{fd}"))
}

/// A guest's stdout or stderr.
#[derive(Clone)]
pub(crate) struct GuestOutput {
    line: Arc<Line>,
}

struct Line {
    pipe: LogPipe,
    bytes: Mutex<Vec<u8>>,
}

impl Line {
    fn write(&self, mut written: &[u8]) {
        let mut line = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(end) = written.iter().position(|byte| *byte == b'\n') {
            let (head, tail) = written.split_at(end);
            if line.is_empty() && head.len() <= MAX_LINE {
                self.pipe.push(head);
            } else {
                line.extend_from_slice(head);
                for piece in line.chunks(MAX_LINE) {
                    self.pipe.push(piece);
                }
                line.clear();
            }
            written = &tail[1..];
        }
        line.extend_from_slice(written);
        while line.len() >= MAX_LINE {
            self.pipe.push(&line[..MAX_LINE]);
            line.drain(..MAX_LINE);
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let line = self.bytes.get_mut().unwrap_or_else(PoisonError::into_inner);
        if !line.is_empty() {
            self.pipe.push(line);
        }
    }
}

impl IsTerminal for GuestOutput {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for GuestOutput {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

impl OutputStream for GuestOutput {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.line.write(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(MAX_WRITE)
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for GuestOutput {
    async fn ready(&mut self) {}
}

impl AsyncWrite for GuestOutput {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        self.line.write(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(writes: &[&str]) -> String {
        let pipe = LogPipe::new();
        let stream = pipe.stream();
        for write in writes {
            stream.line.write(write.as_bytes());
        }
        drop(stream);
        let lines = pipe.lock().lines.clone();
        String::from_utf8(lines).expect("what went in")
    }

    #[test]
    fn lines_are_put_together_and_the_last_one_ends() {
        assert_eq!(printed(&["one\ntw", "o\n", "three"]), "one\ntwo\nthree\n");
        assert_eq!(printed(&["\n\n"]), "\n\n");
        assert_eq!(printed(&[]), "");
    }

    #[test]
    fn a_line_without_end_is_broken() {
        let long = "x".repeat(MAX_LINE * 2 + 10);
        let text = printed(&[&long, "\nnext\n"]);
        let lengths: Vec<usize> = text.lines().map(str::len).collect();
        assert_eq!(lengths, [MAX_LINE, MAX_LINE, 10, 4]);
    }

    #[test]
    fn lines_of_two_guests_do_not_mix() {
        let pipe = LogPipe::new();
        let (left, right) = (pipe.stream(), pipe.stream());
        left.line.write(b"le");
        right.line.write(b"right\n");
        left.line.write(b"ft\n");
        assert_eq!(pipe.lock().lines, b"right\nleft\n");
    }

    #[test]
    fn what_nobody_reads_is_bounded_and_counted() {
        let pipe = LogPipe::new();
        let stream = pipe.stream();
        for _ in 0..10_000 {
            stream.line.write(&[b'x'; 1000]);
            stream.line.write(b"\n");
        }
        assert!(pipe.lock().lines.len() <= MAX_PENDING);
        assert!(pipe.take_dropped() > 8_000);
    }
}

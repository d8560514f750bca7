//! What guests print, as whole lines on the worker's log pipes.
//!
//! A guest must never wait for whoever reads the log, and neither may the worker: lines go into a bounded buffer that a
//! task empties into the pipe. When the buffer is full, lines are thrown away and counted.

use std::os::fd::RawFd;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::sync::Notify;
use wasmcluster_core::app::GuestLimits;
use wasmcluster_core::limit::Limit;
use wasmcluster_core::lines::LineWriter;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

use crate::last_words::LastWords;
use crate::reached::reached;

/// What may wait for the pipe, in bytes.
const MAX_PENDING: usize = 1 << 20;

/// What one write of a guest may hold, in bytes.
const MAX_WRITE: usize = 64 << 10;

/// One of the worker's two log pipes.
#[derive(Clone)]
pub(crate) struct LogPipe(Arc<Shared>);

struct Shared {
    pending: Mutex<Pending>,
    allowance: Arc<Allowance>,
    filled: Notify,
}

#[derive(Default)]
struct Pending {
    lines: Vec<u8>,
    /// For want of room.
    dropped: u64,
    /// Beyond the allowance.
    refused: u64,
}

/// What the guests of a worker may print until the next pulse, on both pipes together. Whoever has nothing else to wait for
/// than a clock need not look at one: the pulse refills it.
#[derive(Default)]
struct Allowance {
    limits: OnceLock<(u32, u64)>,
    lines: AtomicU32,
    bytes: AtomicU64,
}

impl Allowance {
    fn refill(&self) {
        self.lines.store(0, Ordering::Relaxed);
        self.bytes.store(0, Ordering::Relaxed);
    }

    /// Takes a line of so many bytes from it. Fails with what there is too much of.
    fn take(&self, bytes: usize) -> Result<(), Limit> {
        let Some(&(lines, size)) = self.limits.get() else { return Ok(()) };
        if self.lines.fetch_add(1, Ordering::Relaxed) >= lines {
            self.lines.store(lines, Ordering::Relaxed);
            return Err(Limit::MaxLogLines);
        }
        let bytes = bytes as u64;
        if self.bytes.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes) > size {
            self.bytes.store(size, Ordering::Relaxed);
            return Err(Limit::MaxLogSize);
        }
        Ok(())
    }
}

/// Lines that were thrown away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Losses {
    /// The log does not take them as fast as they come.
    pub(crate) dropped: u64,
    /// Guests may not print that much.
    pub(crate) refused: u64,
}

impl LogPipe {
    /// Stdout and stderr, which nothing empties until [`forward`](Self::forward) runs.
    pub(crate) fn both() -> [Self; 2] {
        let allowance = Arc::new(Allowance::default());
        [(); 2].map(|()| {
            let allowance = Arc::clone(&allowance);
            Self(Arc::new(Shared { pending: Mutex::default(), allowance, filled: Notify::new() }))
        })
    }

    /// Says how much may be printed on both until [`refill`](Self::refill).
    pub(crate) fn limit(&self, limits: &GuestLimits) {
        self.0.allowance.limits.get_or_init(|| (limits.log_lines, limits.log_size));
    }

    /// A second has passed.
    pub(crate) fn refill(&self) {
        self.0.allowance.refill();
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

    /// What was thrown away since this was last asked.
    pub(crate) fn take_losses(&self) -> Losses {
        let mut pending = self.lock();
        Losses {
            dropped: std::mem::take(&mut pending.dropped),
            refused: std::mem::take(&mut pending.refused),
        }
    }

    /// A stream for one store. Every stream has a line of its own, so that lines of different guests never mix.
    pub(crate) fn stream(&self) -> GuestOutput {
        self.heard_stream(None)
    }

    /// [`stream`](Self::stream), with somebody who hears what is printed.
    pub(crate) fn heard_stream(&self, heard: Option<LastWords>) -> GuestOutput {
        GuestOutput { line: Arc::new(Line { pipe: self.clone(), writer: Mutex::default(), heard }) }
    }

    /// Writes lines that are whole.
    pub(crate) fn write(&self, lines: &[u8]) {
        // What ends without a line break has its end here.
        Line { pipe: self.clone(), writer: Mutex::default(), heard: None }.write(lines);
    }

    fn push(&self, line: &[u8]) {
        let allowed = self.0.allowance.take(line.len());
        let mut pending = self.lock();
        if let Err(limit) = allowed {
            reached(limit);
            pending.refused += 1;
            return;
        }
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
    writer: Mutex<LineWriter>,
    heard: Option<LastWords>,
}

impl Line {
    fn write(&self, written: &[u8]) {
        if let Some(heard) = &self.heard {
            heard.hear(written);
        }
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        writer.write(written, |line| self.pipe.push(line));
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let writer = self.writer.get_mut().unwrap_or_else(PoisonError::into_inner);
        writer.end(|line| self.pipe.push(line));
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

    #[test]
    fn lines_of_two_guests_do_not_mix() {
        let [pipe, _] = LogPipe::both();
        let (left, right) = (pipe.stream(), pipe.stream());
        left.line.write(b"le");
        right.line.write(b"right\n");
        left.line.write(b"ft\n");
        assert_eq!(pipe.lock().lines, b"right\nleft\n");
    }

    #[test]
    fn what_nobody_reads_is_bounded_and_counted() {
        let [pipe, _] = LogPipe::both();
        let stream = pipe.stream();
        for _ in 0..10_000 {
            stream.line.write(&[b'x'; 1000]);
            stream.line.write(b"\n");
        }
        assert!(pipe.lock().lines.len() <= MAX_PENDING);
        assert!(pipe.take_losses().dropped > 8_000);
    }
    #[test]
    fn both_pipes_together_take_so_many_lines_and_bytes_in_a_second() {
        let pipes = LogPipe::both();
        pipes[0].0.allowance.limits.set((4, 100)).expect("once");
        let print = |line: &[u8]| pipes.iter().for_each(|pipe| pipe.push(line));
        let refused = || pipes.iter().map(|pipe| pipe.take_losses().refused).sum::<u64>();
        (0..5).for_each(|_| print(b"short"));
        assert_eq!(refused(), 6);
        pipes[1].refill();
        print(&[b'x'; 60]);
        assert_eq!(refused(), 1);
        print(b"");
        assert_eq!(refused(), 0);
        print(b"one byte more would be too much, and is");
        assert_eq!(refused(), 2);
    }
}

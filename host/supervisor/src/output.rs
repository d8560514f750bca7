//! What children write on their log pipes, line by line, in bounded memory.

use std::io;
use std::os::fd::OwnedFd;

use serde::{Deserialize, Serialize};
use tokio::net::unix::pipe::Receiver;
use wasmcluster_core::lines::{Line, LineReader};

use crate::upgrade::{Descriptors, Passed};

/// The reading end of one log pipe.
#[derive(Debug)]
pub(crate) struct Output {
    /// None after its end.
    pipe: Option<Receiver>,
    lines: LineReader,
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
        Ok(Self { pipe: Some(Receiver::from_owned_fd(pipe)?), lines: LineReader::default() })
    }

    /// What somebody else needs to go on with it.
    pub(crate) fn pass(self, descriptors: &mut Descriptors) -> io::Result<PassedOutput> {
        let Self { pipe, lines } = self;
        let pipe = pipe.map(Receiver::into_nonblocking_fd).transpose()?.map(|pipe| descriptors.put(pipe));
        Ok(PassedOutput { pipe, rest: lines.rest().to_owned() })
    }

    /// Goes on with what somebody else had.
    pub(crate) fn take(passed: PassedOutput, descriptors: &mut Descriptors) -> io::Result<Self> {
        let pipe = passed.pipe.map(|pipe| descriptors.take(pipe)).transpose()?;
        let lines = LineReader::resume(passed.rest, pipe.is_none());
        Ok(Self { pipe: pipe.map(Receiver::from_owned_fd).transpose()?, lines })
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

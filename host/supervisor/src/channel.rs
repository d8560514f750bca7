//! The supervisor's end of a channel, to a child or to a command: [`Channel`] over a socket.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::Interest;
use tokio::net::UnixStream;
use wasmcluster_core::channel::{Channel, ChannelError};

/// Sends `Tx` to another process, receives `Rx` from it.
#[derive(Debug)]
pub(crate) struct SocketChannel<Tx, Rx> {
    socket: UnixStream,
    codec: Channel<Tx, Rx>,
}

impl<Tx: Serialize, Rx: DeserializeOwned> SocketChannel<Tx, Rx> {
    /// A fresh channel, and the end that the child inherits.
    pub(crate) fn pair() -> io::Result<(Self, OwnedFd)> {
        let (ours, theirs) = StdUnixStream::pair()?;
        ours.set_nonblocking(true)?;
        Ok((Self::over(UnixStream::from_std(ours)?), theirs.into()))
    }

    /// A fresh channel over a connection.
    pub(crate) fn over(socket: UnixStream) -> Self {
        Self { socket, codec: Channel::new() }
    }

    /// Queues a message. [`receive`](Self::receive) writes it: a peer that does not read must not hold us up.
    pub(crate) fn send(&mut self, message: &Tx) {
        self.codec.send(message);
    }

    /// Writes what waits, and waits for the next message; `None` when the peer has closed its end. Cancel safe.
    pub(crate) async fn receive(&mut self) -> Result<Option<Rx>, ChannelError> {
        loop {
            if let Some(message) = self.codec.receive()? {
                return Ok(Some(message));
            }
            let interest = match self.codec.outgoing() {
                [] => Interest::READABLE,
                _ => Interest::READABLE | Interest::WRITABLE,
            };
            // None of the three can fail but for a peer that went away, possibly after its last words.
            let Ok(ready) = self.socket.ready(interest).await else { return Ok(None) };
            if ready.is_writable() {
                match self.socket.try_write(self.codec.outgoing()) {
                    Ok(written) => self.codec.wrote(written),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(_) => self.codec.wrote(self.codec.outgoing().len()),
                }
            }
            if ready.is_readable() {
                // Not alive while waiting, so that an idle channel does not carry it around.
                let mut buffer = [0; 4096];
                match self.socket.try_read(&mut buffer) {
                    Ok(0) => return Ok(None),
                    Ok(read) => self.codec.read(&buffer[..read]),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(_) => return Ok(None),
                }
            }
        }
    }

    /// Writes everything that waits. Waits for as long as the peer does not read.
    pub(crate) async fn flush(&mut self) -> io::Result<()> {
        while !self.codec.outgoing().is_empty() {
            self.socket.writable().await?;
            match self.socket.try_write(self.codec.outgoing()) {
                Ok(written) => self.codec.wrote(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    fn run<T>(test: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(test)
    }

    #[test]
    fn last_words_are_heard() {
        run(async {
            let (mut ours, theirs) = SocketChannel::<u32, u32>::pair().expect("sockets");
            ours.send(&1);
            let mut child = StdUnixStream::from(theirs);
            let mut codec = Channel::<u32, u32>::new();
            codec.send(&7);
            child.write_all(codec.outgoing()).expect("open");
            drop(child);
            assert_eq!(ours.receive().await.expect("valid"), Some(7));
            assert_eq!(ours.receive().await.expect("valid"), None);
        });
    }

    #[test]
    fn more_than_the_socket_holds_is_written_as_the_child_reads() {
        run(async {
            let (mut ours, theirs) = SocketChannel::<String, u32>::pair().expect("sockets");
            let long = "x".repeat(3 << 20);
            ours.send(&long);
            let child = std::thread::spawn(move || {
                let mut child = StdUnixStream::from(theirs);
                let mut codec = Channel::<u32, String>::new();
                let mut buffer = [0; 65536];
                loop {
                    let read = child.read(&mut buffer).expect("open");
                    codec.read(&buffer[..read]);
                    if let Some(message) = codec.receive().expect("valid") {
                        return message.len();
                    }
                }
            });
            assert_eq!(ours.receive().await.expect("valid"), None);
            assert_eq!(child.join().expect("no panic"), long.len());
        });
    }
}

//! The supervisor's end of a channel, to a child or to a command: [`Channel`] over a socket, and descriptors beside it.
//!
//! A descriptor travels with the first byte of the message that it belongs to. The kernel keeps both in order, so whoever
//! has a whole message has its descriptor, too.

use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::Interest;
use tokio::net::UnixStream;
use wasmcluster_core::channel::{Channel, ChannelError};

use crate::upgrade::{Descriptors, Passed};

/// Sends `Tx` to another process, receives `Rx` from it.
#[derive(Debug)]
pub(crate) struct SocketChannel<Tx, Rx> {
    socket: UnixStream,
    codec: Channel<Tx, Rx>,
    /// To be sent, each with how many of the bytes that wait go before it.
    leaving: VecDeque<(usize, OwnedFd)>,
    arrived: VecDeque<OwnedFd>,
}

/// A [`SocketChannel`] on its way to another program.
#[derive(Debug, Serialize, Deserialize)]
#[serde(bound = "")]
pub(crate) struct PassedChannel<Tx, Rx> {
    socket: Passed,
    codec: Channel<Tx, Rx>,
    leaving: VecDeque<(usize, Passed)>,
    arrived: VecDeque<Passed>,
}

/// Descriptors that may have arrived before the messages that they belong to were taken.
const ARRIVED: usize = 4;

impl<Tx: Serialize, Rx: DeserializeOwned> SocketChannel<Tx, Rx> {
    /// A fresh channel, and the end that the child inherits.
    pub(crate) fn pair() -> io::Result<(Self, OwnedFd)> {
        let (ours, theirs) = StdUnixStream::pair()?;
        ours.set_nonblocking(true)?;
        Ok((Self::over(UnixStream::from_std(ours)?), theirs.into()))
    }

    /// A fresh channel over a connection.
    pub(crate) fn over(socket: UnixStream) -> Self {
        Self { socket, codec: Channel::new(), leaving: VecDeque::new(), arrived: VecDeque::new() }
    }

    /// Queues a message. [`receive`](Self::receive) writes it: a peer that does not read must not hold us up.
    pub(crate) fn send(&mut self, message: &Tx) {
        self.codec.send(message);
    }

    /// Queues a message, and a descriptor that goes with it.
    pub(crate) fn send_with(&mut self, message: &Tx, descriptor: OwnedFd) {
        self.leaving.push_back((self.codec.outgoing().len(), descriptor));
        self.codec.send(message);
    }

    /// What somebody else needs to go on with it.
    pub(crate) fn pass(self, descriptors: &mut Descriptors) -> io::Result<PassedChannel<Tx, Rx>> {
        let Self { socket, codec, leaving, arrived } = self;
        let socket = descriptors.put(OwnedFd::from(socket.into_std()?));
        let leaving = leaving.into_iter().map(|(before, descriptor)| (before, descriptors.put(descriptor)));
        let leaving = leaving.collect();
        let arrived = arrived.into_iter().map(|descriptor| descriptors.put(descriptor)).collect();
        Ok(PassedChannel { socket, codec, leaving, arrived })
    }

    /// Goes on with what somebody else had.
    pub(crate) fn take(passed: PassedChannel<Tx, Rx>, descriptors: &mut Descriptors) -> io::Result<Self> {
        let PassedChannel { socket, codec, leaving, arrived } = passed;
        let socket = UnixStream::from_std(descriptors.take(socket)?.into())?;
        let leaving = leaving.into_iter().map(|(before, passed)| Ok((before, descriptors.take(passed)?)));
        let leaving = leaving.collect::<io::Result<_>>()?;
        let arrived =
            arrived.into_iter().map(|passed| descriptors.take(passed)).collect::<io::Result<_>>()?;
        Ok(Self { socket, codec, leaving, arrived })
    }

    /// The descriptor that came with the message received last, if it carries one. To be asked once for each that does.
    pub(crate) fn descriptor(&mut self) -> Option<OwnedFd> {
        self.arrived.pop_front()
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
                match self.try_write() {
                    Ok(()) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(_) => {
                        self.leaving.clear();
                        self.codec.wrote(self.codec.outgoing().len());
                    }
                }
            }
            if ready.is_readable() {
                match self.try_read() {
                    Ok(true) => {}
                    Ok(false) => return Ok(None),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(_) => return Ok(None),
                }
                if self.arrived.len() > ARRIVED {
                    return Err(ChannelError::Descriptors);
                }
            }
        }
    }

    /// Writes everything that waits. Waits for as long as the peer does not read. Cancel safe.
    pub(crate) async fn flush(&mut self) -> io::Result<()> {
        while !self.codec.outgoing().is_empty() {
            self.socket.writable().await?;
            match self.try_write() {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Writes up to the next descriptor, or that one and what follows it.
    fn try_write(&mut self) -> io::Result<()> {
        let waiting = self.codec.outgoing();
        let written = match self.leaving.front() {
            None => self.socket.try_write(waiting)?,
            Some((0, descriptor)) => {
                let end = self.leaving.get(1).map_or(waiting.len(), |(before, _)| *before);
                let written = self
                    .socket
                    .try_io(Interest::WRITABLE, || send_with(&self.socket, &waiting[..end], descriptor))?;
                self.leaving.pop_front();
                written
            }
            Some((before, _)) => self.socket.try_write(&waiting[..*before])?,
        };
        self.codec.wrote(written);
        for (before, _) in &mut self.leaving {
            *before -= written;
        }
        Ok(())
    }

    /// Reads what is there. False at the end.
    fn try_read(&mut self) -> io::Result<bool> {
        // Not alive while waiting, so that an idle channel does not carry it around.
        let mut buffer = [0; 4096];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let received = self.socket.try_io(Interest::READABLE, || {
            let mut slices = [IoSliceMut::new(&mut buffer)];
            Ok(recvmsg(&self.socket, &mut slices, &mut ancillary, RecvFlags::CMSG_CLOEXEC)?)
        })?;
        if received.flags.contains(ReturnFlags::CTRUNC) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                self.arrived.extend(descriptors);
            }
        }
        self.codec.read(&buffer[..received.bytes]);
        Ok(received.bytes > 0)
    }
}

/// Writes bytes with a descriptor. What it says about how many were written holds for the bytes alone: of a descriptor
/// there is all or nothing.
pub(crate) fn send_with(socket: impl AsFd, bytes: &[u8], descriptor: impl AsFd) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let descriptors = [descriptor.as_fd()];
    ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
    Ok(sendmsg(socket, &[IoSlice::new(bytes)], &mut ancillary, SendFlags::NOSIGNAL)?)
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
    fn a_descriptor_comes_with_its_message() {
        run(async {
            let (mut ours, theirs) = SocketChannel::<u32, u32>::pair().expect("sockets");
            let theirs = StdUnixStream::from(theirs);
            theirs.set_nonblocking(true).expect("open");
            let mut theirs = SocketChannel::<u32, u32>::over(UnixStream::from_std(theirs).expect("open"));
            let file = |content: &str| {
                let (read, write) = nix::unistd::pipe().expect("a pipe");
                std::fs::File::from(write).write_all(content.as_bytes()).expect("room");
                read
            };
            ours.send(&1);
            ours.send_with(&2, file("two"));
            ours.send(&3);
            ours.send_with(&4, file("four"));
            ours.send_with(&5, file("five"));
            ours.flush().await.expect("room");
            let mut seen = Vec::new();
            for number in 1..=5 {
                assert_eq!(theirs.receive().await.expect("valid"), Some(number));
                if [2, 4, 5].contains(&number) {
                    let mut content = String::new();
                    let file = theirs.descriptor().expect("it came along");
                    std::fs::File::from(file).read_to_string(&mut content).expect("readable");
                    seen.push(content);
                }
            }
            assert_eq!(seen, ["two", "four", "five"]);
            assert!(theirs.descriptor().is_none());
        });
    }

    #[test]
    fn nobody_fills_us_with_descriptors() {
        run(async {
            let (mut ours, theirs) = SocketChannel::<u32, u32>::pair().expect("sockets");
            let theirs = StdUnixStream::from(theirs);
            for _ in 0..=ARRIVED {
                send_with(&theirs, b"\0", &theirs).expect("room");
            }
            assert!(ours.receive().await.is_err());
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

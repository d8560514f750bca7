//! Connections on their way from a worker that drains to its heir.
//!
//! The two hold the ends of a socket that keeps messages apart (SOCK_SEQPACKET). A connection is a message: its descriptor,
//! a byte that says what it is in the middle of, and what was read from it and not used. More than fits into one message
//! goes ahead in messages without a descriptor.
//!
//! The socket's buffer is all that is ever under way. Whoever finds it full keeps its connection until there is room.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::BytesMut;
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, Shutdown, recvmsg, sendmsg, shutdown,
};
use tokio::io::Interest;
use tokio::net::{TcpStream, UnixDatagram};
use tokio::sync::{Mutex, Notify};
use tokio::time::sleep;

use crate::connection::Client;

/// Bytes of a connection in one message.
const PIECE: usize = 32 << 10;

/// No worker has so much of one connection: heads are smaller, and so is what is read ahead of them.
const MOST: usize = 64 << 20;

/// Pause where there is no descriptor to spare.
const BACKOFF: Duration = Duration::from_millis(5);

/// The first byte of a message.
const ASKING: u8 = 0;
/// The connection has had an answer and nothing came since, so it may rest.
const IDLE: u8 = 1;
/// It is no connection but a socket from which connections come.
const PASSAGE: u8 = 2;

/// The worker that takes over, as seen by the one that drains.
pub(crate) struct Heir {
    socket: UnixDatagram,
    /// The messages of a connection must not mix with those of another.
    turn: Mutex<()>,
    gone: AtomicBool,
    left: Notify,
}

/// The heir takes nothing any more.
#[derive(Debug)]
pub(crate) struct Gone;

impl Heir {
    pub(crate) fn new(socket: OwnedFd) -> io::Result<Self> {
        let socket = messages(socket)?;
        Ok(Self { socket, turn: Mutex::default(), gone: AtomicBool::new(false), left: Notify::new() })
    }

    /// Whether it still took what it was given.
    pub(crate) fn takes(&self) -> bool {
        !self.gone.load(Ordering::Relaxed)
    }

    /// Returns once it takes nothing any more.
    pub(crate) async fn gone(&self) {
        loop {
            let left = self.left.notified();
            if !self.takes() {
                return;
            }
            left.await;
        }
    }

    /// Hands a connection over. Without an heir it is still ours, and whole.
    pub(crate) async fn take(&self, client: &Client) -> Result<(), Gone> {
        let kind = if client.idle { IDLE } else { ASKING };
        self.send(kind, &client.unused, client.socket.as_fd()).await
    }

    /// Hands over all connections that come from another worker and were not taken yet.
    pub(crate) async fn take_passage(&self, passage: &Passage) -> Result<(), Gone> {
        self.send(PASSAGE, &passage.ahead, passage.socket.as_fd()).await
    }

    async fn send(&self, kind: u8, bytes: &[u8], descriptor: BorrowedFd<'_>) -> Result<(), Gone> {
        let _turn = self.turn.lock().await;
        if !self.takes() {
            return Err(Gone);
        }
        let mut pieces = bytes.chunks(PIECE).peekable();
        loop {
            let piece = pieces.next().unwrap_or_default();
            let last = pieces.peek().is_none();
            if self.send_message(kind, piece, last.then_some(descriptor)).await.is_err() {
                self.gone.store(true, Ordering::Relaxed);
                self.left.notify_waiters();
                return Err(Gone);
            }
            if last {
                return Ok(());
            }
        }
    }

    async fn send_message(
        &self,
        kind: u8,
        piece: &[u8],
        descriptor: Option<BorrowedFd<'_>>,
    ) -> io::Result<()> {
        let kind = [kind];
        let message = [IoSlice::new(&kind), IoSlice::new(piece)];
        loop {
            let sent =
                self.socket.async_io(Interest::WRITABLE, || send(&self.socket, &message, descriptor)).await;
            match sent {
                // The kernel counts what is under way of all processes of this user. The heir is taking it.
                Err(error) if error.raw_os_error() == Some(Errno::TOOMANYREFS.raw_os_error()) => {
                    sleep(BACKOFF).await;
                }
                sent => return sent,
            }
        }
    }
}

/// An end of the socket between the two. The runtime has no type for sockets of messages that also know an end; to what is
/// asked of this one the difference does not matter.
fn messages(socket: OwnedFd) -> io::Result<UnixDatagram> {
    UnixDatagram::from_std(socket.into())
}

/// Sends one message.
fn send(
    socket: &UnixDatagram,
    message: &[IoSlice<'_>],
    descriptor: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if let Some(descriptor) = &descriptor {
        ancillary.push(SendAncillaryMessage::ScmRights(std::slice::from_ref(descriptor)));
    }
    sendmsg(socket, message, &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// What comes from a worker that drains.
pub(crate) enum Arrival {
    Client(Client),
    /// It was an heir itself, and what it did not take over is handed on.
    Passage(Passage),
}

/// What a worker that drains hands over, as seen by its heir.
pub(crate) struct Passage {
    socket: UnixDatagram,
    buffer: Box<[u8]>,
    /// What was read from the connection that comes next.
    ahead: BytesMut,
}

impl Passage {
    pub(crate) fn new(socket: OwnedFd) -> io::Result<Self> {
        let socket = messages(socket)?;
        Ok(Self { socket, buffer: vec![0; 1 + PIECE].into(), ahead: BytesMut::new() })
    }

    /// Takes nothing more. What was handed over before is still to come.
    pub(crate) fn close(&self) {
        // Closed by the other end it is as good.
        let _ = shutdown(&self.socket, Shutdown::Read);
    }

    /// What comes next; none when all has come. Cancel safe.
    pub(crate) async fn next(&mut self) -> io::Result<Option<Arrival>> {
        loop {
            self.socket.readable().await?;
            self.room().await;
            let received = self.socket.try_io(Interest::READABLE, || receive(&self.socket, &mut self.buffer));
            let (length, descriptor) = match received {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                received => received?,
            };
            let Some((&kind, bytes)) = self.buffer[..length].split_first() else { return Ok(None) };
            self.ahead.extend_from_slice(bytes);
            if self.ahead.len() > MOST {
                return Err(io::ErrorKind::InvalidData.into());
            }
            let Some(descriptor) = descriptor else { continue };
            let ahead = std::mem::take(&mut self.ahead);
            return Ok(Some(if kind == PASSAGE {
                Arrival::Passage(Self { ahead, ..Self::new(descriptor)? })
            } else {
                let socket = TcpStream::from_std(descriptor.into())?;
                Arrival::Client(Client { socket, idle: kind == IDLE && ahead.is_empty(), unused: ahead })
            }));
        }
    }

    /// Waits until there is a descriptor for what comes: the kernel throws away what it has no number for.
    async fn room(&self) {
        while rustix::io::fcntl_dupfd_cloexec(&self.socket, 0).is_err() {
            sleep(BACKOFF).await;
        }
    }
}

/// Takes one message. Empty is the end: none is sent empty.
fn receive(socket: &UnixDatagram, buffer: &mut [u8]) -> io::Result<(usize, Option<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut slices = [IoSliceMut::new(buffer)];
    let received = recvmsg(socket, &mut slices, &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    let descriptor = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    if received.flags.intersects(ReturnFlags::CTRUNC | ReturnFlags::TRUNC) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok((received.bytes, descriptor))
}

#[cfg(test)]
mod tests;

//! Connections on their way from a worker that drains to its heir.
//!
//! The two hold the ends of a socket that keeps messages apart (SOCK_SEQPACKET). A connection is a message: its descriptor,
//! a byte that says what it is in the middle of, and what was read from it and not used. More than fits into one message
//! goes ahead in messages without a descriptor.
//!
//! The socket's buffer is all that is ever under way. Whoever finds it full keeps its connection until there is room.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
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
        let _turn = self.turn.lock().await;
        if !self.takes() {
            return Err(Gone);
        }
        self.send(client).await.map_err(|_| {
            self.gone.store(true, Ordering::Relaxed);
            self.left.notify_waiters();
            Gone
        })
    }

    async fn send(&self, client: &Client) -> io::Result<()> {
        let kind = [if client.idle { IDLE } else { ASKING }];
        let mut pieces = client.unused.chunks(PIECE).peekable();
        loop {
            let piece = pieces.next().unwrap_or_default();
            let last = pieces.peek().is_none();
            let message = [IoSlice::new(&kind), IoSlice::new(piece)];
            loop {
                let sent =
                    self.socket.async_io(Interest::WRITABLE, || send(&self.socket, &message, client, last));
                match sent.await {
                    Ok(()) => break,
                    // The kernel counts what is under way of all processes of this user. The heir is taking it.
                    Err(error) if error.raw_os_error() == Some(Errno::TOOMANYREFS.raw_os_error()) => {
                        tokio::time::sleep(BACKOFF).await;
                    }
                    Err(error) => return Err(error),
                }
            }
            if last {
                return Ok(());
            }
        }
    }
}

/// An end of the socket between the two. The runtime has no type for sockets of messages that also know an end; to what is
/// asked of this one the difference does not matter.
fn messages(socket: OwnedFd) -> io::Result<UnixDatagram> {
    UnixDatagram::from_std(socket.into())
}

/// Sends one message, with the connection itself if that is the last.
fn send(socket: &UnixDatagram, message: &[IoSlice<'_>], client: &Client, last: bool) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let descriptors = [client.socket.as_fd()];
    if last {
        ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
    }
    sendmsg(socket, message, &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
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

    /// The next connection; none when all have come. Cancel safe.
    pub(crate) async fn next(&mut self) -> io::Result<Option<Client>> {
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
            if let Some(descriptor) = descriptor {
                let socket = TcpStream::from_std(descriptor.into())?;
                let unused = std::mem::take(&mut self.ahead);
                return Ok(Some(Client { socket, idle: kind == IDLE && unused.is_empty(), unused }));
            }
        }
    }

    /// Waits until there is a descriptor for what comes: the kernel throws away what it has no number for.
    async fn room(&self) {
        while rustix::io::fcntl_dupfd_cloexec(&self.socket, 0).is_err() {
            tokio::time::sleep(BACKOFF).await;
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

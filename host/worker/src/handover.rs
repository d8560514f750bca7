//! Connections on their way from a worker that drains to its heir.
//!
//! The two hold the ends of a socket that keeps messages apart (SOCK_SEQPACKET). A connection is a message: its descriptor,
//! a byte that says what it is in the middle of, and what was read from it and not used. More than fits into one message
//! goes ahead in messages without a descriptor. The heir answers each connection with a message of one byte, before it does
//! anything with it. Until that has come the connection is still open here, so that an heir which dies takes nothing with it
//! that was on its way.
//!
//! The socket's buffer is all that is ever under way. Whoever finds it full keeps its connection until there is room.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, Shutdown, recvmsg, sendmsg, shutdown,
};
use tokio::io::Interest;
use tokio::net::{TcpStream, UnixDatagram};
use tokio::sync::{Mutex, watch};
use tokio::task::JoinSet;
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

/// What the heir answers.
const TAKEN: [u8; 1] = [3];

/// The worker that takes over, as seen by the one that drains.
pub(crate) struct Heir {
    socket: Arc<UnixDatagram>,
    /// How many connections were sent, held while one is: messages of one must not mix with those of another.
    sent: Mutex<u64>,
    state: watch::Sender<State>,
    /// Hears the answers for as long as there is somebody who waits for any.
    _listening: JoinSet<()>,
}

/// What is known of an heir.
#[derive(Clone, Copy, Debug, Default)]
struct State {
    /// How many connections it has. They come to it in the order in which they were sent.
    taken: u64,
    /// It takes no more than it was sent.
    closed: bool,
    /// Nobody is there any more. What was not taken by now never will be.
    gone: bool,
}

/// The heir takes nothing any more.
#[derive(Debug)]
pub(crate) struct Gone;

impl Heir {
    pub(crate) fn new(socket: OwnedFd) -> io::Result<Self> {
        let socket = Arc::new(messages(socket)?);
        let state = watch::Sender::default();
        let mut listening = JoinSet::new();
        listening.spawn(listen(Arc::clone(&socket), state.clone()));
        Ok(Self { socket, sent: Mutex::default(), state, _listening: listening })
    }

    /// Whether it still took what it was given.
    pub(crate) fn takes(&self) -> bool {
        !self.state.borrow().closed
    }

    /// Whether it is dead, or has handed nothing on and left.
    pub(crate) fn is_dead(&self) -> bool {
        let mut ends = [PollFd::new(&self.socket, PollFlags::empty())];
        poll(&mut ends, Some(&Timespec::default())).is_ok() && ends[0].revents().contains(PollFlags::HUP)
    }

    /// Returns once it takes nothing any more.
    pub(crate) async fn gone(&self) {
        // The sender is ours.
        let _ = self.state.subscribe().wait_for(|state| state.closed).await;
    }

    /// Hands a connection over, and returns when the heir has it. Without an heir it is still ours, and whole.
    pub(crate) async fn take(&self, client: &Client) -> Result<(), Gone> {
        let kind = if client.idle { IDLE } else { ASKING };
        self.send(kind, &client.unused, client.socket.as_fd()).await
    }

    /// Hands over all connections that come from another worker and were not taken yet. Whoever has taken one and has not
    /// said so keeps the passage: the answer would be missed.
    pub(crate) async fn take_passage(&self, passage: &Passage) -> Result<(), Gone> {
        match passage.came {
            Some(_) => Err(Gone),
            None => self.send(PASSAGE, &passage.ahead, passage.socket.as_fd()).await,
        }
    }

    async fn send(&self, kind: u8, bytes: &[u8], descriptor: BorrowedFd<'_>) -> Result<(), Gone> {
        let number = {
            let mut sent = self.sent.lock().await;
            if !self.takes() {
                return Err(Gone);
            }
            if self.send_pieces(kind, bytes, descriptor).await.is_err() {
                self.state.send_modify(|state| state.closed = true);
                return Err(Gone);
            }
            *sent += 1;
            *sent
        };
        let mut state = self.state.subscribe();
        let state = state.wait_for(|state| state.taken >= number || state.gone).await;
        if state.is_ok_and(|state| state.taken >= number) { Ok(()) } else { Err(Gone) }
    }

    async fn send_pieces(&self, kind: u8, bytes: &[u8], descriptor: BorrowedFd<'_>) -> io::Result<()> {
        let mut pieces = bytes.chunks(PIECE).peekable();
        loop {
            let piece = pieces.next().unwrap_or_default();
            let last = pieces.peek().is_none();
            self.send_message(kind, piece, last.then_some(descriptor)).await?;
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

/// Counts the heir's answers until there are no more. What it has answered is heard even when it is gone.
async fn listen(socket: Arc<UnixDatagram>, state: watch::Sender<State>) {
    let mut answer = TAKEN;
    loop {
        match socket.recv(&mut answer).await {
            Ok(1..) => state.send_modify(|state| state.taken += 1),
            Err(error) if left_something_unread(&error) => {}
            _ => break,
        }
    }
    state.send_modify(|state| (state.closed, state.gone) = (true, true));
}

/// The other end was closed before it had read everything. The kernel says so once, and before what it has sent itself.
fn left_something_unread(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::ConnectionReset
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
    Passage(Box<Passage>),
}

/// What a worker that drains hands over, as seen by its heir.
pub(crate) struct Passage {
    socket: UnixDatagram,
    buffer: Box<[u8]>,
    /// What was read from the connection that comes next.
    ahead: BytesMut,
    /// What has come, and nobody was told yet that it has.
    came: Option<Arrival>,
}

impl Passage {
    pub(crate) fn new(socket: OwnedFd) -> io::Result<Self> {
        let socket = messages(socket)?;
        Ok(Self { socket, buffer: vec![0; 1 + PIECE].into(), ahead: BytesMut::new(), came: None })
    }

    /// Takes nothing more. What was handed over before is still to come.
    pub(crate) fn close(&self) {
        // Closed by the other end it is as good.
        let _ = shutdown(&self.socket, Shutdown::Read);
    }

    /// What comes next; none when all has come. Cancel safe.
    pub(crate) async fn next(&mut self) -> io::Result<Option<Arrival>> {
        if self.came.is_none() {
            self.came = self.receive().await?;
        }
        if self.came.is_some() {
            // Whoever would hear it is gone, or hears it: there is nobody else who has the connection.
            let _ = self.socket.send(&TAKEN).await;
        }
        Ok(self.came.take())
    }

    async fn receive(&mut self) -> io::Result<Option<Arrival>> {
        loop {
            self.socket.readable().await?;
            self.room().await;
            let received = self.socket.try_io(Interest::READABLE, || receive(&self.socket, &mut self.buffer));
            let (length, descriptor) = match received {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock || left_something_unread(&error) => {
                    continue;
                }
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
                Arrival::Passage(Box::new(Self { ahead, ..Self::new(descriptor)? }))
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

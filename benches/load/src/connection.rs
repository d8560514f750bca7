//! One connection of the client. Nothing here waits.

use std::borrow::Cow;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use socket2::{Domain, Socket, Type};

use crate::response::{self, Read};

/// Room for a whole response; no larger one is understood.
const ROOM: usize = 256 << 10;

/// A socket, the request on it, and what came of the answer.
pub(crate) struct Connection {
    pub(crate) socket: TcpStream,
    /// When the request was, or should have been, sent.
    pub(crate) asked: Instant,
    pub(crate) state: State,
    received: Vec<u8>,
    filled: usize,
}

/// What a connection is waiting for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// The next request.
    Idle,
    /// To be connected, with a request to send.
    Connecting,
    /// An answer.
    Asked,
    /// The server, to close what it said it would.
    Ending,
}

/// What a look at a socket found.
pub(crate) enum Found<T> {
    Nothing,
    Answer(T),
    /// The server closed the connection, as it should.
    End,
}

impl Connection {
    pub(crate) fn open(addr: SocketAddr, first_read: usize) -> Result<Self, &'static str> {
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM.nonblocking().cloexec(), None)
            .map_err(|_| "no socket")?;
        socket.set_tcp_nodelay(true).map_err(|_| "no socket")?;
        // Closing resets: no port stays taken, which 20,000 connections would run out of.
        socket.set_linger(Some(Duration::ZERO)).map_err(|_| "no socket")?;
        match socket.connect(&addr.into()) {
            Err(error) if error.raw_os_error() != Some(Errno::EINPROGRESS as i32) => {
                return Err("cannot connect");
            }
            _ => {}
        }
        let received = vec![0; first_read];
        Ok(Self { socket: socket.into(), asked: Instant::now(), state: State::Idle, received, filled: 0 })
    }

    /// Sends a request, or leaves it for the moment when the connection is there.
    pub(crate) fn ask(&mut self, request: &[u8]) -> Result<(), &'static str> {
        match self.socket.write(request) {
            Ok(sent) if sent == request.len() => self.state = State::Asked,
            Ok(_) => return Err("cannot send"),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => {
                self.state = State::Connecting;
            }
            Err(error) => return Err(name(&error, "cannot send")),
        }
        Ok(())
    }

    /// Reads what is there. `answered` gets the body of a whole answer, and whether it came in chunks.
    pub(crate) fn look<T>(
        &mut self,
        body: Option<&[u8]>,
        answered: impl FnOnce(&[u8], bool) -> T,
    ) -> Result<Found<T>, &'static str> {
        loop {
            match self.socket.read(&mut self.received[self.filled..]) {
                Ok(0) if self.state == State::Ending => return Ok(Found::End),
                Ok(0) => return Err("closed by the server"),
                Ok(read) => self.filled += read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Found::Nothing),
                Err(error) => return Err(name(&error, "cannot receive")),
            }
            // Events come at edges: only a read that did not fill its room has read everything.
            if self.filled < self.received.len() {
                break;
            }
            if self.filled >= ROOM {
                return Err("a response too long to be read");
            }
            self.received.resize(self.filled * 2, 0);
        }
        if self.state != State::Asked {
            return Err("an answer to nothing");
        }
        match response::read(&self.received[..self.filled], body) {
            Ok(Read::Partial) => Ok(Found::Nothing),
            Ok(Read::Whole(body)) => {
                let answer = answered(&body, matches!(body, Cow::Owned(_)));
                self.filled = 0;
                self.state = State::Idle;
                Ok(Found::Answer(answer))
            }
            Err(wrong) => Err(wrong.name()),
        }
    }
}

fn name(error: &std::io::Error, otherwise: &'static str) -> &'static str {
    match error.kind() {
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => "reset by the server",
        ErrorKind::ConnectionRefused => "connection refused",
        _ => otherwise,
    }
}

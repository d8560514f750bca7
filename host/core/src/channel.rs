//! The wire between the supervisor and a child, or a command that asks it something: frames of JSON behind their length.
//!
//! [`Channel`] is the codec alone. It owns no descriptor: the shell reads bytes into it and writes out what it holds, so
//! the same code serves blocking and asynchronous ends, and a test needs no process.
//! A frame is a little-endian `u32` length and that many bytes of JSON; the first frame each way is a [`Hello`].

use core::marker::PhantomData;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Spoken by both ends of this build.
pub const PROTOCOL: u32 = 4;

/// Largest frame in bytes, length excluded. A peer that announces more is not ours.
pub const MAX_FRAME: usize = 4 << 20;

const LENGTH: usize = size_of::<u32>();

/// First frame in each direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`PROTOCOL`] of the sender.
    pub protocol: u32,
}

/// Why a channel cannot go on. None of these is recoverable: the stream has lost its frame boundaries or its meaning.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// The peer announced a frame larger than [`MAX_FRAME`].
    #[error("frame of {0} bytes, at most {MAX_FRAME} are allowed")]
    TooLarge(usize),
    /// A frame was not the JSON it should have been.
    #[error("unreadable frame")]
    Unreadable(#[from] serde_json::Error),
    /// The peer is another build.
    #[error("peer speaks protocol {theirs}, this build speaks {PROTOCOL}")]
    Protocol {
        /// What the peer said in its [`Hello`].
        theirs: u32,
    },
    /// The peer sent descriptors that no message of its carries.
    #[error("more descriptors than messages that carry one")]
    Descriptors,
}

/// One end of a typed connection: sends `Tx`, receives `Rx`. The other end is `Channel<Rx, Tx>`.
///
/// It can be written down, for somebody else to go on with it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Channel<Tx, Rx> {
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
    greeted: bool,
    #[serde(skip)]
    direction: PhantomData<fn(Tx) -> Rx>,
}

impl<Tx: Serialize, Rx: DeserializeOwned> Default for Channel<Tx, Rx> {
    fn default() -> Self {
        Self::new()
    }
}

impl<Tx: Serialize, Rx: DeserializeOwned> Channel<Tx, Rx> {
    /// A fresh end with its [`Hello`] waiting to be written.
    #[must_use]
    pub fn new() -> Self {
        let mut channel =
            Self { incoming: Vec::new(), outgoing: Vec::new(), greeted: false, direction: PhantomData };
        channel.push(&Hello { protocol: PROTOCOL });
        channel
    }

    /// Queues a message behind those not yet written.
    pub fn send(&mut self, message: &Tx) {
        self.push(message);
    }

    /// Bytes that wait to be written, oldest first.
    #[must_use]
    pub fn outgoing(&self) -> &[u8] {
        &self.outgoing
    }

    /// Forgets the first `written` bytes of [`outgoing`](Self::outgoing).
    pub fn wrote(&mut self, written: usize) {
        self.outgoing.drain(..written);
    }

    /// Takes bytes as they came from the peer, in any pieces.
    pub fn read(&mut self, bytes: &[u8]) {
        self.incoming.extend_from_slice(bytes);
    }

    /// The next whole message, or `None` until more bytes are [`read`](Self::read).
    ///
    /// # Errors
    /// Fails when the peer breaks the protocol; the channel is of no use afterwards.
    pub fn receive(&mut self) -> Result<Option<Rx>, ChannelError> {
        if !self.greeted {
            let Some(hello) = self.pop::<Hello>()? else { return Ok(None) };
            if hello.protocol != PROTOCOL {
                return Err(ChannelError::Protocol { theirs: hello.protocol });
            }
            self.greeted = true;
        }
        self.pop()
    }

    fn push<T: Serialize>(&mut self, message: &T) {
        let start = self.outgoing.len();
        self.outgoing.extend_from_slice(&[0; LENGTH]);
        // Our own messages are plain data: string keys, no failing Serialize. A message that did fail must not leave
        // half a frame behind.
        if serde_json::to_writer(&mut self.outgoing, message).is_err() {
            self.outgoing.truncate(start);
            return;
        }
        let length = u32::try_from(self.outgoing.len() - start - LENGTH).unwrap_or(u32::MAX);
        self.outgoing[start..start + LENGTH].copy_from_slice(&length.to_le_bytes());
    }

    fn pop<T: DeserializeOwned>(&mut self) -> Result<Option<T>, ChannelError> {
        let Some((length, rest)) = self.incoming.split_first_chunk::<LENGTH>() else { return Ok(None) };
        let length = u32::from_le_bytes(*length) as usize;
        if length > MAX_FRAME {
            return Err(ChannelError::TooLarge(length));
        }
        let Some(frame) = rest.get(..length) else { return Ok(None) };
        let message = serde_json::from_slice(frame)?;
        self.incoming.drain(..LENGTH + length);
        Ok(Some(message))
    }
}

#[cfg(any(test, fuzzing))]
pub mod laws;
#[cfg(test)]
mod tests;

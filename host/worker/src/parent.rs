//! A child's end of its channel to the supervisor, and the other descriptors it was started with.

#![expect(unsafe_code, reason = "inherited descriptors have numbers and no owner yet")]

use std::io::{self, Read, Write};
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

use nix::sys::signal::Signal;
use serde::Serialize;
use serde::de::DeserializeOwned;
use wasmcluster_core::channel::{Channel, ChannelError};

/// The supervisor, as its child sees it. Blocking: for what happens before there is a runtime.
pub(crate) struct Parent<Tx, Rx> {
    stream: UnixStream,
    channel: Channel<Tx, Rx>,
}

/// Why a child cannot talk to its supervisor.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ParentError {
    #[error("the supervisor is gone")]
    Gone,
    #[error("cannot talk to the supervisor: {0}")]
    Io(#[from] io::Error),
    #[error("cannot understand the supervisor: {0}")]
    Channel(#[from] ChannelError),
}

impl<Tx: Serialize, Rx: DeserializeOwned> Parent<Tx, Rx> {
    /// Takes over the channel on descriptor 0 and asks the kernel to end this process with its supervisor.
    ///
    /// # Errors
    /// Fails when the supervisor is gone already.
    pub(crate) fn new() -> Result<Self, ParentError> {
        // The channel's end of file says the same, but only to a process that looks.
        nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).map_err(io::Error::from)?;
        let mut parent = Self { stream: inherited(0).into(), channel: Channel::new() };
        parent.flush()?;
        Ok(parent)
    }

    /// Waits for the next message.
    ///
    /// # Errors
    /// Fails when the supervisor is gone, or is another build.
    pub(crate) fn receive(&mut self) -> Result<Rx, ParentError> {
        let mut bytes = [0; 4096];
        loop {
            if let Some(message) = self.channel.receive()? {
                return Ok(message);
            }
            match self.stream.read(&mut bytes) {
                Ok(0) => return Err(ParentError::Gone),
                Ok(read) => self.channel.read(&bytes[..read]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Sends a message.
    ///
    /// # Errors
    /// Fails when the supervisor is gone.
    pub(crate) fn send(&mut self, message: &Tx) -> Result<(), ParentError> {
        self.channel.send(message);
        self.flush()
    }

    /// The parts, to go on with inside a runtime.
    pub(crate) fn into_parts(self) -> (UnixStream, Channel<Tx, Rx>) {
        (self.stream, self.channel)
    }

    fn flush(&mut self) -> Result<(), ParentError> {
        self.stream.write_all(self.channel.outgoing())?;
        self.channel.wrote(self.channel.outgoing().len());
        Ok(())
    }
}

/// Takes ownership of a descriptor that the supervisor opened for us. To be called once for each number.
pub(crate) fn inherited(number: i32) -> OwnedFd {
    // SAFETY: the supervisor starts this role with the descriptors of `message::fd` open; each is taken in exactly one
    // place, at the start, before anything else could have opened or owned that number.
    unsafe { OwnedFd::from_raw_fd(number) }
}

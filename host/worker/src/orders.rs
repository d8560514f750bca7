//! The channel to the supervisor, once there is a runtime: reports go out, orders come in.

use std::collections::VecDeque;
use std::io::{self, IoSliceMut};
use std::mem::{self, MaybeUninit};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, recvmsg};
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::{Notify, mpsc};
use wasmcluster_core::channel::{Channel, ChannelError};
use wasmcluster_core::message::{FromWorker, ToWorker};

use crate::coredump::NextDump;
use crate::handover::Passage;
use crate::reports::Reports;

/// The worker's end of the codec.
pub(crate) type ToSupervisor = Channel<FromWorker, ToWorker>;

/// What the supervisor has asked for.
#[derive(Default)]
pub(crate) struct Orders {
    given: Mutex<Given>,
    changed: Notify,
    next_dump: NextDump,
}

/// What nobody has taken up yet.
#[derive(Default)]
struct Given {
    drain: Option<Drain>,
    passages: VecDeque<Passage>,
    /// One at most: the supervisor waits for its answer before it gives another.
    theft: Option<Theft>,
}

/// The order to take connections from the queue of another slot.
pub(crate) struct Theft {
    pub(crate) listener: OwnedFd,
    /// At most so many.
    pub(crate) most: u32,
}

/// The order to finish.
pub(crate) struct Drain {
    /// The time there is for that.
    pub(crate) within: Duration,
    /// Where connections go, if there is somebody who takes them.
    pub(crate) heir: Option<OwnedFd>,
}

impl Orders {
    /// Returns when the worker is to drain. Told twice, the first deadline stands.
    pub(crate) async fn drain(&self) -> Drain {
        self.next(|given| given.drain.take()).await
    }

    /// The next worker whose connections are to be taken over. Cancel safe.
    pub(crate) async fn passage(&self) -> Passage {
        self.next(|given| given.passages.pop_front()).await
    }

    /// The next order to steal. Cancel safe.
    pub(crate) async fn theft(&self) -> Theft {
        self.next(|given| given.theft.take()).await
    }

    /// Where the supervisor wants the next core dump.
    pub(crate) fn next_dump(&self) -> NextDump {
        self.next_dump.clone()
    }

    /// Has the connections of another worker taken over.
    pub(crate) fn adopt(&self, passage: Passage) {
        self.give(|given| given.passages.push_back(passage));
    }

    async fn next<T>(&self, mut take: impl FnMut(&mut Given) -> Option<T>) -> T {
        loop {
            let changed = self.changed.notified();
            if let Some(taken) = take(&mut self.lock()) {
                return taken;
            }
            changed.await;
        }
    }

    fn give(&self, give: impl FnOnce(&mut Given)) {
        give(&mut self.lock());
        self.changed.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, Given> {
        self.given.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Carries messages both ways until the supervisor hangs up.
pub(crate) async fn talk(
    stream: UnixStream,
    channel: ToSupervisor,
    (mut outbox, reports): (mpsc::Receiver<FromWorker>, Reports),
    orders: Arc<Orders>,
) {
    let mut wire = Wire { stream, channel, arrived: VecDeque::new() };
    let mut message_under_way = false;
    loop {
        loop {
            match wire.receive() {
                Ok(Some(message)) => {
                    if wire.obey(message, &orders).is_err() {
                        return;
                    }
                }
                Ok(None) => break,
                Err(_) => return,
            }
        }
        let Wire { stream, channel, .. } = &mut wire;
        let writing = !channel.outgoing().is_empty();
        tokio::select! {
            ready = stream.readable() => match ready.and_then(|()| wire.try_read()) {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            },
            ready = stream.writable(), if writing => match ready.and_then(|()| stream.try_write(channel.outgoing())) {
                Ok(written) => {
                    channel.wrote(written);
                    if channel.outgoing().is_empty() && mem::take(&mut message_under_way) {
                        reports.written();
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            },
            message = outbox.recv(), if !writing => match message {
                Some(message) => {
                    channel.send(&message);
                    message_under_way = true;
                }
                None => return,
            },
        }
    }
}

/// The socket with its codec, and the descriptors that came with messages.
///
/// A descriptor travels with the first byte of the message that it belongs to, and may be here before the messages that go
/// before that one were taken. The kernel keeps both in order.
struct Wire {
    stream: UnixStream,
    channel: ToSupervisor,
    arrived: VecDeque<OwnedFd>,
}

/// Something that no supervisor of this build says.
#[derive(Debug)]
struct Unexpected;

/// Descriptors that may have arrived before the messages that they belong to were taken.
const ARRIVED: usize = 4;

impl Wire {
    /// The next whole message that was read.
    fn receive(&mut self) -> Result<Option<ToWorker>, ChannelError> {
        self.channel.receive()
    }

    /// Passes an order on to whom it concerns.
    fn obey(&mut self, message: ToWorker, orders: &Orders) -> Result<(), Unexpected> {
        match message {
            ToWorker::Drain { within_ms, heir } => {
                let within = Duration::from_millis(within_ms);
                let heir = if heir { Some(self.descriptor()?) } else { None };
                orders.give(|given| given.drain = Some(Drain { within, heir }));
            }
            ToWorker::Adopt => {
                // Without a way to hear of it, the other side finds that nobody takes its connections.
                if let Ok(passage) = Passage::new(self.descriptor()?) {
                    orders.adopt(passage);
                }
            }
            ToWorker::Steal { most } => {
                let listener = self.descriptor()?;
                orders.give(|given| given.theft = Some(Theft { listener, most }));
            }
            ToWorker::Dump => orders.next_dump.goes_to(self.descriptor()?),
            // A worker starts once.
            ToWorker::Start(_) => return Err(Unexpected),
        }
        Ok(())
    }

    /// The descriptor that came with the message received last. To be asked once for each that carries one.
    fn descriptor(&mut self) -> Result<OwnedFd, Unexpected> {
        self.arrived.pop_front().ok_or(Unexpected)
    }

    /// Reads what is there; 0 at the end.
    fn try_read(&mut self) -> io::Result<usize> {
        let mut bytes = [0; 4096];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let received = self.stream.try_io(Interest::READABLE, || {
            let mut slices = [IoSliceMut::new(&mut bytes)];
            Ok(recvmsg(&self.stream, &mut slices, &mut ancillary, RecvFlags::CMSG_CLOEXEC)?)
        })?;
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                self.arrived.extend(descriptors);
            }
        }
        // One that we could not take is lost, and whoever counts on the next would get the wrong one.
        if received.flags.contains(ReturnFlags::CTRUNC) || self.arrived.len() > ARRIVED {
            return Err(io::ErrorKind::InvalidData.into());
        }
        self.channel.read(&bytes[..received.bytes]);
        Ok(received.bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{IoSlice, Read, Write};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream as Socket;

    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

    use super::*;

    /// A wire, and the supervisor's end of it.
    fn wire() -> (Wire, Socket) {
        let (ours, theirs) = Socket::pair().expect("sockets");
        ours.set_nonblocking(true).expect("open");
        let stream = UnixStream::from_std(ours).expect("a runtime");
        (Wire { stream, channel: Channel::new(), arrived: VecDeque::new() }, theirs)
    }

    fn send(socket: &Socket, bytes: &[u8], descriptor: Option<&OwnedFd>) {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let descriptors: Vec<_> = descriptor.map(AsFd::as_fd).into_iter().collect();
        if !descriptors.is_empty() {
            ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
        }
        let sent = sendmsg(socket, &[IoSlice::new(bytes)], &mut ancillary, SendFlags::NOSIGNAL);
        assert_eq!(sent.expect("room"), bytes.len());
    }

    fn file(content: &str) -> OwnedFd {
        let (read, write) = nix::unistd::pipe().expect("a pipe");
        File::from(write).write_all(content.as_bytes()).expect("room");
        read
    }

    fn run<T>(test: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(test)
    }

    #[test]
    fn a_descriptor_comes_with_its_message() {
        run(async {
            let (mut wire, supervisor) = wire();
            let mut codec = Channel::<ToWorker, FromWorker>::new();
            let mut sent = Vec::new();
            for (within_ms, content) in [(1, None), (2, Some("two")), (3, None), (4, Some("four"))] {
                codec.send(&ToWorker::Drain { within_ms, heir: content.is_some() });
                send(&supervisor, codec.outgoing(), content.map(file).as_ref());
                codec.wrote(codec.outgoing().len());
                sent.push((within_ms, content.map(str::to_owned)));
            }
            let mut seen = Vec::new();
            while seen.len() < sent.len() {
                while let Some(message) = wire.receive().expect("valid") {
                    let ToWorker::Drain { within_ms, heir } = message else { panic!("{message:?}") };
                    let content = heir.then(|| {
                        let mut content = String::new();
                        let file = wire.descriptor().expect("it came along");
                        File::from(file).read_to_string(&mut content).expect("readable");
                        content
                    });
                    seen.push((within_ms, content));
                }
                wire.stream.readable().await.expect("open");
                match wire.try_read() {
                    Ok(read) => assert_ne!(read, 0),
                    Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
                }
            }
            assert_eq!(seen, sent);
            assert!(wire.descriptor().is_err());
        });
    }

    #[test]
    fn nobody_fills_us_with_descriptors() {
        run(async {
            let (mut wire, supervisor) = wire();
            let descriptor = file("");
            for _ in 0..=ARRIVED {
                send(&supervisor, b"\0", Some(&descriptor));
            }
            let refused = loop {
                wire.stream.readable().await.expect("open");
                match wire.try_read() {
                    Ok(_) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => break error,
                }
            };
            assert_eq!(refused.kind(), io::ErrorKind::InvalidData);
            drop(supervisor);
        });
    }
}

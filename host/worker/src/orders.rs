//! The channel to the supervisor, once there is a runtime: reports go out, orders come in.

use std::mem;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::sync::{Notify, mpsc};
use wasmcluster_core::channel::Channel;
use wasmcluster_core::message::{FromWorker, ToWorker};

use crate::reports::Reports;

/// The worker's end of the codec.
pub(crate) type ToSupervisor = Channel<FromWorker, ToWorker>;

/// What the supervisor has asked for.
#[derive(Default)]
pub(crate) struct Orders {
    drain: OnceLock<Duration>,
    given: Notify,
}

impl Orders {
    /// Returns when the worker is to drain, with the time it has for that.
    pub(crate) async fn drain(&self) -> Duration {
        loop {
            let given = self.given.notified();
            if let Some(within) = self.drain.get() {
                return *within;
            }
            given.await;
        }
    }
}

/// Carries messages both ways until the supervisor hangs up.
pub(crate) async fn talk(
    stream: UnixStream,
    mut channel: ToSupervisor,
    (mut outbox, reports): (mpsc::Receiver<FromWorker>, Reports),
    orders: Arc<Orders>,
) {
    let mut bytes = [0; 4096];
    let mut message_under_way = false;
    loop {
        loop {
            match channel.receive() {
                Ok(Some(ToWorker::Drain { within_ms })) => {
                    // Told twice, the first deadline stands.
                    let _ = orders.drain.set(Duration::from_millis(within_ms));
                    orders.given.notify_waiters();
                }
                // A worker starts once.
                Ok(Some(ToWorker::Start(_))) | Err(_) => return,
                Ok(None) => break,
            }
        }
        let writing = !channel.outgoing().is_empty();
        tokio::select! {
            ready = stream.readable() => match ready.and_then(|()| stream.try_read(&mut bytes)) {
                Ok(0) => return,
                Ok(read) => channel.read(&bytes[..read]),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            },
            ready = stream.writable(), if writing => match ready.and_then(|()| stream.try_write(channel.outgoing())) {
                Ok(written) => {
                    channel.wrote(written);
                    if channel.outgoing().is_empty() && mem::take(&mut message_under_way) {
                        reports.written();
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
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

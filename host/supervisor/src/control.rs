//! The control socket: commands come in here, one request on each connection.
//!
//! Whatever is at the other end, it costs the app nothing but this: there is a bound on connections, on what a request
//! may be, and on the time it may take to arrive and its answer to be read. Only requests reach the supervisor's loop.

use core::time::Duration;
use std::io;
use std::sync::Arc;

use nix::unistd::geteuid;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::{sleep, timeout};
use wasmcluster_core::control::{AppName, FromSupervisor, ToSupervisor};

use crate::channel::SocketChannel;
use crate::rundir::AppDir;

/// Connections at a time. The next one waits in the socket's queue.
const CONNECTIONS: u32 = 16;

/// How long a request may take to arrive, and an answer to be taken.
const PATIENCE: Duration = Duration::from_secs(5);

/// Answers to one request that may wait for their reader.
const ANSWERS: usize = 16;

/// How long nobody is accepted when that failed: most likely for descriptors, which take a while to come back.
const BACKOFF: Duration = Duration::from_millis(100);

/// How long the end of everything waits for the last answers to be taken.
const FAREWELL: Duration = Duration::from_secs(1);

const ROOT: u32 = 0;

/// Something that came in by the control socket.
#[derive(Debug)]
pub(crate) enum ControlInput {
    /// A command asks for something.
    Asked { request: ToSupervisor, answers: Answers },
    /// Another user tried to, and was turned away.
    Stranger { uid: u32, pid: Option<i32> },
}

/// Where the answers to a request go. Dropping it ends the conversation.
#[derive(Debug)]
pub(crate) struct Answers(Sender<FromSupervisor>);

impl Answers {
    /// Answers. Never waits: a command that does not read, or has left, misses what does not fit.
    pub(crate) fn send(&self, answer: FromSupervisor) {
        let _ = self.0.try_send(answer);
    }

    /// Whether anybody is still there.
    pub(crate) fn are_awaited(&self) -> bool {
        !self.0.is_closed()
    }
}

/// An app's name and its open control socket. Dropping it removes both.
#[derive(Debug)]
pub(crate) struct Control {
    place: AppDir,
    inputs: Receiver<ControlInput>,
    /// One is held by each connection, and one by the wait for the next.
    places: Arc<Semaphore>,
}

impl Control {
    /// Listens, on tasks of its own.
    pub(crate) fn listen(place: AppDir) -> io::Result<Self> {
        let listener = UnixListener::from_std(place.listen()?)?;
        let (sender, inputs) = channel(CONNECTIONS as usize);
        let places = Arc::new(Semaphore::new(CONNECTIONS as usize));
        tokio::spawn(accept(listener, sender, Arc::clone(&places)));
        Ok(Self { place, inputs, places })
    }

    pub(crate) fn name(&self) -> &AppName {
        self.place.name()
    }

    /// The next input. Cancel safe.
    pub(crate) async fn next(&mut self) -> Option<ControlInput> {
        self.inputs.recv().await
    }

    /// Gives the name back, and only then lets those go who wait for that, once they have their answers.
    pub(crate) async fn close(self, awaiting_end: Vec<Answers>) {
        let Self { place, inputs, places } = self;
        drop((place, inputs));
        drop(awaiting_end);
        // All places are free when all conversations are over.
        let _ = timeout(FAREWELL, places.acquire_many(CONNECTIONS)).await;
    }
}

/// Until nobody hears what comes in any more.
async fn accept(listener: UnixListener, inputs: Sender<ControlInput>, places: Arc<Semaphore>) {
    // Nobody closes it.
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = inputs.closed() => return,
        };
        let Ok((stream, _)) = accepted else {
            sleep(BACKOFF).await;
            continue;
        };
        let inputs = inputs.clone();
        tokio::spawn(async move {
            converse(stream, inputs).await;
            drop(place);
        });
    }
}

/// One request and its answers.
async fn converse(stream: UnixStream, inputs: Sender<ControlInput>) {
    // The directory keeps others out already. A mode is easily changed by mistake, a uid is not.
    let Ok(who) = stream.peer_cred() else { return };
    if who.uid() != ROOT && who.uid() != geteuid().as_raw() {
        let _ = inputs.send(ControlInput::Stranger { uid: who.uid(), pid: who.pid() }).await;
        return;
    }
    let mut peer: SocketChannel<FromSupervisor, ToSupervisor> = SocketChannel::over(stream);
    let received = tokio::select! {
        received = timeout(PATIENCE, peer.receive()) => received,
        () = inputs.closed() => return,
    };
    // Too late, gone, or garbage: it is not one of ours, and closing is all there is to say.
    let Ok(Ok(Some(request))) = received else { return };
    let (sender, mut answers) = channel(ANSWERS);
    let asked = ControlInput::Asked { request, answers: Answers(sender) };
    if inputs.send(asked).await.is_err() {
        return;
    }
    loop {
        tokio::select! {
            answer = answers.recv() => {
                let Some(answer) = answer else { return };
                peer.send(&answer);
                if !matches!(timeout(PATIENCE, peer.flush()).await, Ok(Ok(()))) {
                    return;
                }
            }
            // There is nothing more to ask here: it has left, or is none of ours after all.
            _ = peer.receive() => return,
        }
    }
}

#[cfg(test)]
mod tests;

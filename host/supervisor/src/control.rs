//! The control socket: commands come in here, one request on each connection.
//!
//! Whatever is at the other end, it costs the app nothing but this: there is a bound on connections, on what a request
//! may be, and on the time it may take to arrive and its answer to be read. Only requests reach the supervisor's loop.
//! Those that are answered over a longer time have a bound of their own, so that however many wait, another can ask.

use core::time::Duration;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener as StdUnixListener;
use std::path::Path;
use std::sync::Arc;

use nix::unistd::geteuid;
use serde::{Deserialize, Serialize};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use wasmcluster_core::control::{AppName, FromSupervisor, ToSupervisor};
use wasmcluster_core::record::Stamped;

use crate::channel::{PassedChannel, SocketChannel};
use crate::rundir::{AppDir, PassedDir};
use crate::upgrade::{Descriptors, Passed};

/// Connections at a time. The next one waits in the socket's queue.
const CONNECTIONS: u32 = 16;

/// Connections at a time that wait for what takes time. The next one is turned away.
const WAITING: u32 = 64;

/// How long a request may take to arrive, and an answer to be taken.
const PATIENCE: Duration = Duration::from_secs(5);

/// Answers to one request that may wait for their reader.
const ANSWERS: usize = 256;

/// How long nobody is accepted when that failed: most likely for descriptors, which take a while to come back.
const BACKOFF: Duration = Duration::from_millis(100);

/// How long the end of everything waits for the last answers to be taken.
pub(crate) const FAREWELL: Duration = Duration::from_secs(1);

const ROOT: u32 = 0;

/// Something that came in by the control socket.
#[derive(Debug)]
pub(crate) enum ControlInput {
    /// A command asks for something, and may have sent a descriptor with that.
    Asked { request: ToSupervisor, descriptor: Option<OwnedFd>, answers: Answers },
    /// Another user tried to, and was turned away.
    Stranger { uid: u32, pid: Option<i32> },
}

impl Places {
    fn new() -> Self {
        Self {
            asking: Arc::new(Semaphore::new(CONNECTIONS as usize)),
            waiting: Arc::new(Semaphore::new(WAITING as usize)),
        }
    }

    /// Waits until all conversations are over, within reason: then all places are free. Who waits had a place to ask from
    /// before.
    async fn are_left(&self) {
        let _ = timeout(FAREWELL, async {
            let _asking = self.asking.acquire_many(CONNECTIONS).await;
            let _waiting = self.waiting.acquire_many(WAITING).await;
        })
        .await;
    }
}

/// Where the answers to a request go. Dropping it ends the conversation.
#[derive(Debug)]
pub(crate) struct Answers {
    answers: Sender<FromSupervisor>,
    /// Has room for the last one, whatever became of the others.
    last: oneshot::Sender<Last>,
    /// Records that had no room since the last one that did.
    missed: u64,
}

/// The other end of [`Answers`].
#[derive(Debug)]
struct Answered {
    answers: Receiver<FromSupervisor>,
    last: oneshot::Receiver<Last>,
    /// The last answer, if it was taken before its time.
    early: Option<FromSupervisor>,
}

/// How a conversation ends here.
#[derive(Debug)]
enum Last {
    /// With this.
    Answer(FromSupervisor),
    /// Somebody else goes on with it, and with how many records were missed since it was released.
    Released(oneshot::Sender<(Peer, u64)>),
}

/// A command, as we see it.
type Peer = SocketChannel<FromSupervisor, ToSupervisor>;

/// Somebody whom nobody answers.
#[derive(Debug)]
pub(crate) struct Released {
    peer: oneshot::Receiver<(Peer, u64)>,
    missed: u64,
}

impl Released {
    /// What somebody else needs to answer. None for who has left, or whom we have not let go of by `deadline`.
    pub(crate) async fn pass(
        self,
        deadline: Instant,
        descriptors: &mut Descriptors,
    ) -> Option<PassedAnswers> {
        let (peer, missed) = timeout_at(deadline, self.peer).await.ok()?.ok()?;
        Some(PassedAnswers { peer: peer.pass(descriptors).ok()?, missed: self.missed + missed })
    }
}

/// [`Answers`] on their way to another program.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PassedAnswers {
    peer: PassedChannel<FromSupervisor, ToSupervisor>,
    missed: u64,
}

impl Answers {
    fn new(missed: u64) -> (Self, Answered) {
        let ((sender, answers), (end, last)) = (channel(ANSWERS), oneshot::channel());
        (Self { answers: sender, last: end, missed }, Answered { answers, last, early: None })
    }

    /// Answers. Never waits: a command that does not read, or has left, misses what does not fit.
    pub(crate) fn send(&mut self, answer: FromSupervisor) {
        let _ = self.answers.try_send(answer);
    }

    /// Sends one record of many. Those that did not fit are counted, and the count is sent before the next that does.
    pub(crate) fn send_record(&mut self, record: &Stamped) {
        if self.missed > 0 && self.answers.try_send(FromSupervisor::Missed(self.missed)).is_ok() {
            self.missed = 0;
        }
        // In this order, or a record could come before the count of those that it follows.
        if self.missed > 0 || self.answers.try_send(FromSupervisor::Record(Box::new(record.clone()))).is_err()
        {
            self.missed += 1;
        }
    }

    /// Answers for the last time. This is heard even where there was no room for the answers before.
    pub(crate) fn end(self, answer: FromSupervisor) {
        let _ = self.last.send(Last::Answer(answer));
    }

    /// Leaves whoever is there to somebody else.
    pub(crate) fn release(self) -> Released {
        let (release, peer) = oneshot::channel();
        // Whoever has left is not there to be left to anybody.
        let _ = self.last.send(Last::Released(release));
        Released { peer, missed: self.missed }
    }

    /// Whether anybody is still there.
    pub(crate) fn are_awaited(&self) -> bool {
        !self.answers.is_closed()
    }
}

impl Answered {
    /// What comes next; none when nothing will any more. Cancel safe.
    async fn next(&mut self) -> Option<Last> {
        match self.answers.recv().await {
            Some(answer) => Some(Last::Answer(answer)),
            None => self.early.take().map(Last::Answer).or_else(|| self.last.try_recv().ok()),
        }
    }

    /// Returns when somebody else is to go on, whatever waits to be said before. Cancel safe.
    async fn released(&mut self) -> oneshot::Sender<(Peer, u64)> {
        if !self.last.is_terminated() {
            match (&mut self.last).await {
                Ok(Last::Released(to)) => return to,
                Ok(Last::Answer(answer)) => self.early = Some(answer),
                Err(_) => {}
            }
        }
        std::future::pending().await
    }

    /// Leaves what waits to whoever goes on, but for records, and says how many of those are missed.
    fn give_up(&mut self, peer: &mut Peer) -> u64 {
        let mut missed = 0;
        while let Ok(answer) = self.answers.try_recv() {
            match answer {
                FromSupervisor::Record(_) => missed += 1,
                FromSupervisor::Missed(more) => missed += more,
                answer => peer.send(&answer),
            }
        }
        missed
    }
}

/// An app's name and its open control socket. Dropping it removes both.
#[derive(Debug)]
pub(crate) struct Control {
    place: AppDir,
    /// A duplicate, for who comes after us.
    listener: StdUnixListener,
    inputs: Receiver<ControlInput>,
    /// Whether anybody is let in.
    doors: watch::Sender<bool>,
    places: Places,
}

/// A [`Control`] on its way to another program.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PassedControl {
    place: PassedDir,
    listener: Passed,
}

impl PassedControl {
    pub(crate) fn name(&self) -> &AppName {
        self.place.name()
    }
}

/// How many there may be at a time.
#[derive(Clone, Debug)]
struct Places {
    /// One is held by each connection, and one by the wait for the next.
    asking: Arc<Semaphore>,
    /// One is held in the place of the other by who waits for what takes time.
    waiting: Arc<Semaphore>,
}

impl Control {
    /// Listens, on tasks of its own.
    pub(crate) fn listen(place: AppDir) -> io::Result<Self> {
        let listener = place.listen()?;
        Self::over(place, listener)
    }

    fn over(place: AppDir, listener: StdUnixListener) -> io::Result<Self> {
        let (sender, inputs) = channel(CONNECTIONS as usize);
        let (doors, places) = (watch::Sender::new(true), Places::new());
        let accepted = UnixListener::from_std(listener.try_clone()?)?;
        tokio::spawn(accept(accepted, sender, places.clone(), doors.subscribe()));
        Ok(Self { place, listener, inputs, doors, places })
    }

    /// Lets nobody in, or in again. Who waits outside does not notice.
    pub(crate) fn open(&self, open: bool) {
        self.doors.send_replace(open);
    }

    /// Waits until nobody who was let in has still to say what they want, or waits for what takes no time. Cancel safe.
    pub(crate) fn quiet(&self) -> impl Future<Output = ()> + use<> {
        let places = self.places.clone();
        async move {
            let _ = places.asking.acquire_many(CONNECTIONS).await;
        }
    }

    /// What somebody else needs to go on with it. Conversations are passed one by one.
    pub(crate) fn pass(self, descriptors: &mut Descriptors) -> io::Result<PassedControl> {
        let listener = descriptors.put(self.listener.into());
        Ok(PassedControl { place: self.place.pass(descriptors)?, listener })
    }

    /// Goes on with what somebody else had in the run directory `path`.
    pub(crate) fn take_over(
        passed: PassedControl,
        path: &Path,
        descriptors: &mut Descriptors,
    ) -> io::Result<Self> {
        let listener = descriptors.take(passed.listener)?;
        Self::over(AppDir::take(passed.place, path, descriptors)?, listener.into())
    }

    /// Goes on with a conversation that somebody else had.
    pub(crate) fn take(&self, passed: PassedAnswers, descriptors: &mut Descriptors) -> io::Result<Answers> {
        let PassedAnswers { peer, missed } = passed;
        let peer = SocketChannel::take(peer, descriptors)?;
        let place = Arc::clone(&self.places.waiting).try_acquire_owned().map_err(io::Error::other)?;
        let (answers, answered) = Answers::new(missed);
        tokio::spawn(async move {
            answer(peer, answered, true).await;
            drop(place);
        });
        Ok(answers)
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
        let Self { place, listener, inputs, doors, places } = self;
        drop((place, inputs, listener, doors));
        drop(awaiting_end);
        places.are_left().await;
    }

    /// Whether nobody has asked for anything that was not heard yet.
    pub(crate) fn is_heard(&self) -> bool {
        self.inputs.is_empty()
    }

    /// Waits until whoever had a last answer has it, within reason.
    pub(crate) async fn part(&self) {
        self.places.are_left().await;
    }
}

/// Until nobody hears what comes in any more.
async fn accept(
    listener: UnixListener,
    inputs: Sender<ControlInput>,
    places: Places,
    mut doors: watch::Receiver<bool>,
) {
    loop {
        // No place is held while nobody is let in, or those that are taken could not be counted.
        if doors.wait_for(|open| *open).await.is_err() {
            return;
        }
        let place = tokio::select! {
            place = Arc::clone(&places.asking).acquire_owned() => place,
            _ = doors.changed() => continue,
        };
        // Nobody closes it.
        let Ok(place) = place else { return };
        let accepted = tokio::select! {
            biased;
            _ = doors.changed() => continue,
            accepted = listener.accept() => accepted,
            () = inputs.closed() => return,
        };
        let Ok((stream, _)) = accepted else {
            sleep(BACKOFF).await;
            continue;
        };
        tokio::spawn(converse(stream, inputs.clone(), place, Arc::clone(&places.waiting)));
    }
}

/// One request and its answers.
async fn converse(
    stream: UnixStream,
    inputs: Sender<ControlInput>,
    mut place: OwnedSemaphorePermit,
    waiting: Arc<Semaphore>,
) {
    // The directory keeps others out already. A mode is easily changed by mistake, a uid is not.
    let Ok(who) = stream.peer_cred() else { return };
    if who.uid() != ROOT && who.uid() != geteuid().as_raw() {
        let _ = inputs.send(ControlInput::Stranger { uid: who.uid(), pid: who.pid() }).await;
        return;
    }
    let mut peer = Peer::over(stream);
    let received = tokio::select! {
        received = timeout(PATIENCE, peer.receive()) => received,
        () = inputs.closed() => return,
    };
    // Too late, gone, or garbage: it is not one of ours, and closing is all there is to say.
    let Ok(Ok(Some(request))) = received else { return };
    let takes_time = request.takes_time();
    let mut asking = None;
    if takes_time {
        // A pause is no reason to lose one's place, so these are not held up by the others, nor hold them up.
        let Ok(other) = waiting.try_acquire_owned() else { return };
        asking = Some(std::mem::replace(&mut place, other));
    }
    let descriptor = peer.descriptor();
    let (answers, answered) = Answers::new(0);
    let asked = ControlInput::Asked { request, descriptor, answers };
    if inputs.send(asked).await.is_err() {
        return;
    }
    // Not before it was passed on, or it could be forgotten in an upgrade.
    drop(asking);
    answer(peer, answered, takes_time).await;
    drop(place);
}

/// Passes answers on, as long as there are any and somebody hears them.
async fn answer(mut peer: Peer, mut answered: Answered, takes_time: bool) {
    loop {
        tokio::select! {
            next = answered.next() => match next {
                Some(Last::Answer(answer)) => peer.send(&answer),
                Some(Last::Released(to)) => {
                    let _ = to.send((peer, 0));
                    return;
                }
                None => return,
            },
            // There is nothing more to ask here: it has left, or is none of ours after all.
            _ = peer.receive() => return,
        }
        let patience = if takes_time { Duration::MAX } else { PATIENCE };
        tokio::select! {
            flushed = timeout(patience, peer.flush()) => if !matches!(flushed, Ok(Ok(()))) {
                return;
            },
            to = answered.released() => {
                let missed = answered.give_up(&mut peer);
                let _ = to.send((peer, missed));
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests;

//! One worker process, attended by one task that turns what it does into inputs.

use core::time::Duration;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use rustix::fs::MemfdFlags;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::{Sender, UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};
use wasmcluster_core::cluster::{Exit, WorkerId};
use wasmcluster_core::message::{FromWorker, Start, ToWorker, fd};
use wasmcluster_core::recent;

use wasmcluster_core::record::Stream;

use crate::channel::{PassedChannel, SocketChannel};
use crate::child::{Child, Executable, WORKER_ROLE};
use crate::memory::file_in_memory;
use crate::output::{Output, PassedOutput};
use crate::process::Process;
use crate::upgrade::{Descriptors, Passed};

/// How long a process may outlive its channel, and a channel its process.
const PARTING: Duration = Duration::from_millis(500);

/// Something that a worker did.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum WorkerInput {
    /// It sent a message.
    Said(FromWorker),
    /// It wrote a line.
    Wrote { stream: Stream, text: String, unfinished: bool },
    /// It did what no worker does, and will be gone soon.
    Broke { reason: String },
    /// It was reaped. Always the last.
    Exited(Exit),
}

/// The supervisor's hold on a worker that was not yet reaped.
#[derive(Debug)]
pub(crate) struct WorkerHandle {
    pub(crate) pid: u32,
    /// Its last requests; none of one that has nothing more to say.
    pub(crate) requests: Option<File>,
    orders: UnboundedSender<Order>,
}

#[derive(Debug)]
enum Order {
    Tell(ToWorker, Option<OwnedFd>),
    Kill,
    /// Leave the worker to somebody else.
    Release(oneshot::Sender<Attended>),
}

impl WorkerHandle {
    /// Starts a worker that reports as `start.worker` into `inputs`, with what it is to have open.
    pub(crate) fn spawn(
        executable: &Executable,
        (listener, artifact, dump): (OwnedFd, OwnedFd, Option<OwnedFd>),
        start: Start,
        inputs: Sender<(WorkerId, WorkerInput)>,
    ) -> io::Result<Self> {
        let requests = new_requests()?;
        let theirs = requests.try_clone()?.into();
        let descriptors = [(listener, fd::LISTENER), (artifact, fd::ARTIFACT), (theirs, fd::RECENT)];
        let descriptors = descriptors.into_iter().chain(dump.map(|dump| (dump, fd::DUMP)));
        let mut child: Child<ToWorker, FromWorker> = executable.spawn(WORKER_ROLE, descriptors)?;
        let worker = start.worker;
        child.channel.send(&ToWorker::Start(Box::new(start)));
        Ok(Self::of(Attended { child, conversing: true, exited: None }, requests, worker, inputs))
    }

    /// Has a worker attended.
    fn of(
        attended: Attended,
        requests: File,
        worker: WorkerId,
        inputs: Sender<(WorkerId, WorkerInput)>,
    ) -> Self {
        let (orders, ordered) = unbounded_channel();
        let pid = attended.child.process.pid();
        tokio::spawn(Attendant { worker, attended, ordered, inputs }.attend());
        Self { pid, requests: Some(requests), orders }
    }

    /// Leaves the worker to somebody else. None if its last input has been told.
    pub(crate) async fn release(self) -> Option<Released> {
        let (release, released) = oneshot::channel();
        self.orders.send(Order::Release(release)).ok()?;
        Some(Released { attended: released.await.ok()?, requests: self.requests? })
    }

    /// Goes on with a worker that somebody else had; with one that has nothing more to say, too.
    pub(crate) fn take(
        pid: u32,
        passed: Option<PassedWorker>,
        descriptors: &mut Descriptors,
        worker: WorkerId,
        inputs: Sender<(WorkerId, WorkerInput)>,
    ) -> io::Result<Self> {
        match passed {
            Some(passed) => {
                let Released { attended, requests } = passed.take(pid, descriptors)?;
                Ok(Self::of(attended, requests, worker, inputs))
            }
            None => Ok(Self { pid, requests: None, orders: unbounded_channel().0 }),
        }
    }

    /// Sends a message. A worker that is gone does not hear it, which its exit will say.
    pub(crate) fn tell(&self, message: ToWorker) {
        let _ = self.orders.send(Order::Tell(message, None));
    }

    /// Sends a message that carries a descriptor.
    pub(crate) fn tell_with(&self, message: ToWorker, descriptor: OwnedFd) {
        let _ = self.orders.send(Order::Tell(message, Some(descriptor)));
    }

    /// Sends SIGKILL. Safe at any time: the process was not reaped before its exit was reported.
    pub(crate) fn kill(&self) {
        let _ = self.orders.send(Order::Kill);
    }
}

/// A file for the last requests of a worker. Its length stays what it is: a worker that shortens what it has mapped would end itself.
fn new_requests() -> io::Result<File> {
    let file = file_in_memory("requests", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    file.set_len(recent::SIZE as u64)?;
    let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
    fcntl(&file, FcntlArg::F_ADD_SEALS(seals))?;
    Ok(file)
}

/// A worker, and what of its end has come.
#[derive(Debug)]
struct Attended {
    child: Child<ToWorker, FromWorker>,
    /// Whether it may have more to say.
    conversing: bool,
    /// Set when it was reaped.
    exited: Option<Exit>,
}

/// A worker that nobody attends to.
#[derive(Debug)]
pub(crate) struct Released {
    attended: Attended,
    requests: File,
}

/// A worker on its way to another supervisor.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PassedWorker {
    channel: PassedChannel<ToWorker, FromWorker>,
    stdout: PassedOutput,
    stderr: PassedOutput,
    requests: Passed,
    conversing: bool,
    exited: Option<Exit>,
}

impl Released {
    /// What another supervisor needs to go on with it, besides its pid.
    pub(crate) fn pass(self, descriptors: &mut Descriptors) -> io::Result<PassedWorker> {
        let Self { attended, requests } = self;
        let Attended { child: Child { process, channel, stdout, stderr }, conversing, exited } = attended;
        process.release();
        Ok(PassedWorker {
            channel: channel.pass(descriptors)?,
            stdout: stdout.pass(descriptors)?,
            stderr: stderr.pass(descriptors)?,
            requests: descriptors.put(requests.into()),
            conversing,
            exited,
        })
    }
}

impl PassedWorker {
    fn take(self, pid: u32, descriptors: &mut Descriptors) -> io::Result<Released> {
        let Self { channel, stdout, stderr, requests, conversing, exited } = self;
        let process = match exited {
            Some(_) => Process::reaped(pid)?,
            None => Process::inherited(pid)?,
        };
        let child = Child {
            process,
            channel: SocketChannel::take(channel, descriptors)?,
            stdout: Output::take(stdout, descriptors)?,
            stderr: Output::take(stderr, descriptors)?,
        };
        let requests = descriptors.take(requests)?.into();
        Ok(Released { attended: Attended { child, conversing, exited }, requests })
    }
}

struct Attendant {
    worker: WorkerId,
    attended: Attended,
    ordered: UnboundedReceiver<Order>,
    inputs: Sender<(WorkerId, WorkerInput)>,
}

impl Attendant {
    /// Until the worker is reaped and everything it said before was passed on.
    async fn attend(mut self) {
        // Set when the process or its channel is gone, to bound the wait for the other.
        let parts = self.attended.exited.is_some() || !self.attended.conversing;
        let mut parting = parts.then(|| Instant::now() + PARTING);
        loop {
            let Attended { child, conversing, exited } = &mut self.attended;
            let Child { process, channel, stdout, stderr } = child;
            if let Some(exit) = *exited
                && !*conversing
                && !stdout.is_open()
                && !stderr.is_open()
            {
                return self.report(WorkerInput::Exited(exit)).await;
            }
            tokio::select! {
                message = channel.receive(), if *conversing => match message {
                    Ok(Some(message)) => self.report(WorkerInput::Said(message)).await,
                    Ok(None) => {
                        *conversing = false;
                        parting.get_or_insert_with(|| Instant::now() + PARTING);
                    }
                    Err(error) => {
                        *conversing = false;
                        process.kill();
                        self.report(WorkerInput::Broke { reason: error.to_string() }).await;
                    }
                },
                Some(order) = self.ordered.recv() => match order {
                    Order::Tell(message, None) => channel.send(&message),
                    Order::Tell(message, Some(descriptor)) => channel.send_with(&message, descriptor),
                    Order::Kill => process.kill(),
                    Order::Release(to) => {
                        // Without anybody who wants it, it is dropped, and its process with it.
                        let _ = to.send(self.attended);
                        return;
                    }
                },
                () = stdout.fill(), if stdout.is_open() => self.pass_on(Stream::Stdout).await,
                () = stderr.fill(), if stderr.is_open() => self.pass_on(Stream::Stderr).await,
                exit = process.wait(), if exited.is_none() => {
                    *exited = Some(exit);
                    parting = Some(Instant::now() + PARTING);
                }
                () = sleep_until(parting.unwrap_or_else(Instant::now)), if parting.is_some() => {
                    parting = None;
                    match *exited {
                        // Somebody else holds the other ends. Whatever they still say is not the worker's.
                        Some(exit) => return self.report(WorkerInput::Exited(exit)).await,
                        None => {
                            process.kill();
                            self.report(WorkerInput::Broke { reason: "it closed its channel and stayed".into() }).await;
                        }
                    }
                }
            }
        }
    }

    async fn pass_on(&mut self, stream: Stream) {
        while let Some(line) = self.output(stream).next_line() {
            self.report(WorkerInput::Wrote { stream, text: line.text, unfinished: line.unfinished }).await;
        }
    }

    fn output(&mut self, stream: Stream) -> &mut Output {
        match stream {
            Stream::Stdout => &mut self.attended.child.stdout,
            Stream::Stderr => &mut self.attended.child.stderr,
        }
    }

    /// Waits while the supervisor is behind: a worker that says much is slowed down, and nobody else.
    async fn report(&self, input: WorkerInput) {
        // Without a supervisor nobody is left to tell.
        let _ = self.inputs.send((self.worker, input)).await;
    }
}

//! One worker process, attended by one task that turns what it does into inputs.

use core::time::Duration;
use std::os::fd::OwnedFd;

use tokio::sync::mpsc::{Sender, UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{Instant, sleep_until};
use wasmcluster_core::cluster::{Exit, WorkerId};
use wasmcluster_core::message::{FromWorker, Start, ToWorker, fd};

use crate::child::{Child, Executable, WORKER_ROLE, exit};
use crate::output::Output;
use wasmcluster_core::record::Stream;

/// How long a process may outlive its channel, and a channel its process.
const PARTING: Duration = Duration::from_millis(500);

/// Something that a worker did.
#[derive(Debug)]
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
    orders: UnboundedSender<Order>,
}

#[derive(Debug)]
enum Order {
    Tell(ToWorker, Option<OwnedFd>),
    Kill,
}

impl WorkerHandle {
    /// Starts a worker that reports as `start.worker` into `inputs`.
    pub(crate) fn spawn(
        executable: &Executable,
        listener: OwnedFd,
        artifact: OwnedFd,
        start: Start,
        inputs: Sender<(WorkerId, WorkerInput)>,
    ) -> std::io::Result<Self> {
        let descriptors = [(listener, fd::LISTENER), (artifact, fd::ARTIFACT)];
        let mut child: Child<ToWorker, FromWorker> = executable.spawn(WORKER_ROLE, descriptors)?;
        let (orders, ordered) = unbounded_channel();
        let pid = child.pid;
        let worker = start.worker;
        child.channel.send(&ToWorker::Start(Box::new(start)));
        tokio::spawn(Attendant { worker, child, ordered, inputs }.attend());
        Ok(Self { pid, orders })
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

struct Attendant {
    worker: WorkerId,
    child: Child<ToWorker, FromWorker>,
    ordered: UnboundedReceiver<Order>,
    inputs: Sender<(WorkerId, WorkerInput)>,
}

impl Attendant {
    /// Until the worker is reaped and everything it said before was passed on.
    async fn attend(mut self) {
        let mut conversing = true;
        let mut exited = None;
        // Set when the process or its channel is gone, to bound the wait for the other.
        let mut parting: Option<Instant> = None;
        loop {
            let Child { process, channel, stdout, stderr, .. } = &mut self.child;
            if let Some(exit) = exited
                && !conversing
                && !stdout.is_open()
                && !stderr.is_open()
            {
                return self.report(WorkerInput::Exited(exit)).await;
            }
            tokio::select! {
                message = channel.receive(), if conversing => match message {
                    Ok(Some(message)) => self.report(WorkerInput::Said(message)).await,
                    Ok(None) => {
                        conversing = false;
                        parting.get_or_insert_with(|| Instant::now() + PARTING);
                    }
                    Err(error) => {
                        conversing = false;
                        let _ = process.start_kill();
                        self.report(WorkerInput::Broke { reason: error.to_string() }).await;
                    }
                },
                Some(order) = self.ordered.recv() => match order {
                    Order::Tell(message, None) => channel.send(&message),
                    Order::Tell(message, Some(descriptor)) => channel.send_with(&message, descriptor),
                    Order::Kill => {
                        let _ = process.start_kill();
                    }
                },
                () = stdout.fill(), if stdout.is_open() => self.pass_on(Stream::Stdout).await,
                () = stderr.fill(), if stderr.is_open() => self.pass_on(Stream::Stderr).await,
                status = process.wait(), if exited.is_none() => {
                    exited = Some(exit(status));
                    parting = Some(Instant::now() + PARTING);
                }
                () = sleep_until(parting.unwrap_or_else(Instant::now)), if parting.is_some() => {
                    parting = None;
                    match exited {
                        // Somebody else holds the other ends. Whatever they still say is not the worker's.
                        Some(exit) => return self.report(WorkerInput::Exited(exit)).await,
                        None => {
                            let _ = process.start_kill();
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
            Stream::Stdout => &mut self.child.stdout,
            Stream::Stderr => &mut self.child.stderr,
        }
    }

    /// Waits while the supervisor is behind: a worker that says much is slowed down, and nobody else.
    async fn report(&self, input: WorkerInput) {
        // Without a supervisor nobody is left to tell.
        let _ = self.inputs.send((self.worker, input)).await;
    }
}

//! The worker: one process that serves one generation of one slot.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal};
use tokio::net::UnixStream;
use wasmcluster_core::message::{FromWorker, Start, ToWorker};

use crate::orders::{Orders, ToSupervisor, talk};
use crate::output::LogPipe;
use crate::parent::Parent;
use crate::reports::Reports;
use crate::server::{NotReady, Server};

/// How long the worker waits, at its end, for the log to be taken.
const FLUSH: Duration = Duration::from_millis(200);

/// And for a core dump.
const DUMP: Duration = Duration::from_secs(5);

/// Runs the worker role to its end.
#[must_use]
pub fn main() -> ExitCode {
    match start() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Descriptor 2 is a pipe to the supervisor: this becomes a line in its log.
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

fn complain(error: &dyn std::fmt::Display) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "worker failed: {error}");
}

fn start() -> Result<(), Box<dyn std::error::Error>> {
    ignore_stop_signals()?;
    let mut parent = Parent::<FromWorker, ToWorker>::new()?;
    let ToWorker::Start(start) = parent.receive()? else {
        return Err("told to drain before it started".into());
    };
    // So that `ps` and `top` tell workers apart; the kernel keeps 15 bytes.
    let name = std::ffi::CString::new(format!("wasmcluster/{}", start.slot))?;
    let _ = nix::sys::prctl::set_name(&name);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (stream, channel) = parent.into_parts();
    stream.set_nonblocking(true)?;
    let ended = runtime.block_on(async { serve(*start, UnixStream::from_std(stream)?, channel).await });
    // A file operation of a guest may be stuck in a thread of the runtime.
    runtime.shutdown_background();
    Ok(ended?)
}

/// Stopping is the supervisor's decision. A service manager that signals the whole group must not take the workers away
/// from under their requests.
fn ignore_stop_signals() -> nix::Result<()> {
    let mut stop = SigSet::empty();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGHUP] {
        stop.add(signal);
    }
    stop.thread_block()
}

/// Becomes ready, serves, drains.
async fn serve(start: Start, stream: UnixStream, channel: ToSupervisor) -> std::io::Result<()> {
    let (reports, outbox) = Reports::new();
    let orders = Arc::new(Orders::default());
    let talk = tokio::spawn(talk(stream, channel, (outbox, reports.clone()), Arc::clone(&orders)));
    let logs = LogPipe::both();
    for (pipe, fd) in logs.iter().zip([1, 2]) {
        tokio::spawn(pipe.clone().forward(fd)?);
    }
    let served = async {
        let next_dump = orders.next_dump();
        let (last_word, ended) =
            match Server::prepare(start, (reports.clone(), next_dump.clone()), &logs).await {
                Ok(server) => (FromWorker::Drained { cut: server.run(orders, &logs).await }, Ok(())),
                Err(NotReady::Refused(rejection)) => (FromWorker::Refused(rejection), Ok(())),
                // No word: to the supervisor this is a worker that died young, which it tries again later.
                Err(NotReady::Failed(reason)) => return Err(std::io::Error::other(reason)),
            };
        let _ = tokio::time::timeout(DUMP, next_dump.written()).await;
        for pipe in &logs {
            // Nobody may be reading.
            let _ = tokio::time::timeout(FLUSH, pipe.flushed()).await;
        }
        reports.send(last_word).await;
        reports.flushed().await;
        ended
    };
    tokio::select! {
        // The supervisor is gone, and with it whoever could ask for anything.
        _ = talk => Ok(()),
        ended = served => ended,
    }
}

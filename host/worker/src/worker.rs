//! The worker: one process that serves one generation of one slot.

use std::mem;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use http::uri::Authority;
use nix::sys::signal::{SigSet, Signal};
use tokio::net::{TcpListener, UnixStream};
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::time::Instant;
use wasmcluster_core::channel::Channel;
use wasmcluster_core::message::{FromWorker, ReportKind, Start, ToWorker, fd};
use wasmcluster_core::rejection::Rejection;
use wasmtime::Engine;

use crate::app::App;
use crate::artifact;
use crate::connection::{self, Protocols};
use crate::connections::Connections;
use crate::engine;
use crate::epoch::Ticker;
use crate::grants::Grants;
use crate::instance::Instances;
use crate::link::linker;
use crate::outbound::Outbound;
use crate::output::LogPipe;
use crate::parent::{Parent, inherited};
use crate::reports::Reports;
use crate::trim;

/// How long a draining worker still takes what comes, before it closes what is idle. Clients that ask within learn from
/// the response that the connection ends; only those that ask at the very moment of the close are lost.
const LAME_DUCK: Duration = Duration::from_millis(300);

/// How long the worker waits, at its end, for the log to be taken.
const FLUSH: Duration = Duration::from_millis(200);

/// Pause after an accept that failed for want of descriptors or memory.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);

type ToSupervisor = Channel<FromWorker, ToWorker>;

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
    let logs = [LogPipe::new(), LogPipe::new()];
    for (pipe, fd) in logs.iter().zip([1, 2]) {
        tokio::spawn(pipe.clone().forward(fd));
    }
    let served = async {
        let last_word = match Server::prepare(start, reports.clone(), &logs).await {
            Ok(server) => FromWorker::Drained { cut: server.run(&orders, &logs).await },
            Err(rejection) => FromWorker::Refused(rejection),
        };
        for pipe in &logs {
            let _ = tokio::time::timeout(FLUSH, pipe.flushed()).await;
        }
        reports.send(last_word).await;
        reports.flushed().await;
    };
    tokio::select! {
        // The supervisor is gone, and with it whoever could ask for anything.
        _ = talk => {}
        () = served => {}
    }
    Ok(())
}

/// What the supervisor has asked for.
#[derive(Default)]
struct Orders {
    drain: std::sync::OnceLock<Duration>,
    given: Notify,
}

impl Orders {
    async fn drain(&self) -> Duration {
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
async fn talk(
    stream: UnixStream,
    mut channel: ToSupervisor,
    (mut outbox, reports): (mpsc::Receiver<FromWorker>, Reports),
    orders: Arc<Orders>,
) {
    let mut bytes = [0; 4096];
    let mut message_under_way = false;
    loop {
        while let Ok(Some(message)) = channel.receive() {
            if let ToWorker::Drain { within_ms } = message {
                let _ = orders.drain.set(Duration::from_millis(within_ms));
                orders.given.notify_waiters();
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

/// A worker that is ready.
struct Server {
    app: Arc<App>,
    connections: Arc<Connections>,
    protocols: Arc<Protocols>,
    listener: TcpListener,
    max_connections: usize,
    ready: FromWorker,
}

impl Server {
    async fn prepare(start: Start, reports: Reports, logs: &[LogPipe; 2]) -> Result<Self, Rejection> {
        let failed = |what: &str, error: &dyn std::fmt::Display| Rejection {
            message: format!("{what}: {error}"),
            hint: None,
        };
        let permits = usize::try_from(start.serving.max_concurrent_requests).unwrap_or(usize::MAX).max(1);
        let (engine, reset) = engine::runtime(
            start.shape,
            &start.guest,
            start.serving.max_concurrent_requests.max(1),
            &start.needs,
        )
        .map_err(|error| failed("cannot make an engine", &format!("{error:#}")))?;
        let component = artifact::load(&engine, &inherited(fd::ARTIFACT))
            .map_err(|error| failed("cannot load the artifact", &format!("{error:#}")))?;
        let linked = linker(&engine, start.shape)
            .and_then(|linker| linker.instantiate_pre(&component))
            .map_err(|error| failed("cannot link the component", &format!("{error:#}")))?;

        let reuse = (start.guest.max_instance_reuse_count, start.guest.idle_instance_timeout);
        let outbound = Outbound::new(start.guest.outbound.clone(), reports.clone());
        let grants = Grants::open(start.guest, context(&start.slot, &start.generation), outbound, logs)
            .map_err(|message| Rejection { message, hint: Some("check `--dir`".into()) })?;
        let max_served = reuse.0.unwrap_or(default_reuse(start.shape)).max(1);
        let instances =
            Instances::new(engine.clone(), linked, start.shape, Arc::new(grants), (max_served, reuse.1))
                .map_err(|error| failed("cannot find the handler in the component", &format!("{error:#}")))?;

        let (listener, authority) = listener().map_err(|error| failed("cannot listen", &error))?;
        let permits = (Arc::new(Semaphore::new(permits)), permits);
        let ticker = ticker(engine, &permits).map_err(|error| failed("cannot start a thread", &error))?;
        let connections = Arc::new(Connections::new(&start.serving));
        let protocols = Arc::new(Protocols::new(&start.serving));
        let max_connections = usize::try_from(start.serving.max_connections).unwrap_or(usize::MAX).max(1);
        let app = Arc::new(App::new(instances, start.serving, reports, ticker, permits.0, authority));
        Self::prove(&app).await?;
        Ok(Self {
            app,
            connections,
            protocols,
            listener,
            max_connections,
            ready: FromWorker::Ready { reset },
        })
    }

    /// Starts one instance, so that a component that cannot is found out before anybody asks it.
    async fn prove(app: &App) -> Result<(), Rejection> {
        app.ticker.touch();
        app.instances.take().await.map(drop).map_err(|error| {
            let cause = error.root_cause().to_string();
            Rejection::new(
                format!("the component traps while starting: {}", cause.lines().next().unwrap_or_default()),
                "what it prints while starting stands above",
            )
        })
    }

    /// Serves until told to drain; says how many requests were cut.
    async fn run(self, orders: &Orders, logs: &[LogPipe; 2]) -> u64 {
        let Self { app, connections, protocols, listener, max_connections, ready } = self;
        tokio::spawn(count_losses(Arc::clone(&app), logs.clone()));
        tokio::spawn({
            let connections = Arc::clone(&connections);
            async move { connections.watch().await }
        });
        tokio::spawn({
            let app = Arc::clone(&app);
            async move { app.instances.expire().await }
        });
        let stop = Arc::new(Notify::new());
        let accepting = tokio::spawn(accept(
            Acceptor {
                app: Arc::clone(&app),
                connections: Arc::clone(&connections),
                protocols,
                listener,
                max_connections,
            },
            Arc::clone(&stop),
        ));
        // Accept has been polled once the task has had its turn.
        tokio::task::yield_now().await;
        trim::code();
        app.reports.send(ready).await;

        let within = orders.drain().await;
        let deadline = Instant::now() + within;
        app.start_draining();
        connections.close_http2();
        // A short deadline leaves most of itself to what is under way.
        let lame_duck = LAME_DUCK.min(within / 4);
        tokio::time::sleep(lame_duck).await;
        stop.notify_one();
        let _ = accepting.await;
        connections.close();
        let drained = async {
            tokio::select! {
                () = connections.fewer_than(1) => {}
                () = tokio::time::sleep(lame_duck) => connections.cut_silent(),
            }
            connections.fewer_than(1).await;
            app.idle().await;
        };
        let cut = match tokio::time::timeout_at(deadline, drained).await {
            Ok(()) => 0,
            Err(_) => app.unfinished() as u64,
        };
        app.instances.clear();
        cut
    }
}

fn ticker(engine: Engine, (permits, total): &(Arc<Semaphore>, usize)) -> std::io::Result<Ticker> {
    Ticker::start(engine, Arc::clone(permits), *total)
}

/// What every guest may know about where it runs.
fn context(slot: &impl ToString, generation: &impl ToString) -> Vec<(String, String)> {
    vec![
        ("WASMCLUSTER_SLOT".into(), slot.to_string()),
        ("WASMCLUSTER_GENERATION".into(), generation.to_string()),
        ("WASMCLUSTER_PID".into(), std::process::id().to_string()),
    ]
}

/// The slot's listener, and the authority under which it can be reached.
fn listener() -> std::io::Result<(TcpListener, Authority)> {
    let listener = std::net::TcpListener::from(inherited(fd::LISTENER));
    // Accepted sockets inherit it: one system call for all of them.
    socket2::SockRef::from(&listener).set_tcp_nodelay(true)?;
    let authority = Authority::try_from(listener.local_addr()?.to_string()).map_err(std::io::Error::other)?;
    Ok((TcpListener::from_std(listener)?, authority))
}

struct Acceptor {
    app: Arc<App>,
    connections: Arc<Connections>,
    protocols: Arc<Protocols>,
    listener: TcpListener,
    max_connections: usize,
}

/// Accepts until told to stop, and then what is still in the queue.
async fn accept(acceptor: Acceptor, stop: Arc<Notify>) {
    let Acceptor { app, connections, protocols, listener, max_connections } = acceptor;
    let enter = |socket| {
        let guard = connections.enter();
        tokio::spawn(connection::serve(Arc::clone(&app), Arc::clone(&protocols), guard, socket));
    };
    let serve = async {
        loop {
            // The rest waits in the kernel's queue, where a client sees a slow server and not a broken one.
            connections.fewer_than(max_connections).await;
            match listener.accept().await {
                Ok((socket, _)) => enter(socket),
                Err(error) if is_the_clients(&error) => {}
                Err(error) => {
                    let hint = "raise `ulimit -n`, or lower `--max-connections`".to_owned();
                    app.reports.say(
                        ReportKind::Worker,
                        format!("cannot accept a connection: {error}"),
                        Some(hint),
                    );
                    tokio::time::sleep(ACCEPT_BACKOFF).await;
                }
            }
        }
    };
    tokio::select! {
        () = serve => {}
        () = stop.notified() => {}
    }
    while let Some(Ok((socket, _))) = listener.accept().now_or_never() {
        enter(socket);
    }
}

/// The client gave up between its connect and our accept.
fn is_the_clients(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        std::io::ErrorKind::ConnectionAborted
            | std::io::ErrorKind::ConnectionReset
            | std::io::ErrorKind::Interrupted
    )
}

/// Says once a second how much could not be said.
async fn count_losses(app: Arc<App>, logs: [LogPipe; 2]) {
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let lines: u64 = logs.iter().map(LogPipe::take_dropped).sum();
        if lines > 0 {
            app.reports.say(
                ReportKind::OutputDropped,
                format!("threw away {lines} lines of guest output: they came faster than the log takes them"),
                None,
            );
        }
        let reports = app.reports.take_dropped();
        if reports > 0 {
            app.reports.say(ReportKind::Worker, format!("left out {reports} reports like those above"), None);
        }
    }
}

/// How many requests an instance serves when nobody said: 0.2 components are written for one, 0.3 are told to expect
/// more.
const fn default_reuse(shape: wasmcluster_core::message::Shape) -> u32 {
    match shape {
        wasmcluster_core::message::Shape::P2 => 1,
        wasmcluster_core::message::Shape::P3 => 128,
    }
}

//! A worker's life between the order to start and the last request: become ready, serve, drain.

use std::sync::Arc;
use std::time::Duration;

use http::uri::Authority;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use wasmcluster_core::app::GuestLimits;
use wasmcluster_core::limit::Limit;
use wasmcluster_core::message::{Conditions, FromWorker, MemoryReset, Ready, Start, fd};
use wasmcluster_core::rejection::Rejection;

use crate::accept::{Acceptor, steal};
use crate::app::App;
use crate::artifact;
use crate::connection::Protocols;
use crate::connections::Connections;
use crate::coredump::NextDump;
use crate::drain::Taking;
use crate::engine;
use crate::epoch::Ticker;
use crate::gaps::Gaps;
use crate::grants::Grants;
use crate::handover::Heir;
use crate::instance::{Instances, Reuse};
use crate::link::link;
use crate::orders::{Drain, Orders};
use crate::outbound::Outbound;
use crate::output::LogPipe;
use crate::parent::inherited;
use crate::probe::probe;
use crate::pulse::{self, Footprint, pulse};
use crate::recent::RecentRequests;
use crate::reports::Reports;
use crate::sandbox::{self, Reach};
use crate::together;
use crate::trap;
use crate::trim::{Program, keep_heap};

/// Why a worker did not become ready.
pub(crate) enum NotReady {
    /// The component, or what it was given, is to blame: another worker would end the same way.
    Refused(Rejection),
    /// The machine is: trying again may help.
    Failed(String),
}

impl NotReady {
    /// Of an artifact that was compiled well and cannot be loaded.
    fn unloadable(error: &wasmtime::Error, limits: &GuestLimits) -> Self {
        let message = format!("{error:#}");
        // The engine has no other name for it.
        if message.contains("core module instances") {
            let most = limits.core_instances;
            let message = format!("the component has more than the {most} core instances that it may have");
            return Self::Refused(Rejection::past(Limit::MaxCoreInstances, message));
        }
        if message.contains("pooling allocator") {
            let hint =
                "a worker has room for so much of it and no more: make its modules smaller, or have fewer";
            return Self::Refused(Rejection::new(format!("the component is too large: {message}"), hint));
        }
        Self::component("cannot load the artifact", error)
    }

    fn component(what: &str, error: &wasmtime::Error) -> Self {
        // The builder found nothing wrong with it, so what it wrote is not what we read.
        Self::Refused(Rejection::new(
            format!("{what}: {error:#}"),
            "remove the cache directory, and start again",
        ))
    }

    fn machine(what: &str, error: &wasmtime::Error) -> Self {
        Self::Failed(format!("{what}: {error:#}"))
    }
}

impl From<Rejection> for NotReady {
    fn from(rejection: Rejection) -> Self {
        Self::Refused(rejection)
    }
}

impl From<std::io::Error> for NotReady {
    fn from(error: std::io::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

/// A worker that is ready.
pub(crate) struct Server {
    acceptor: Acceptor,
    listener: TcpListener,
    ready: Ready,
    footprint: Footprint,
    program: Program,
}

impl Server {
    /// Makes everything that a request will need, and one instance to see that it can be made.
    ///
    /// # Errors
    /// Fails for good when no worker of this generation could do better, and for now when the machine is to blame.
    pub(crate) async fn prepare(
        start: Start,
        (reports, next_dump): (Reports, NextDump),
        logs: &[LogPipe; 2],
    ) -> Result<Self, NotReady> {
        let Start { slot, generation, shape, needs, guest, serving, .. } = start;
        needs.fit(&guest.limits)?;
        for log in logs {
            log.limit(&guest.limits);
        }
        let permits = serving.max_concurrent_requests.max(1);
        let (engine, reset) = engine::runtime(shape, &guest, permits, &needs)
            .map_err(|error| NotReady::machine("cannot make an engine", &error))?;
        let artifact = inherited(fd::ARTIFACT);
        let component = artifact::load(&engine, &artifact)
            .map_err(|error| NotReady::unloadable(&error, &guest.limits))?;
        let unlinked = |error| NotReady::component("cannot link the component", &error);
        let linked = link(&engine, shape, &component).map_err(unlinked)?;

        let reuse = Reuse {
            max_served: guest.max_instance_reuse_count.unwrap_or(shape.default_reuse()).max(1),
            idle_timeout: guest.idle_instance_timeout,
        };
        let (wanted, reach, user) = (guest.sandbox, Reach::of(&guest), guest.user.clone());
        let outbound = Outbound::new(guest.outbound.clone(), reports.clone());

        let (listener, authority) = listener()?;
        let (footprint, program) = (Footprint::open()?, Program::mapped());
        let gaps = match reset {
            // Without them a worker is slower, and serves.
            MemoryReset::Pagemap => Gaps::open(&artifact, engine::kept(&needs)).ok(),
            MemoryReset::Decommit { .. } | MemoryReset::OnDemand { .. } => None,
        };
        let recent = RecentRequests::map(&inherited(fd::RECENT))?;
        if guest.coredump.is_some() {
            next_dump.goes_to(inherited(fd::DUMP));
        }
        // What the worker needs for itself is open. What its guest was granted is opened by the rights of who runs it.
        let user = match user {
            Some(user) => sandbox::turn_into(&user)
                .map_err(|message| Rejection::new(message, "check `--user`"))
                .map(|()| user)?,
            None => sandbox::current()?,
        };
        let grants =
            Grants::open(guest, context(&slot, &generation), (outbound, reports.clone(), next_dump), logs)
                .map_err(|message| {
                    Rejection::new(message, format!("check `--dir`, and what user {user} may do there"))
                })?
                .in_dev(serving.dev);
        let instances =
            Instances::new(engine.clone(), linked, shape, Arc::new(grants), reuse, gaps).map_err(unlinked)?;

        // From here on nothing is opened, and no guest has run yet. Threads that begin later are confined with this one.
        let confinement =
            sandbox::enter(wanted, &reach).map_err(|missing| Rejection::unsandboxed(&missing))?;
        let permits = usize::try_from(permits).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        let places: &'static Semaphore = Box::leak(Box::new(Semaphore::new(permits)));
        let ticker = Ticker::start(engine, places, permits)?;
        let connections = Arc::new(Connections::new(&serving));
        let protocols = Arc::new(Protocols::new(&serving));
        let max_connections = usize::try_from(serving.max_connections).unwrap_or(usize::MAX).max(1);
        let app = App::start(instances, serving, reports, ticker, places, authority, recent);
        Self::prove(app).await?;
        let instance = Self::measure(app).await;
        if let Some(path) = &app.serving.probe {
            probe(app, &protocols, path).await?;
        }
        let acceptor = Acceptor { app, connections, protocols, max_connections };
        let ready = Ready { conditions: Conditions { reset, confinement, user }, instance };
        Ok(Self { acceptor, listener, ready, footprint, program })
    }

    /// Starts one instance, so that a component that cannot is found out before anybody asks it.
    async fn prove(app: &App) -> Result<(), NotReady> {
        app.ticker.touch();
        app.instances.prove().await.map_err(|error| {
            // Memory that there is not, above all.
            let cause = error.root_cause();
            if cause.is::<std::io::Error>() || cause.is::<rustix::io::Errno>() {
                return NotReady::machine("cannot make an instance", &error);
            }
            let message = trap::cause("the component traps while starting", &error);
            app.reports.say_trap(message.clone(), trap::backtrace(&error));
            Rejection::new(message, "what it prints while starting stands above").into()
        })
    }

    /// Starts another one: the first had the machine's code to find, and this is what a request pays.
    async fn measure(app: &App) -> Option<Duration> {
        let began = Instant::now();
        // Should this one fail, requests will tell.
        app.instances.prove().await.ok().map(|()| began.elapsed())
    }

    /// Serves until told to drain; says how many requests were cut.
    pub(crate) async fn run(self, orders: Arc<Orders>, logs: &[LogPipe; 2]) -> u64 {
        let Self { acceptor, listener, ready, footprint, program } = self;
        let app = acceptor.app;
        tokio::spawn({
            let connections = Arc::clone(&acceptor.connections);
            async move { connections.watch().await }
        });
        tokio::spawn(app.instances.expire());
        tokio::spawn(together::carry());
        let taking = Taking::start(acceptor.clone(), listener, Arc::clone(&orders));
        // Accept has been polled once the task has had its turn.
        tokio::task::yield_now().await;
        program.trim();
        keep_heap();
        tokio::spawn(pulse(app, logs.clone(), footprint, program));
        app.reports.send(FromWorker::Ready(ready)).await;

        let Drain { within, heir } = tokio::select! {
            // An order that came before the last one is obeyed: its descriptor is another slot's listener, which must not
            // be kept.
            biased;
            never = steal(&acceptor, &orders) => match never {},
            drain = orders.drain() => drain,
        };
        // Without a way to it, there is no heir.
        let heir = heir.and_then(|heir| Heir::new(heir).ok());
        let cut = match taking.end(heir, within).await {
            Ok(()) => 0,
            Err(_) => app.unfinished() as u64,
        };
        app.instances.clear();
        pulse::say(app).await;
        cut
    }
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
    let authority = Authority::try_from(listener.local_addr()?.to_string()).map_err(std::io::Error::other)?;
    Ok((TcpListener::from_std(listener)?, authority))
}

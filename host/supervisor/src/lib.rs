//! The parent process of an app.
//!
//! It owns the app's address, its workers, its signals and its control socket, and touches no request: [`serve`] claims
//! the address, has the component compiled, and then only carries out what the cluster in `wasmcluster-core` decides.
//! It neither compiles nor runs guest code, and does not print: what there is to say leaves as a [`Record`].

mod address;
mod builder;
mod cache;
mod channel;
mod child;
mod client;
mod component;
mod configuration;
mod control;
mod coredump;
mod descriptors;
mod directory;
mod error;
mod generation;
mod group;
mod history;
mod instances;
mod limits;
mod listener;
mod log;
mod memory;
mod output;
mod process;
mod queues;
mod quota;
mod run;
mod rundir;
mod signals;
mod singleton;
mod symptoms;
mod upgrade;
mod user;
mod watch;
mod worker;

use core::net::SocketAddr;
use std::cell::RefCell;
use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use tokio::runtime::Runtime;
use wasmcluster_core::cluster::Settings;
use wasmcluster_core::record::Record;

use self::cache::Cache;
use self::child::Executable;
use self::control::Control;
use self::generation::{Origin, Source};
use self::history::Chronicle;
use self::log::Log;
use self::queues::Queues;
use self::run::{Means, Supervisor, TakenOver};
use self::rundir::RunDir;
use self::signals::Signals;
use self::singleton::Claim;
use self::upgrade::Program;
use self::watch::Watch;

pub use self::address::AddressError;
pub use self::cache::CacheError;
pub use self::child::{BUILDER_ROLE, WORKER_ROLE};
pub use self::client::{App, ControlError, Following, Stopping};
pub use self::component::{Component, ComponentError};
pub use self::configuration::{Configuration, Misconfigured, Reread};
pub use self::error::{ServeError, is_short_of_descriptors};
pub use self::history::Memory;
pub use self::instances::{Instances, InvalidInstances};
pub use self::limits::TooFewDescriptors;
pub use self::run::Served;
pub use self::rundir::{Naming, RunDirError, default_run_dir};
pub use self::signals::{HeldBack, spared};
pub use self::upgrade::{Estate, TRIAL_ROLE, answer_trial};
pub use self::user::{UserError, find_user};

/// What to serve, where and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// What to serve, and how.
    pub configuration: Configuration,
    /// Whether to serve what becomes of the component's file.
    pub watch: bool,
    /// Where to listen; port 0 picks one.
    pub addr: SocketAddr,
    /// How many workers, and what happens when they do not behave.
    pub cluster: Settings,
    /// Where compiled artifacts are kept.
    pub cache: PathBuf,
    /// What to call the app.
    pub naming: Naming,
    /// Where it is found by its name.
    pub run_dir: PathBuf,
    /// What is remembered of its generations, and where.
    pub memory: Memory,
}

/// Where everything goes that there is to say. Not a type of each caller's own: the supervisor would be compiled for each.
pub type Records<'a> = Box<dyn FnMut(Record) + 'a>;

/// Serves until a signal asks to stop and everything has ended, until there is nothing left to serve, or until another
/// program is to go on. Goes on itself with what another one has left, if there is an `estate`.
///
/// Must be called on the main thread, and not twice at a time: workers ask the kernel to end with the thread that started
/// them. `records` must not block, or everything waits with it; nor must `reread`, which is asked what the configuration is
/// now when somebody wants a reload.
///
/// # Errors
/// Fails when serving cannot begin, or when no worker stays up. Nothing is left running in either case.
pub fn serve(
    options: Options,
    estate: Option<Estate>,
    reread: Reread,
    records: Records<'_>,
) -> Result<Served, ServeError> {
    // Where the kernel is too old for this, children see what our parent left open, as children usually do.
    let _ = descriptors::keep_from_children();
    runtime()?.block_on(async {
        match estate {
            Some(estate) => take_over(options, estate, reread, records).await,
            None => begin(options, reread, records).await,
        }
    })
}

fn runtime() -> Result<Runtime, ServeError> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(ServeError::Setup)
}

/// Whether serving could begin, or with a `shown` estate go on, as far as that can be said without touching anything that is
/// in use.
///
/// # Errors
/// Says what is in the way.
pub fn rehearse(options: Options, shown: Option<Estate>) -> Result<(), ServeError> {
    let runtime = runtime()?;
    if let Some(estate) = shown {
        let reread: Reread =
            Box::new(|| Err(Misconfigured { message: "not in a rehearsal".into(), hint: None }));
        // Whatever it has started by then is dropped before it does anything.
        return runtime.block_on(async { assemble(options, estate, reread, Box::new(|_| ())).map(drop) });
    }
    let Configuration { component, serving, .. } = &options.configuration;
    if options.watch {
        let _inside = runtime.enter();
        watching(component)?;
    }
    limits::raise_descriptors(options.cluster.slots.get(), serving.max_connections)?;
    Cache::open(&options.cache)?;
    Ok(())
}

/// The end of the log, and what notes there whatever goes to `records`.
fn noting(mut records: Records<'_>) -> (Rc<RefCell<Log>>, Records<'_>) {
    let log = Rc::new(RefCell::new(Log::default()));
    let noted = Rc::clone(&log);
    let note = move |record: Record| {
        noted.borrow_mut().note(&record);
        records(record);
    };
    (log, Box::new(note))
}

async fn begin(options: Options, reread: Reread, records: Records<'_>) -> Result<Served, ServeError> {
    let given = options.clone();
    let Options { configuration, watch, addr, cluster, cache, naming, run_dir, memory } = options;
    let Configuration { component, guest, serving, rollout } = configuration;
    let (log, mut records) = noting(records);
    let slots = cluster.slots.get();
    let mut signals = Signals::new().map_err(ServeError::Setup)?;
    // Cheapest refusals first; what is in the component is looked at last, since that may take a while.
    component.open()?;
    let watch = if watch { watching(&component)? } else { None };
    limits::raise_descriptors(slots, serving.max_connections)?;
    let cache = Arc::new(Cache::open(&cache)?);
    let place = RunDir::create(&run_dir)?.claim(&naming)?;
    let claim = Claim::new(addr, slots.into()).await?;
    let queues = Queues::of(&claim.slots).map_err(ServeError::Setup)?;
    let executable = Arc::new(Executable::open().map_err(ServeError::Setup)?);
    let program = Program::of_this_process().map_err(ServeError::Setup)?;
    let chronicle = Chronicle::open(&memory, place.name(), None, &mut records);
    let kept = chronicle.components();
    let origin = Origin { component, guest, serving, cache, kept, executable };
    let built = tokio::select! {
        build = origin.build(Source::Own, &mut records) => build.map(Some),
        // Nothing serves yet, so there is nothing to finish.
        () = signals.stop() => Ok(None),
    };
    let first = match built {
        Ok(Some(first)) => first,
        nothing => {
            chronicle.abandon();
            return nothing.map(|_| Served::Stopped);
        }
    };
    let control = Control::listen(place).map_err(ServeError::Control)?;
    let means =
        Means { options: given, origin, rollout, reread, watch, control, chronicle, records, log, program };
    Supervisor::new(means, (claim, queues), first, cluster).run(signals).await
}

/// Goes on in the place of another program.
async fn take_over(
    options: Options,
    estate: Estate,
    reread: Reread,
    records: Records<'_>,
) -> Result<Served, ServeError> {
    let (taken, signals) = assemble(options, estate, reread, records)?;
    // After it was called back by its descriptor, it would be called by the number of that.
    let _ = nix::sys::prctl::set_name(c"wasmcluster");
    taken.run(signals).await
}

/// Takes everything over, and does nothing with it yet. Whatever may fail because of what there is around us is done before
/// anything of it is touched, and has the program before this one go on. That one finds nothing in its way which it can do
/// without.
fn assemble(
    options: Options,
    estate: Estate,
    reread: Reread,
    records: Records<'_>,
) -> Result<(TakenOver<'_>, Signals), ServeError> {
    let given = options.clone();
    let Options { configuration, watch, addr: _, cluster, cache: directory, naming: _, run_dir, memory } =
        options;
    let Configuration { component, guest, serving, rollout } = configuration;
    let (log, mut records) = noting(records);
    let is_back = estate.is_back();
    let prepare = || {
        let watch = if watch { Watch::of(&component) } else { Ok(None) };
        let room = limits::raise_descriptors(cluster.slots.get(), serving.max_connections);
        let cache = Cache::open(&directory);
        if !is_back {
            room?;
        }
        Ok((
            if is_back { watch } else { Ok(watch.map_err(|source| unwatchable(&component, source))?) },
            if is_back { cache.ok() } else { Some(cache?) },
            Arc::new(Executable::open().map_err(ServeError::Setup)?),
            Signals::new().map_err(ServeError::Setup)?,
        ))
    };
    let (watch, cache, executable, signals) = match prepare() {
        Ok(prepared) => prepared,
        Err(error) => {
            estate.give_back(ServeError::to_string(&error));
            return Err(error);
        }
    };
    let watch = watch.unwrap_or_else(|error| {
        records(Record::Unwatched { component: component.name(), reason: error.to_string() });
        None
    });
    let Estate { left, descriptors, version, failure, .. } = estate;
    let (history, program) = (left.history(), Program::at(left.program.clone()));
    let in_use = descriptors.copy(&left.cache).map_err(ServeError::Setup)?;
    let cache = Arc::new(cache.unwrap_or_else(|| Cache::take(&directory, in_use)));
    let means = |control: Control| {
        let chronicle = Chronicle::open(&memory, control.name(), Some(history), &mut records);
        let kept = chronicle.components();
        let origin = Origin { component, guest, serving, cache, kept, executable };
        Means { options: given, origin, rollout, reread, watch, control, chronicle, records, log, program }
    };
    // With the descriptors goes the program before this one, which nobody needs any more.
    let taken = TakenOver::new(*left, (version, failure), means, (cluster, &run_dir), descriptors);
    Ok((taken.map_err(ServeError::Setup)?, signals))
}

fn watching(component: &Component) -> Result<Option<Watch>, ServeError> {
    Watch::of(component).map_err(|source| unwatchable(component, source))
}

fn unwatchable(component: &Component, source: io::Error) -> ServeError {
    ServeError::Watch { component: component.name(), source }
}

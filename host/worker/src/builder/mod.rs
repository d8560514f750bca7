//! The builder: one process for one compilation. Component bytes in, a checked artifact in the cache out.
//!
//! A process of its own, so that Cranelift's memory is gone when it is done, and so that a component which brings the
//! compiler down brings nothing else down.

mod cache;
mod kept;

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::iter;
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use sha2::{Digest, Sha256};
use wasmcluster_core::app::{CompileLimits, Sandbox};
use wasmcluster_core::component;
use wasmcluster_core::message::{Built, FromBuilder, Needs, ToBuilder, fd};
use wasmcluster_core::rejection::Rejection;
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::engine;
use crate::instance;
use crate::link::link;
use crate::parent::{Parent, ParentError, inherited};
use crate::sandbox;
use cache::{Cache, Entry};

/// How far behind workers it stands: on a busy core it gets a tenth of what one of them gets.
const NICENESS: i32 = 10;

type Supervisor = Parent<FromBuilder, ToBuilder>;

/// Runs the builder role to its end.
#[must_use]
pub fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            use std::io::Write;
            let _ = writeln!(std::io::stderr(), "builder failed: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    let mut supervisor = Supervisor::new()?;
    // What is read from here on comes from strangers, and nothing takes more than our user may.
    sandbox::give_up_capabilities()?;
    // A push compiles on all cores beside the version that serves: whoever waits for a response goes first. Where that is
    // forbidden, it is only slower for them.
    let _ = rustix::process::nice(NICENESS);
    let ToBuilder::Build { name, expected, keep, limits, sandbox } = supervisor.receive()?;
    limit(&limits)?;
    let directories = Directories { cache: inherited(fd::CACHE), kept: keep.then(|| inherited(fd::KEPT)) };
    let answer = match directories
        .confine(sandbox)
        .and_then(|()| build(&mut supervisor, (&name, &limits), expected.as_deref(), directories))
    {
        Ok(built) => FromBuilder::Built(built),
        Err(Refusal::Rejected(rejection)) => FromBuilder::Rejected(rejection),
        Err(Refusal::Cache(error)) => FromBuilder::CacheFailed { message: error.to_string() },
        Err(Refusal::Parent(error)) => return Err(error.into()),
    };
    Ok(supervisor.send(&answer)?)
}

/// For good, and whether or not the kernel confines us: a few hundred bytes can keep a compiler busy for a day.
fn limit(limits: &CompileLimits) -> nix::Result<()> {
    let lower = |resource, soft: u64, hard: u64| {
        let (_, most) = getrlimit(resource)?;
        setrlimit(resource, soft.min(most), hard.min(most))
    };
    // At the first one comes a signal by which the supervisor knows why, at the second one the end.
    let seconds = limits.time.as_secs() + u64::from(limits.time.subsec_nanos() > 0);
    lower(Resource::RLIMIT_CPU, seconds, seconds + 1)?;
    lower(Resource::RLIMIT_DATA, limits.memory, limits.memory)
}

#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error(transparent)]
    Rejected(#[from] Rejection),
    #[error(transparent)]
    Cache(#[from] std::io::Error),
    #[error(transparent)]
    Parent(#[from] ParentError),
}

/// All that a builder writes to.
struct Directories {
    cache: OwnedFd,
    /// Where components are kept, if this one is to be.
    kept: Option<OwnedFd>,
}

impl Directories {
    /// From here on there is nothing else.
    fn confine(&self, wanted: Sandbox) -> Result<(), Refusal> {
        let all: Vec<_> = iter::once(&self.cache).chain(&self.kept).map(AsFd::as_fd).collect();
        sandbox::enter_builder(wanted, &all).map_err(|missing| Rejection::unsandboxed(&missing).into())
    }
}

fn build(
    supervisor: &mut Supervisor,
    (name, limits): (&str, &CompileLimits),
    expected: Option<&str>,
    Directories { cache, kept }: Directories,
) -> Result<Built, Refusal> {
    let mut bytes = Vec::new();
    File::from(inherited(fd::COMPONENT)).read_to_end(&mut bytes).map_err(|error| match error.kind() {
        ErrorKind::OutOfMemory => limits.out_of_memory(name),
        _ => Rejection::without_hint(format!("cannot read `{name}`: {error}")),
    })?;
    let digest: [u8; 32] = Sha256::digest(&bytes).into();
    if expected.is_some_and(|expected| expected != hex(&digest)) {
        return Err(Refusal::Rejected(Rejection::new(
            format!("what was kept of `{name}` is damaged: it is not what was served then"),
            "push the component again",
        )));
    }
    let mut built = artifact(supervisor, cache, (name, &bytes), digest)?;
    if let Some(kept) = kept
        && let Err(error) = kept::keep(&kept, &built.digest, &bytes)
    {
        built.not_kept = Some(error.to_string());
    }
    Ok(built)
}

/// Finds the artifact, or makes it.
fn artifact(
    supervisor: &mut Supervisor,
    cache: OwnedFd,
    (name, bytes): (&str, &[u8]),
    digest: [u8; 32],
) -> Result<Built, Refusal> {
    let inspected = component::inspect(name, bytes)?;
    let engine = engine::compiler(inspected.shape).map_err(|error| {
        Rejection::new(
            format!("cannot compile for this machine: {error:#}"),
            "x86-64 and aarch64 are supported",
        )
    })?;
    let key = Sha256::new().chain_update(engine::fingerprint(&engine)).chain_update(digest).finalize();

    let cache = Cache::new(cache, hex(&key));
    let mut replaced_damaged = false;
    let found = |entry: Entry, cached, replaced_damaged| Built {
        artifact: entry.artifact,
        shape: inspected.shape,
        needs: entry.needs,
        digest: hex(&digest),
        bytes: bytes.len() as u64,
        not_kept: None,
        cached,
        single_use: inspected.fetch_event,
        replaced_damaged,
    };
    match cache.find() {
        cache::Found::Intact(entry) => return Ok(found(entry, true, false)),
        cache::Found::Damaged => replaced_damaged = true,
        cache::Found::Nothing => {}
    }
    // Whoever comes second finds, under the lock, what the first one made.
    let lock = cache.lock(|| supervisor.send(&FromBuilder::Waiting))??;
    if let cache::Found::Intact(entry) = cache.find() {
        return Ok(found(entry, true, replaced_damaged));
    }
    supervisor.send(&FromBuilder::Compiling { bytes: bytes.len() as u64 })?;
    let (artifact, needs) = compile(&engine, &inspected, name, bytes)?;
    let entry = cache.store(&lock, &artifact, needs)?;
    Ok(found(entry, false, replaced_damaged))
}

/// Compiles, and links to see that nothing is missing: the worker would find that out too, but later.
fn compile(
    engine: &Engine,
    inspected: &component::Inspected,
    name: &str,
    bytes: &[u8],
) -> Result<(Vec<u8>, Needs), Rejection> {
    let component = Component::from_binary(engine, bytes).map_err(|error| {
        Rejection::new(
            format!("`{name}` is not a component that can be compiled: {error:#}"),
            "`wasm-tools validate` says more; build it again with a current toolchain",
        )
    })?;
    component::imports(name, &inspected.imports)?;
    link(engine, inspected.shape, &component)
        .and_then(|linked| instance::has_handler(linked, inspected.shape))
        .map_err(|error| {
            Rejection::new(
                format!("`{name}` cannot be linked: {error:#}"),
                "build it again with released bindings of `wasi:http`",
            )
        })?;
    let needs = component.resources_required().map_or(
        Needs { memories: 1, initial_memory: 0, tables: 1, initial_table: 0 },
        |needs| Needs {
            memories: needs.num_memories,
            initial_memory: needs.max_initial_memory_size.unwrap_or(0).saturating_mul(WASM_PAGE),
            tables: needs.num_tables,
            initial_table: needs.max_initial_table_size.unwrap_or(0),
        },
    );
    let artifact = component.serialize().map_err(|error| {
        Rejection::new(
            format!("the compiled code of `{name}` cannot be written down: {error:#}"),
            "this is a bug of wasmcluster; please report it with the component",
        )
    })?;
    Ok((artifact, needs))
}

const WASM_PAGE: u64 = 64 << 10;

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

//! The two engines, and the pool that instances come from.
//!
//! The builder compiles with [`compiler`] and a worker loads with [`runtime`]: both start from the same [`base`], because
//! code compiled under other settings does not load, or worse, loads and misbehaves.

use std::hash::{Hash, Hasher};

use sha2::{Digest, Sha256};
use wasmcluster_core::app::{Guest, Isolation};
use wasmcluster_core::message::{MemoryReset, Needs, Shape};
use wasmtime::{Config, Enabled, Engine, ModuleVersionStrategy, OptLevel, PoolingAllocationConfig};

use crate::pagemap;

/// The wasmtime that compiles and runs guests. `tests/tidy.rs` holds it to `Cargo.lock`.
const WASMTIME_VERSION: &str = "48.0.8";

fn base(shape: Shape) -> wasmtime::Result<Config> {
    let mut config = Config::new();
    // The default compares only the major version: an artifact of 48.0.1 would be run by 48.0.8.
    config.module_version(ModuleVersionStrategy::Custom(version()))?;
    config.epoch_interruption(true);
    config.cranelift_opt_level(OptLevel::Speed);
    match shape {
        // Without concurrency a 0.2 call costs 5 µs less. A component that needs it does not get here.
        Shape::P2 => config.wasm_component_model_async(false).concurrency_support(false),
        Shape::P3 => config.wasm_component_model_async(true).concurrency_support(true),
    };
    Ok(config)
}

fn version() -> String {
    format!("wasmcluster {} on wasmtime {WASMTIME_VERSION}", env!("CARGO_PKG_VERSION"))
}

/// The engine that compiles, with as many threads as there are cores.
///
/// # Errors
/// Fails when the host's CPU is not one that Cranelift compiles for.
pub(crate) fn compiler(shape: Shape) -> wasmtime::Result<Engine> {
    let mut config = base(shape)?;
    config.parallel_compilation(true);
    Engine::new(&config)
}

/// Names everything that decides what machine code comes out for a component: settings, CPU features, versions.
pub(crate) fn fingerprint(engine: &Engine) -> [u8; 32] {
    /// Feeds `Hash` into SHA-256: what is hashed decides whether native code is trusted, so 64 bits are not enough.
    struct Collect(Sha256);
    impl Hasher for Collect {
        fn write(&mut self, bytes: &[u8]) {
            self.0.update(bytes);
        }
        fn finish(&self) -> u64 {
            0
        }
    }
    let mut hasher = Collect(Sha256::new_with_prefix(version()));
    engine.precompile_compatibility_hash().hash(&mut hasher);
    hasher.0.finalize().into()
}

/// The engine that runs: instances come from a pool of `max_concurrent` slots.
///
/// When the address space for the pool cannot be reserved (`ulimit -v`, strict overcommit), instances are mapped one by
/// one instead: slower, and said in the answer.
///
/// # Errors
/// Fails when no engine can be made at all.
pub(crate) fn runtime(
    shape: Shape,
    guest: &Guest,
    max_concurrent: u32,
    needs: &Needs,
) -> wasmtime::Result<(Engine, MemoryReset)> {
    let reset = match guest.isolation {
        Isolation::Strict => MemoryReset::Decommit { reason: "asked for by `--isolation strict`".into() },
        Isolation::Fast => match pagemap::guard() {
            Ok(()) => MemoryReset::Pagemap,
            Err(reason) => MemoryReset::Decommit { reason: reason.to_string() },
        },
    };
    let mut config = base(shape)?;
    config.allocation_strategy(pool(&reset, guest, max_concurrent, needs));
    config.coredump_on_trap(guest.coredump.is_some());
    match Engine::new(&config) {
        Ok(engine) => Ok((engine, reset)),
        Err(error) => {
            let mut config = base(shape)?;
            config.coredump_on_trap(guest.coredump.is_some());
            let engine = Engine::new(&config)?;
            Ok((engine, MemoryReset::OnDemand { reason: format!("{error:#}") }))
        }
    }
}

/// Room for `max_concurrent` instances of what the component needs. Sizes are address space, not memory.
fn pool(reset: &MemoryReset, guest: &Guest, max_concurrent: u32, needs: &Needs) -> PoolingAllocationConfig {
    // One above the cap: the instance that proves that the component starts may still be there.
    let instances = max_concurrent.saturating_add(1);
    let large = needs.initial_memory > 4 << 20;

    let mut pool = PoolingAllocationConfig::default();
    pool.total_component_instances(instances)
        .total_core_instances(instances.saturating_mul(guest.limits.core_instances))
        .max_core_instances_per_component(guest.limits.core_instances)
        .total_stacks(instances)
        .total_memories(instances.saturating_mul(needs.memories.max(1)))
        .total_tables(instances.saturating_mul(needs.tables.max(1)))
        // How they are dealt out among its modules is the component's affair.
        .max_memories_per_component(needs.memories.max(1))
        .max_memories_per_module(needs.memories.max(1))
        .max_tables_per_component(needs.tables.max(1))
        .max_tables_per_module(needs.tables.max(1))
        .table_elements(usize::try_from(guest.limits.table_elements).unwrap_or(usize::MAX))
        .max_memory_size(4 << 30)
        // Tables are copied back rather than unmapped: 4 µs a request.
        .table_keep_resident(if large { 1 << 20 } else { 64 << 10 });
    // Batches would save a microsecond without pagemap, and keep what up to fifteen finished guests allocated for as long
    // as nobody else comes.
    pool.decommit_batch_size(1);
    if *reset == MemoryReset::Pagemap {
        // What was written is known, so keeping memory costs nothing but the memory itself.
        pool.linear_memory_keep_resident(kept(needs)).pagemap_scan(Enabled::Yes);
    } else {
        pool.pagemap_scan(Enabled::No);
    }
    pool
}

/// The bytes of one memory that are copied back after a guest, where what it wrote is known.
pub(crate) fn kept(needs: &Needs) -> usize {
    usize::try_from(needs.initial_memory).unwrap_or(usize::MAX).clamp(2 << 20, 64 << 20)
}

//! `wasmcluster`: one program in three roles, told apart by its first argument.

use std::process::ExitCode;

mod cli;

/// A fresh instance is about ninety allocations, made and freed within microseconds on one thread. Two builds that differed
/// in more than this were 1.2 µs a request apart under a client that never sleeps, and equal under wrk: to be measured by
/// itself, and dropped if it does not pay.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match std::env::args_os().nth(1).as_deref().and_then(|role| role.to_str()) {
        Some(wasmcluster_supervisor::WORKER_ROLE) => wasmcluster_worker::worker::main(),
        Some(wasmcluster_supervisor::BUILDER_ROLE) => wasmcluster_worker::builder::main(),
        _ => cli::main(),
    }
}

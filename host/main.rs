//! `wasmcluster`: one program in four roles, told apart by its first argument.

use std::process::ExitCode;

mod cli;

fn main() -> ExitCode {
    match std::env::args_os().nth(1).as_deref().and_then(|role| role.to_str()) {
        Some(wasmcluster_supervisor::WORKER_ROLE) => wasmcluster_worker::worker::main(),
        Some(wasmcluster_supervisor::BUILDER_ROLE) => wasmcluster_worker::builder::main(),
        Some(wasmcluster_supervisor::TRIAL_ROLE) => cli::trial(),
        _ => cli::main(),
    }
}

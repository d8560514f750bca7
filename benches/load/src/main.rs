//! What a request costs on wasmcluster, measured beside a bare hyper server of the same shape.
//!
//! One program in four roles: the benchmark itself; `__exec`, which starts a server under test; `__hyper`, the server to
//! compare with; and `__load`, the client. See `benches/README.md` for the method.

mod args;
mod cells;
mod clock;
mod compare;
mod connection;
mod generator;
mod histogram;
mod hyper_peer;
mod languages;
mod launch;
mod measure;
mod order;
mod peer;
mod procfs;
mod program;
mod report;
mod response;
mod run;
mod sample;
mod server;
mod table;

use std::process::ExitCode;

use clap::Parser;

use crate::args::{Args, Role};

/// Whatever went wrong, in words.
type Error = Box<dyn std::error::Error>;
type Result<T, E = Error> = std::result::Result<T, E>;

#[expect(clippy::print_stderr, reason = "a program for people")]
fn main() -> ExitCode {
    let mut args = Args::parse();
    let done = match args.role.take() {
        Some(Role::Exec(command)) => launch::exec(&command).map(|never| match never {}),
        Some(Role::Hyper(shape)) => hyper_peer::serve(&shape).map(|()| true),
        Some(Role::Load(order)) => generator::main(&order).map(|()| true),
        None => run::run(&args),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("wasmcluster-load: {error}");
            ExitCode::FAILURE
        }
    }
}

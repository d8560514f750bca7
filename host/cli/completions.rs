//! `wasmcluster completions SHELL`.

use std::io::Write;

use clap::CommandFactory;
use clap_complete::{Shell, generate};

use super::args::Cli;
use super::exit::Exit;

/// Writes the script. A reader that has seen enough is no error.
pub(crate) fn run(shell: Shell) -> Exit {
    let mut script = Vec::new();
    generate(shell, &mut Cli::command(), "wasmcluster", &mut script);
    let _ = std::io::stdout().write_all(&script);
    Exit::Done
}

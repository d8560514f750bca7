//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::hyper_peer::Shape;
use crate::launch::Launch;
use crate::order::Order;

/// Measure what a request costs on wasmcluster, beside a bare hyper server of the same shape
#[derive(Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    /// A short run that finds out whether everything works, and says nothing about speed
    #[arg(long)]
    pub(crate) quick: bool,
    /// How many times each server takes its turn; medians are shown [default: 3, or 1 with --quick]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) rounds: Option<u32>,
    /// How long each turn is measured, in seconds [default: 2, or 0.2 with --quick]
    #[arg(long, value_name = "S")]
    pub(crate) seconds: Option<f64>,
    /// Connections of the client
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) connections: u32,
    /// Let the client sleep until something comes, as most clients do: the server then pays for waking it
    #[arg(long)]
    pub(crate) sleeping_client: bool,
    /// Measure only rows whose name contains this, such as `0.2 fresh`
    #[arg(long, value_name = "TEXT")]
    pub(crate) only: Option<String>,
    /// Print everything that was measured, as JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Print the tables as Markdown
    #[arg(long, conflicts_with = "json")]
    pub(crate) markdown: bool,
    /// The `wasmcluster` to measure [default: the one beside this program, built if it is not there]
    #[arg(long, value_name = "PATH")]
    pub(crate) server: Option<PathBuf>,
    /// Measure `wasmtime serve`, too: the program to start, with the same components
    #[arg(long, value_name = "PATH")]
    pub(crate) wasmtime: Option<PathBuf>,
    /// Measure the components in a directory instead, each with a fresh and with a reused instance
    #[arg(long, value_name = "DIR", conflicts_with_all = ["only", "wasmtime"])]
    pub(crate) languages: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) role: Option<Role>,
}

/// What this program starts itself as.
#[derive(Subcommand)]
pub(crate) enum Role {
    /// Become another program, and end when the one that asked for it ends
    #[command(name = "__exec", hide = true)]
    Exec(Launch),
    /// Serve the benchmark's response with hyper and nothing else
    #[command(name = "__hyper", hide = true)]
    Hyper(Shape),
    /// Send requests
    #[command(name = "__load", hide = true)]
    Load(Order),
}

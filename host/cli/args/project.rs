//! What can be said while a handler is written.

use std::path::PathBuf;

use clap::builder::BoolishValueParser;

use crate::cli::new::{Language, Place, place};

pub(super) const NEW_ABOUT: &str = "\
Begin a handler: a directory with a project that the language's own tools build, a test, and a configuration.

It shows routes, JSON, a response that is streamed and a request to somebody else. Nothing is overwritten.";

pub(super) const COMPONENTIZE_ABOUT: &str = "\
Make a component of a core module for WASI 0.1, such as Go's compiler writes.

What it imports of WASI 0.1 is translated to 0.2. What it imports and exports besides has to be the world that `--wit` \
describes, by the names that the component model gives to it in a core module.";

pub(super) const DOCTOR_ABOUT: &str = "\
Look at the kernel, its limits and the tools for each language, and serve the built-in demo for a moment to see what \
workers get: each finding comes with what would make it better.

It fails where nothing can be served.";

/// `wasmcluster new`.
#[derive(Debug, clap::Args)]
pub(crate) struct NewArgs {
    /// In what it is written
    #[arg(value_name = "LANG")]
    pub(crate) language: Language,

    /// What it is called, and the directory that is made for it
    #[arg(value_name = "NAME", value_parser = place)]
    pub(crate) place: Place,
}

/// `wasmcluster doctor`.
#[derive(Debug, clap::Args)]
pub(crate) struct DoctorArgs {
    /// Answer in JSON
    #[arg(long, env = "WASMCLUSTER_JSON", value_parser = BoolishValueParser::new())]
    pub(crate) json: bool,
}

/// `wasmcluster componentize`.
#[derive(Debug, clap::Args)]
pub(crate) struct ComponentizeArgs {
    /// The core module, a `.wasm` file
    #[arg(value_name = "MODULE")]
    pub(crate) module: PathBuf,

    /// The interfaces that it was built for: a WIT file, or a directory of them
    #[arg(long, value_name = "PATH")]
    pub(crate) wit: PathBuf,

    /// Which of its worlds, where there are several
    #[arg(long, value_name = "NAME")]
    pub(crate) world: Option<String>,

    /// Where the component goes
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
}

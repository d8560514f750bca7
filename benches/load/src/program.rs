//! The program to measure, and where it keeps what it compiles.

use std::env;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Result;
use crate::args::Args;

/// The program to measure: what was asked for, or the one beside this one, built if need be.
pub(crate) fn program(args: &Args) -> Result<PathBuf> {
    if let Some(program) = &args.server {
        return Ok(program.canonicalize().map_err(|error| format!("{}: {error}", program.display()))?);
    }
    let own = env::current_exe()?;
    let program = own.with_file_name("wasmcluster");
    if program.is_file() {
        return Ok(program);
    }
    build(&own)?;
    if program.is_file() { Ok(program) } else { Err(format!("{} was not built", program.display()).into()) }
}

/// Builds our server with the profile, and into the directory, that this program was built with.
#[expect(clippy::print_stderr, reason = "it takes minutes")]
fn build(own: &Path) -> Result<()> {
    let (Some(profile_dir), Some(target)) = (own.parent(), own.ancestors().nth(2)) else {
        return Err("this program is not in a target directory: say --server PATH".into());
    };
    let profile = match profile_dir.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(profile) => profile,
    };
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Cargo.toml");
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    eprintln!("building wasmcluster, which takes minutes");
    let built = Command::new(cargo)
        .args(["build", "--package", "wasmcluster", "--profile", profile, "--manifest-path"])
        .arg(manifest)
        .arg("--target-dir")
        .arg(target)
        .status();
    match built {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("cargo failed: {status}").into()),
        Err(error) => Err(format!("cannot run cargo ({error}): run `cargo build --release` first").into()),
    }
}

/// Where compiled components are kept from run to run: beside this program, and nobody else's to write.
pub(crate) fn cache() -> Result<PathBuf> {
    let cache = env::current_exe()?.with_file_name("wasmcluster-load-cache");
    DirBuilder::new().recursive(true).mode(0o700).create(&cache)?;
    Ok(cache)
}

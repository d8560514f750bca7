//! `wasmcluster componentize`: a component of what a compiler made that knows only core modules.

use std::fs;
use std::io::Write;
use std::path::Path;

use bytesize::ByteSize;
use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use super::args::ComponentizeArgs;
use super::exit::{Exit, Failure};
use super::render;

/// Writes the component, or leaves what was there.
pub(crate) fn run(args: &ComponentizeArgs) -> Exit {
    match componentize(args) {
        Ok(bytes) => {
            let made =
                format!("{}: a component of {}\n", args.output.display(), ByteSize(bytes).display().si());
            let _ = std::io::stdout().write_all(made.as_bytes());
            Exit::Done
        }
        Err(failure) => render::failure(&failure, false),
    }
}

fn componentize(args: &ComponentizeArgs) -> Result<u64, Failure> {
    let ComponentizeArgs { module, wit, world, output } = args;
    let shown = module.display();
    let mut bytes = fs::read(module)
        .map_err(|error| rejected(format!("failed to read `{shown}`: {error}"), "check the path"))?;
    if !wasmparser::Parser::is_core_wasm(&bytes) {
        let (what, hint) = if wasmparser::Parser::is_component(&bytes) {
            ("is a component already", "serve it as it is")
        } else {
            ("is not WebAssembly", "give the core module that your compiler wrote")
        };
        return Err(rejected(format!("`{shown}` {what}"), hint));
    }
    let mut resolve = Resolve::default();
    let found =
        resolve.push_path(wit).and_then(|(package, _)| resolve.select_world(&[package], world.as_deref()));
    let world = found.map_err(|error| {
        rejected(
            format!("cannot find a world in `{}`: {}", wit.display(), in_one_line(&error)),
            "`--wit` names a WIT file or a directory of them, and `--world` one of its worlds",
        )
    })?;
    let component = embed_component_metadata(&mut bytes, &resolve, world, StringEncoding::UTF8)
        .and_then(|()| ComponentEncoder::default().validate(true).module(&bytes))
        .and_then(|encoder| {
            encoder.adapter(WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER)
        })
        .and_then(|mut encoder| encoder.encode())
        .map_err(|error| {
            let name = &resolve.worlds[world].name;
            rejected(
                format!("`{shown}` does not fit the world `{name}`: {}", in_one_line(&error)),
                "build it as a library (Go: `-buildmode=c-shared`) with the bindings of that world",
            )
        })?;
    replace(output, &component)
        .map_err(|error| Failure {
            exit: Exit::Failed,
            message: format!("failed to write `{}`: {error}", output.display()),
            hint: None,
        })
        .map(|()| component.len() as u64)
}

/// Whoever watches the file, or serves it, never finds half of one.
fn replace(output: &Path, component: &[u8]) -> std::io::Result<()> {
    let mut beside = output.as_os_str().to_owned();
    beside.push(format!(".{}", std::process::id()));
    let written = fs::write(&beside, component).and_then(|()| fs::rename(&beside, output));
    if written.is_err() {
        let _ = fs::remove_file(&beside);
    }
    written
}

/// What went wrong and where, without the picture of the source around it.
fn in_one_line(error: &anyhow::Error) -> String {
    let text = format!("{error:#}");
    let lines = text.lines().map(str::trim);
    let told = lines.filter(|line| !line.is_empty() && !line.contains('|'));
    told.map(|line| line.trim_start_matches("--> ")).collect::<Vec<_>>().join(", ")
}

fn rejected(message: String, hint: &str) -> Failure {
    Failure { exit: Exit::Rejected, message, hint: Some(hint.into()) }
}

//! What a file is, told from its bytes, and in words when it is not what it should be.

use wasmcluster_core::message::Shape;
use wasmcluster_core::rejection::Rejection;
use wasmparser::{Parser, Payload};
use wasmtime::Precompiled;

use crate::link::PROVIDED;

const COMPONENT_HINT: &str = "build one with `cargo build --release --target wasm32-wasip2`, \
                              or turn a core module into one with `wasm-tools component new`";

/// A component that can be asked over HTTP.
pub(super) struct Inspected {
    pub(super) shape: Shape,
    pub(super) imports: Vec<String>,
}

/// Looks at the outermost component of `bytes`.
///
/// # Errors
/// Rejects whatever is not a component that exports an HTTP handler we know.
pub(super) fn component(name: &str, bytes: &[u8]) -> Result<Inspected, Rejection> {
    if wasmtime::Engine::detect_precompiled(bytes)
        .is_some_and(|kind| matches!(kind, Precompiled::Component | Precompiled::Module))
    {
        return Err(Rejection::new(
            format!("`{name}` is compiled code of some engine, which cannot be trusted"),
            "give the `.wasm` that it was made from; it is compiled once and kept in the cache",
        ));
    }
    if !bytes.starts_with(b"\0asm") {
        return Err(Rejection::new(format!("`{name}` is not WebAssembly"), COMPONENT_HINT));
    }
    if Parser::is_core_wasm(bytes) {
        return Err(Rejection::new(format!("`{name}` is a core module and not a component"), COMPONENT_HINT));
    }
    let names = names(bytes).map_err(|error| {
        Rejection::new(
            format!("`{name}` is damaged: {error}"),
            "was it copied completely? compare its size with the original",
        )
    })?;
    let shape = shape(&names.exports).ok_or_else(|| no_handler(name, &names.exports))?;
    Ok(Inspected { shape, imports: names.imports })
}

struct Names {
    imports: Vec<String>,
    exports: Vec<String>,
}

fn names(bytes: &[u8]) -> Result<Names, wasmparser::BinaryReaderError> {
    let mut names = Names { imports: Vec::new(), exports: Vec::new() };
    let mut depth = 0_u32;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload? {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 0 => {
                for import in section {
                    names.imports.push(import?.name.name.to_owned());
                }
            }
            Payload::ComponentExportSection(section) if depth == 0 => {
                for export in section {
                    names.exports.push(export?.name.name.to_owned());
                }
            }
            _ => {}
        }
    }
    Ok(names)
}

/// The newest handler that the component has.
fn shape(exports: &[String]) -> Option<Shape> {
    let exports_any = |prefix: &str| {
        exports.iter().any(|export| export.strip_prefix(prefix).is_some_and(|patch| !patch.contains('-')))
    };
    if exports_any("wasi:http/handler@0.3.") {
        Some(Shape::P3)
    } else if exports_any("wasi:http/incoming-handler@0.2.") {
        Some(Shape::P2)
    } else {
        None
    }
}

fn no_handler(name: &str, exports: &[String]) -> Rejection {
    if let Some(candidate) = exports.iter().find(|export| {
        export.starts_with("wasi:http/")
            && export.contains('-')
            && export.split_once('@').is_some_and(|(_, version)| version.contains('-'))
    }) {
        return Rejection::new(
            format!("`{name}` exports `{candidate}`, a draft that this host does not speak"),
            "build it again with bindings for `wasi:http/handler@0.3.0`, or for 0.2",
        );
    }
    let has = match exports {
        [] => "it exports nothing".to_owned(),
        exports => format!("it exports {}", list(exports)),
    };
    Rejection::new(
        format!("`{name}` has no HTTP handler: {has}"),
        "a handler exports `wasi:http/incoming-handler@0.2.x` or `wasi:http/handler@0.3.x`",
    )
}

/// Checks that everything a component imports is there, by name and version.
///
/// # Errors
/// Rejects a component that imports something else, naming it and what comes nearest.
pub(super) fn imports(name: &str, imports: &[String]) -> Result<(), Rejection> {
    let missing: Vec<&String> = imports.iter().filter(|import| !is_provided(import)).collect();
    let Some(first) = missing.first() else { return Ok(()) };
    let (interface, version) = first.split_once('@').unwrap_or((first, ""));
    let nearest = provided()
        .filter(|(known, _)| known == interface)
        .map(|(known, version)| format!("`{known}@{version}`"));
    let nearest: Vec<String> = nearest.collect();
    let hint = if !nearest.is_empty() && version.contains("-rc") {
        format!("this host has {}: build it again with released bindings", nearest.join(" and "))
    } else if !nearest.is_empty() {
        format!("the nearest that this host has is {}", nearest.join(" and "))
    } else {
        "this host provides `wasi:cli`, `wasi:http` and `wasi:config`; compose the component with one that provides the \
         rest, e.g. with `wac plug`"
            .to_owned()
    };
    let names: Vec<String> = missing.into_iter().cloned().collect();
    Err(Rejection::new(format!("`{name}` imports {}, which nothing provides", list(&names)), hint))
}

fn provided() -> impl Iterator<Item = (String, &'static str)> {
    PROVIDED.iter().flat_map(|(package, interfaces, version)| {
        interfaces.iter().map(move |interface| (format!("{package}/{interface}"), *version))
    })
}

/// Whether the linker resolves `import`, by the rules of semantic versions: a release matches any of its series, a draft
/// only itself.
fn is_provided(import: &str) -> bool {
    let Some((interface, wanted)) = import.split_once('@') else { return false };
    let series = |version: &str| version.rsplit_once('.').map(|(series, _)| series.to_owned());
    provided().any(|(known, version)| {
        known == interface
            && (version == wanted
                || (!wanted.contains('-') && !version.contains('-') && series(version) == series(wanted)))
    })
}

/// At most eight, because a component may export a hundred.
fn list(names: &[String]) -> String {
    let shown: Vec<String> = names.iter().take(8).map(|name| format!("`{name}`")).collect();
    match names.len().saturating_sub(8) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests;

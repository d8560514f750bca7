//! What a file is, told from its bytes, and in words when it is not what it should be.

#[cfg(any(test, fuzzing))]
pub mod laws;
mod provided;

use wasmparser::{ExportSectionReader, KnownCustom, Parser, Payload, ProducersSectionReader};

pub use self::provided::{is_foreign, is_provided, provided};
use crate::message::Shape;
use crate::rejection::Rejection;

const COMPONENT_HINT: &str = "build one with `cargo build --release --target wasm32-wasip2`, \
                              or turn a core module into one with `wasm-tools component new`";

/// As many producers are told.
const MOST_PRODUCERS: usize = 32;

/// A component that can be asked over HTTP.
#[derive(Debug)]
pub struct Inspected {
    /// By which version of WASI it is asked.
    pub shape: Shape,
    /// What it imports, and by which versions.
    pub imports: Vec<String>,
    /// What it exports, the handler among it.
    pub exports: Vec<String>,
    /// What it was made from and with, by its own account.
    pub producers: Vec<Producer>,
    /// Whether it is JavaScript that answers fetch events: its engine answers the first one of an instance, and fails at every
    /// other.
    pub fetch_event: bool,
}

/// A line of the `producers` section of the component, or of a part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Producer {
    /// `language`, `processed-by` or `sdk`.
    pub field: String,
    /// Who.
    pub name: String,
    /// In which version; may be empty.
    pub version: String,
}

/// Looks at the outermost component of `bytes`.
///
/// # Errors
/// Rejects whatever is not a component that exports an HTTP handler we know.
pub fn inspect(name: &str, bytes: &[u8]) -> Result<Inspected, Rejection> {
    if is_compiled(bytes) {
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
    let Names { imports, exports, producers, bare_handler } = names;
    let is_javascript = producers.iter().any(|producer| producer.name == "ComponentizeJS");
    Ok(Inspected { shape, imports, exports, producers, fetch_event: is_javascript && bare_handler })
}

/// Whether it is what an engine made of WebAssembly: an object file, with a section that tells which engine.
fn is_compiled(bytes: &[u8]) -> bool {
    const SECTION: &[u8] = b".wasmtime.engine";
    bytes.starts_with(b"\x7fELF") && bytes.windows(SECTION.len()).any(|window| window == SECTION)
}

#[derive(Default)]
struct Names {
    imports: Vec<String>,
    exports: Vec<String>,
    producers: Vec<Producer>,
    /// Whether a module of it has a handler with nothing to be called after it. By that, and by nothing else, JavaScript that
    /// answers fetch events differs from JavaScript that exports a handler.
    bare_handler: bool,
}

fn names(bytes: &[u8]) -> Result<Names, wasmparser::BinaryReaderError> {
    let mut names = Names::default();
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
            Payload::ExportSection(section) => names.bare_handler |= is_bare(section),
            Payload::CustomSection(section) => {
                // A part says it, too, and what is wrong with it is of no account.
                if let KnownCustom::Producers(section) = section.as_known() {
                    let _ = producers(section, &mut names.producers);
                }
            }
            _ => {}
        }
    }
    Ok(names)
}

/// Whether these are a module's exports with a handler of 0.2, and without what cleans up behind it.
fn is_bare(exports: ExportSectionReader<'_>) -> bool {
    let (mut handler, mut cleans_up) = (false, false);
    // What is wrong with a module, the compiler says.
    for export in exports.into_iter().flatten() {
        let name = export.name.strip_prefix("cabi_post_");
        let is_handler = |name: &str| {
            let version = name.strip_prefix("wasi:http/incoming-handler@0.2.");
            version.is_some_and(|version| version.ends_with("#handle"))
        };
        cleans_up |= name.is_some_and(is_handler);
        handler |= is_handler(export.name);
    }
    handler && !cleans_up
}

/// Adds what `section` says and was not said before.
fn producers(
    section: ProducersSectionReader<'_>,
    all: &mut Vec<Producer>,
) -> Result<(), wasmparser::BinaryReaderError> {
    for field in section {
        let field = field?;
        for value in field.values {
            let value = value?;
            let (field, name, version) = (field.name.into(), value.name.into(), value.version.into());
            let producer = Producer { field, name, version };
            // Whoever writes a million makes us look a million times at what is shown of them, and no more.
            if all.len() < MOST_PRODUCERS && !all.contains(&producer) {
                all.push(producer);
            }
        }
    }
    Ok(())
}

/// Of which version of WASI the newest handler is that the component has.
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
        "its WIT world needs the line `export wasi:http/incoming-handler@0.2.12;`, or `export wasi:http/handler@0.3.0;`",
    )
}

/// Checks that everything a component imports can be linked, by name and version.
///
/// # Errors
/// Rejects a component that imports something else, naming it and what comes nearest.
pub fn imports(name: &str, imports: &[String]) -> Result<(), Rejection> {
    let missing: Vec<&String> =
        imports.iter().filter(|import| !is_provided(import) && !is_foreign(import)).collect();
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

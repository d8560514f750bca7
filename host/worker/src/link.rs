//! What components are linked to: all of WASI that we have. What a guest may do with it is decided by its grants.

use wasmcluster_core::message::Shape;
use wasmtime::Engine;
use wasmtime::component::Linker;
use wasmtime_wasi_config::WasiConfig;

use crate::early;
use crate::fields;
use crate::outgoing;
use crate::state::State;

/// A linker with everything a component may import.
///
/// 0.3 components get 0.2 as well: their standard library still imports it.
///
/// # Errors
/// Fails only if two interfaces have the same name, which would be a bug of ours.
pub(crate) fn linker(engine: &Engine, shape: Shape) -> wasmtime::Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    // Once more, by way of the table alone: the stock one goes by way of the WASI context, which every response that has
    // a body would then have made for it.
    linker.allow_shadowing(true);
    wasmtime_wasi_io::add_to_linker_async(&mut linker)?;
    linker.allow_shadowing(false);
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    outgoing::add_to_linker(&mut linker)?;
    wasmtime_wasi_config::add_to_linker(&mut linker, |state: &mut State| WasiConfig::from(state.config()))?;
    if shape == Shape::P3 {
        wasmtime_wasi::p3::add_to_linker(&mut linker)?;
        wasmtime_wasi_http::p3::add_to_linker(&mut linker)?;
        early::add_to_linker(&mut linker)?;
        fields::add_to_linker(&mut linker)?;
    }
    Ok(linker)
}

/// What [`linker`] provides, for messages about imports that are not there: package, interfaces, newest version.
pub(crate) const PROVIDED: &[(&str, &[&str], &str)] = &[
    (
        "wasi:cli",
        &[
            "environment",
            "exit",
            "stderr",
            "stdin",
            "stdout",
            "terminal-input",
            "terminal-output",
            "terminal-stderr",
            "terminal-stdin",
            "terminal-stdout",
        ],
        "0.2.12",
    ),
    ("wasi:clocks", &["monotonic-clock", "wall-clock"], "0.2.12"),
    ("wasi:config", &["store"], "0.2.0-rc.1"),
    ("wasi:filesystem", &["preopens", "types"], "0.2.12"),
    ("wasi:http", &["outgoing-handler", "types"], "0.2.12"),
    ("wasi:io", &["error", "poll", "streams"], "0.2.12"),
    ("wasi:random", &["insecure", "insecure-seed", "random"], "0.2.12"),
    (
        "wasi:sockets",
        &[
            "instance-network",
            "ip-name-lookup",
            "network",
            "tcp",
            "tcp-create-socket",
            "udp",
            "udp-create-socket",
        ],
        "0.2.12",
    ),
    (
        "wasi:cli",
        &[
            "environment",
            "exit",
            "stderr",
            "stdin",
            "stdout",
            "terminal-input",
            "terminal-output",
            "terminal-stderr",
            "terminal-stdin",
            "terminal-stdout",
            "types",
        ],
        "0.3.0",
    ),
    ("wasi:clocks", &["monotonic-clock", "system-clock", "types"], "0.3.0"),
    ("wasi:filesystem", &["preopens", "types"], "0.3.0"),
    ("wasi:http", &["client", "types"], "0.3.0"),
    ("wasi:random", &["insecure", "insecure-seed", "random"], "0.3.0"),
    ("wasi:sockets", &["ip-name-lookup", "types"], "0.3.0"),
];

//! What components are linked to: all of WASI that we have. What a guest may do with it is decided by its grants.

use wasmcluster_core::message::Shape;
use wasmtime::Engine;
use wasmtime::component::{Component, InstancePre, Linker};
use wasmtime_wasi_config::WasiConfig;

mod others;

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
fn linker(engine: &Engine, shape: Shape) -> wasmtime::Result<Linker<State>> {
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
    others::add_to_linker(&mut linker)?;
    if shape == Shape::P3 {
        wasmtime_wasi::p3::add_to_linker(&mut linker)?;
        wasmtime_wasi_http::p3::add_to_linker(&mut linker)?;
        early::add_to_linker(&mut linker)?;
        fields::add_to_linker(&mut linker)?;
    }
    Ok(linker)
}

/// `component` with everything that it imports.
///
/// # Errors
/// Fails where it imports what is not there.
pub(crate) fn link(
    engine: &Engine,
    shape: Shape,
    component: &Component,
) -> wasmtime::Result<InstancePre<State>> {
    let mut linker = linker(engine, shape)?;
    others::refuse_at_call(&mut linker, component)?;
    linker.instantiate_pre(component)
}

#[cfg(test)]
mod tests;

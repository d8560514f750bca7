//! Lists of header fields of 0.3 that would have more than they may.
//!
//! The stock host refuses that, and tells only the guest. (Of 0.2 it makes a trap, which we see.)

use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi::TrappableError;
use wasmtime_wasi_http::WasiHttpView;
use wasmtime_wasi_http::p3::bindings::http::types::{Fields, HeaderError, Host, HostFields};

use crate::state::State;

type Value = Vec<u8>;
type Answer<T> = wasmtime::Result<(Result<T, HeaderError>,)>;

/// Puts functions that count in the place of the stock ones, which they call.
///
/// # Errors
/// Fails only if the stock ones are not there, which would be a bug of ours.
pub(crate) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    let mut types = linker.instance("wasi:http/types@0.3.0")?;
    types.func_wrap(
        "[static]fields.from-list",
        |mut store: StoreContextMut<'_, State>, (entries,): (Vec<(String, Value)>,)| {
            let made = HostFields::from_list(&mut store.data_mut().http(), entries);
            count(&mut store, made)
        },
    )?;
    types.func_wrap(
        "[method]fields.append",
        |mut store: StoreContextMut<'_, State>, (fields, name, value): (Resource<Fields>, String, Value)| {
            let done = HostFields::append(&mut store.data_mut().http(), fields, name, value);
            count(&mut store, done)
        },
    )?;
    types.func_wrap(
        "[method]fields.set",
        |mut store: StoreContextMut<'_, State>,
         (fields, name, values): (Resource<Fields>, String, Vec<Value>)| {
            let done = HostFields::set(&mut store.data_mut().http(), fields, name, values);
            count(&mut store, done)
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

fn count<T>(
    store: &mut StoreContextMut<'_, State>,
    done: Result<T, TrappableError<HeaderError>>,
) -> Answer<T> {
    let error = match done {
        Ok(done) => return Ok((Ok(done),)),
        Err(error) => Host::convert_header_error(&mut store.data_mut().http(), error)?,
    };
    if matches!(error, HeaderError::SizeExceeded) {
        store.data_mut().too_many_fields();
    }
    Ok((Err(error),))
}

//! Compiled components as files.

#![expect(unsafe_code, reason = "loading compiled code is trusting it")]

use std::os::fd::{AsRawFd, OwnedFd};

use wasmtime::Engine;
use wasmtime::component::Component;

/// Maps an artifact. Its code is shared with every other process that maps it.
///
/// # Errors
/// Fails when the artifact was made by another engine.
pub(crate) fn load(engine: &Engine, file: &OwnedFd) -> wasmtime::Result<Component> {
    // SAFETY: the bytes are machine code that this process will run. The supervisor copied them from a file inside the
    // cache directory, which belongs to this user alone, under a name whose content the builder had just compared with the
    // digest that was recorded when it was written. The copy is sealed, so the mapping changes no more.
    unsafe { Component::deserialize_file(engine, format!("/proc/self/fd/{}", file.as_raw_fd())) }
}

//! What a client says first.

#![no_main]

use libfuzzer_sys::fuzz_target;
use wasmcluster_core::preface::laws::any_beginning_is_told_once;

fuzz_target!(|bytes: &[u8]| any_beginning_is_told_once(bytes));

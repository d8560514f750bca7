//! Any bytes as a component.

#![no_main]

use libfuzzer_sys::fuzz_target;
use wasmcluster_core::component::laws::any_bytes_are_told;

fuzz_target!(|bytes: &[u8]| any_bytes_are_told(bytes));

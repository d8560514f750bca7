//! What is in a frame, and in the file of a history.

#![no_main]

use libfuzzer_sys::fuzz_target;
use wasmcluster_core::message::laws::any_text_is_read_as_it_is_written;

fuzz_target!(|text: &[u8]| any_text_is_read_as_it_is_written(text));

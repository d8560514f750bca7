//! What guests and workers print, in any pieces.

#![no_main]

use libfuzzer_sys::fuzz_target;
use wasmcluster_core::laws::lengths_and_bytes;
use wasmcluster_core::lines::laws::{any_bytes_are_read_in_any_pieces, any_bytes_are_written_in_any_pieces};

fuzz_target!(|input: &[u8]| {
    let (lengths, bytes) = lengths_and_bytes(input);
    any_bytes_are_read_in_any_pieces(bytes, lengths);
    any_bytes_are_written_in_any_pieces(bytes, lengths);
});

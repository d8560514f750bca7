//! What comes over a channel, in any pieces.

#![no_main]

use libfuzzer_sys::fuzz_target;
use wasmcluster_core::channel::laws::any_bytes_are_heard_in_any_pieces;
use wasmcluster_core::control::ToSupervisor;
use wasmcluster_core::laws::lengths_and_bytes;
use wasmcluster_core::message::FromWorker;

fuzz_target!(|input: &[u8]| {
    let (lengths, bytes) = lengths_and_bytes(input);
    any_bytes_are_heard_in_any_pieces::<FromWorker>(bytes, lengths);
    any_bytes_are_heard_in_any_pieces::<ToSupervisor>(bytes, lengths);
});

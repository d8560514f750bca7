//! Programs for the kernel. The shares of the members, two bytes each, or four if the first byte says so.

#![no_main]

use libfuzzer_sys::fuzz_target;
use wasmcluster_core::steering::laws::any_shares_are_dealt;

/// An app has at most so many slots.
const MEMBERS: usize = 256;

fuzz_target!(|input: &[u8]| {
    let Some((wide, bytes)) = input.split_first() else { return };
    let shares: Vec<u32> = match wide % 2 {
        0 => bytes.as_chunks().0.iter().map(|bytes| u16::from_le_bytes(*bytes).into()).collect(),
        _ => bytes.as_chunks().0.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect(),
    };
    let shares = &shares[..shares.len().min(MEMBERS)];
    // Whatever number comes up: those that are there are as good as any.
    any_shares_are_dealt(shares, shares);
});

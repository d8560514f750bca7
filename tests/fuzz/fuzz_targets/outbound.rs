//! Rules for outgoing requests, one a line, and on the last line where somebody wants to go.

#![no_main]

use libfuzzer_sys::fuzz_target;
use wasmcluster_core::outbound::laws::any_destination_is_judged;

fuzz_target!(|text: &str| {
    let mut rules: Vec<_> = text.lines().collect();
    let host = rules.pop().unwrap_or_default();
    for port in [80, 443] {
        any_destination_is_judged(&rules, host, port);
    }
});

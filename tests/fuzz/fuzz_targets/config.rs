//! What is in `wasmcluster.toml`, and what flags are given for values.

#![no_main]

// Not a dependency: the program's own would bring the runtime for guests along.
#[path = "../../../host/cli/mod.rs"]
#[allow(dead_code, unused_imports, reason = "of the command line only what reads is used here")]
mod cli;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if !text.contains('\n') {
        cli::any_value_is_read_or_explained(text);
    }
    // A file takes a hundred times as long as a value.
    if text.contains(['\n', '=', '[']) {
        cli::any_file_is_read_or_explained(text);
    }
});

//! Guests that take too much, and guests that fall over.

use std::hint::black_box;
use std::time::{Duration, Instant};

use crate::Answer;

/// Burns the processor for so many milliseconds, or without end.
pub(crate) fn spin(ms: Option<u64>) -> Answer {
    let Some(ms) = ms else {
        // No call to the host in here: nothing but an interruption from outside can end it.
        let mut turns = 0u64;
        loop {
            turns = black_box(turns.wrapping_add(1));
        }
    };
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(ms) {
        for turn in 0..10_000 {
            black_box(turn);
        }
    }
    Answer::ok(format!("spun {ms} ms\n"))
}

/// Allocates and touches so many MiB, or all there is.
pub(crate) fn allocate(mib: Option<u64>) -> Answer {
    let mut blocks = Vec::new();
    while mib != Some(blocks.len() as u64) {
        blocks.push(black_box(vec![1u8; 1024 * 1024]));
    }
    Answer::ok(format!("allocated {} MiB\n", blocks.len()))
}

/// Returns its own depth, so that no call is the last thing another does and none becomes a loop.
pub(crate) fn recurse(depth: u64) -> u64 {
    if depth == 0 { 0 } else { black_box(recurse(black_box(depth - 1))) + 1 }
}

pub(crate) fn trap() -> ! {
    core::arch::wasm32::unreachable()
}

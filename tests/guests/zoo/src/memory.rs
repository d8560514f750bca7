//! Finds what an earlier request left in this instance's memory.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

const PAGE: usize = 4096;
const WORDS_PER_PAGE: usize = PAGE / size_of::<u64>();
const WASM_PAGE: usize = 64 * 1024;
const GROWN: usize = 1024 * 1024;
const INITIAL: u64 = 0x5a5a_5a5a_5a5a_5a5a;
const DIRT: u64 = 0xd1d1_d1d1_d1d1_d1d1;

static REQUESTS: AtomicU64 = AtomicU64::new(0);

/// Zero at the start without a byte in the component, so pages that nothing else gives back.
static ZEROED: [AtomicU64; 256 * 1024 / 8] = [const { AtomicU64::new(0) }; 256 * 1024 / 8];

/// Comes from the component's data, so a page that must be given back as it was and not as zero.
static INITIALISED: [AtomicU64; WORDS_PER_PAGE] = [const { AtomicU64::new(INITIAL) }; WORDS_PER_PAGE];

/// Answers how many requests this instance has seen. The first one also looks whether the memory is new; a later one
/// of the same instance rightly finds what the first left.
pub(crate) fn count() -> String {
    let seen = REQUESTS.fetch_add(1, Relaxed);
    if seen > 0 {
        return format!("{}\n", seen + 1);
    }
    let mut dirty = Vec::new();
    if !check_and_soil(&ZEROED, 0) {
        dirty.push("zeroed static");
    }
    if !check_and_soil(&INITIALISED, INITIAL) {
        dirty.push("initialised static");
    }
    if !check_and_soil(grow(), 0) {
        dirty.push("grown memory");
    }
    if dirty.is_empty() { "1\n".to_owned() } else { format!("dirty: {}\n", dirty.join(", ")) }
}

/// Whether every word has the value it was born with; afterwards every page has lost it.
fn check_and_soil(words: &[AtomicU64], born: u64) -> bool {
    let clean = words.iter().all(|word| word.load(Relaxed) == born);
    for page in words.chunks(WORDS_PER_PAGE) {
        page[0].store(DIRT, Relaxed);
        page[page.len() - 1].store(DIRT, Relaxed);
    }
    clean
}

/// Memory straight from `memory.grow`: an allocator may clear or reuse what it hands out.
fn grow() -> &'static [AtomicU64] {
    let previous = core::arch::wasm32::memory_grow::<0>(GROWN / WASM_PAGE);
    assert_ne!(previous, usize::MAX, "the memory does not grow");
    let start = (previous * WASM_PAGE) as *const AtomicU64;
    // SAFETY: the pages are new, so nothing else points at them, they stay for the life of the instance, and they
    // begin at a multiple of the wasm page size. Any bit pattern is a valid word.
    unsafe { std::slice::from_raw_parts(start, GROWN / size_of::<u64>()) }
}

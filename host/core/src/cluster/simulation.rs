//! Thousands of seeded worlds, each with a cluster, processes that misbehave, and an operator.
//!
//! A [`World`](world::World) runs on a virtual clock. After every input a [`Ledger`](ledger::Ledger) says which
//! actions were owed: an action that was not is a violation, and so is one that did not come. That covers, among
//! others: nobody is told twice to drain or to die, or once they are gone; who waits has a deadline, and the cluster
//! wakes at it and not before; no spawn after a stop; the end comes once, last, when every process is gone.
//!
//! A failure prints its seed and what happened. To see one world again, failed or not:
//!
//! ```sh
//! WASMCLUSTER_SIMULATION_SEED=42 cargo test -p wasmcluster-core simulation -- --nocapture
//! ```
//!
//! `WASMCLUSTER_SIMULATION_WORLDS` sets how many there are.

mod ledger;
mod owed;
mod tally;
mod temper;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use self::tally::Tally;
use self::world::World;

/// Runs one world to its end.
fn run(seed: u64, trace: Option<&mut Vec<String>>, tally: &mut Tally) -> Result<(), String> {
    catch_unwind(AssertUnwindSafe(|| World::new(seed, trace, tally).and_then(World::run)))
        .unwrap_or_else(|_| Err("the cluster panicked; its message is above".to_owned()))
}

/// Runs one world again and tells what happened in it.
fn replay(seed: u64) -> (Result<(), String>, String) {
    let mut trace = Vec::new();
    let result = run(seed, Some(&mut trace), &mut Tally::default());
    (result, trace.join("\n"))
}

#[expect(clippy::disallowed_methods, reason = "a person who debugs a seed has no other way in")]
fn variable(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("`{name}` is not a number: `{value}`")))
}

#[test]
fn every_world_keeps_the_rules() {
    if let Some(seed) = variable("WASMCLUSTER_SIMULATION_SEED") {
        let (result, trace) = replay(seed);
        #[expect(
            clippy::print_stderr,
            clippy::disallowed_macros,
            reason = "showing the trace is what was asked for"
        )]
        {
            eprintln!("{trace}");
        }
        assert_eq!(result, Ok(()), "seed {seed}");
        return;
    }
    let worlds = variable("WASMCLUSTER_SIMULATION_WORLDS").unwrap_or(20_000);
    let mut tally = Tally::default();
    for seed in 0..worlds {
        if let Err(violation) = run(seed, None, &mut tally) {
            let (_, trace) = replay(seed);
            panic!("{trace}\n\nseed {seed}: {violation}");
        }
    }
    tally.check(worlds);
}

/// A seed must replay exactly, or its trace explains nothing.
#[test]
fn a_seed_replays_exactly() {
    for seed in 0..20 {
        assert_eq!(replay(seed), replay(seed), "seed {seed}");
    }
}

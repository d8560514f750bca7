//! Descriptors: how many this app needs, and whether it may have them.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Descriptors the kernel will not give us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{needed} file descriptors are needed and at most {available} are allowed")]
pub struct TooFewDescriptors {
    /// What the app needs in its hungriest process.
    pub needed: u64,
    /// The hard limit.
    pub available: u64,
}

impl TooFewDescriptors {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        format!(
            "raise the limit with `ulimit -n {}`, or lower `--max-connections` or `--instances`",
            self.needed
        )
    }
}

/// Runtime, signals, standard streams, listeners of the supervisor itself, files of a library: what every process has
/// open besides what is counted.
const BASE: u64 = 64;

/// For each slot, in the supervisor: its listener, and for the worker and a successor beside it a channel, two log
/// pipes and a pidfd, with as much again in the moment of a spawn.
const PER_SLOT: u64 = 16;

/// Raises the soft limit as far as it goes, here and so in every child, and fails where that is not enough for
/// `slots` workers of `max_connections` each.
pub(crate) fn raise_descriptors(slots: u16, max_connections: u32) -> Result<(), TooFewDescriptors> {
    let needed = needed(slots, max_connections);
    // A kernel that cannot say its limit has none we could obey.
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return Ok(()) };
    let available =
        if soft < hard && setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_err() { soft } else { hard };
    if available < needed { Err(TooFewDescriptors { needed, available }) } else { Ok(()) }
}

fn needed(slots: u16, max_connections: u32) -> u64 {
    let supervisor = BASE + PER_SLOT * u64::from(slots);
    let worker = BASE + u64::from(max_connections);
    supervisor.max(worker)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hungriest_process_counts() {
        assert_eq!(needed(4, 4096), 64 + 4096);
        assert_eq!(needed(256, 10), 64 + 256 * 16);
    }
}

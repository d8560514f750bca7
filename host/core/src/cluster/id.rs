//! Names for slots, workers and generations. Small numbers, so that people can read them in a log.

use core::fmt;

use serde::{Deserialize, Serialize};

/// One of the N places that share the address: a listening socket, and the workers that accept from it.
///
/// Slots are numbered from 0 and outlive their workers.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SlotId(pub u16);

impl SlotId {
    /// Where this slot stands in a list of all slots.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for SlotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One worker process, from the decision to start it until it was reaped.
///
/// Never reused during the life of a cluster, unlike a pid: an event that arrives late names a worker that is
/// gone, and never by accident its successor.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WorkerId(pub u64);

impl fmt::Display for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The number of a version of the app: a component together with the configuration it runs under.
///
/// Numbered from 1 and never reused. What the number stands for is kept by the supervisor; the cluster needs to
/// know only which one is wanted and whether it ever served.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Generation(pub u64);

impl Generation {
    /// The first of an app that has no history.
    pub const FIRST: Self = Self(1);

    /// The one that comes after this.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

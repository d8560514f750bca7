//! A generator of random numbers, written down as its seed: the numbers after that are the same.

use fastrand::Rng;
use serde::{Deserialize, Deserializer, Serializer};

pub(super) fn serialize<S: Serializer>(rng: &Rng, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(rng.get_seed())
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Rng, D::Error> {
    u64::deserialize(deserializer).map(Rng::with_seed)
}

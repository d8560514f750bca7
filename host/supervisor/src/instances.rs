//! How many workers: `--instances N|max|auto`.

use core::num::NonZeroU16;
use core::str::FromStr;

use nix::sched::{CpuSet, sched_getaffinity};
use nix::unistd::{Pid, SysconfVar, sysconf};

use crate::quota;

/// What a person asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instances {
    /// As many as the CPU time this process may use: the cgroup's quota rounded up, or the CPUs it may run on.
    Auto,
    /// As many as the machine has CPUs online.
    Max,
    /// This many.
    Exactly(NonZeroU16),
}

/// Why a value is not a number of instances.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidInstances {
    /// Neither a number nor one of the two words.
    #[error("expected a number from 1 to {}, `max` or `auto`", Instances::LIMIT)]
    NotANumber,
    /// Nobody would serve.
    #[error("at least 1 instance is needed")]
    Zero,
    /// More than [`Instances::LIMIT`].
    #[error("at most {} instances are possible", Instances::LIMIT)]
    TooMany,
}

impl Instances {
    /// The most that one app may have. Beyond any machine we know, and below what would exhaust a kernel's tables.
    pub const LIMIT: u16 = 256;

    /// The number, on this machine and in this control group.
    #[must_use]
    pub fn resolve(self) -> NonZeroU16 {
        match self {
            Self::Exactly(count) => count,
            Self::Max => clamp(online_cpus()),
            Self::Auto => clamp(allowed_cpus().min(quota::cpus().unwrap_or(usize::MAX))),
        }
    }
}

impl FromStr for Instances {
    type Err = InvalidInstances;

    fn from_str(value: &str) -> Result<Self, InvalidInstances> {
        match value {
            "auto" => return Ok(Self::Auto),
            "max" => return Ok(Self::Max),
            _ => {}
        }
        if value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(InvalidInstances::NotANumber);
        }
        // All digits: what does not fit is too large.
        let count = value.parse::<u16>().map_err(|_| InvalidInstances::TooMany)?;
        if count > Self::LIMIT {
            return Err(InvalidInstances::TooMany);
        }
        NonZeroU16::new(count).map(Self::Exactly).ok_or(InvalidInstances::Zero)
    }
}

fn clamp(count: usize) -> NonZeroU16 {
    let count = u16::try_from(count).unwrap_or(u16::MAX).min(Instances::LIMIT);
    NonZeroU16::new(count).unwrap_or(NonZeroU16::MIN)
}

fn online_cpus() -> usize {
    let online = sysconf(SysconfVar::_NPROCESSORS_ONLN).ok().flatten();
    online.and_then(|count| usize::try_from(count).ok()).unwrap_or(1)
}

/// CPUs this process may be scheduled on. Not `available_parallelism`, which has the quota in it already, rounded
/// down: a container with 1.5 CPUs would leave half a CPU idle.
fn allowed_cpus() -> usize {
    let Ok(allowed) = sched_getaffinity(Pid::from_raw(0)) else { return online_cpus() };
    (0..CpuSet::count()).filter(|&cpu| allowed.is_set(cpu).unwrap_or(false)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_words() {
        assert_eq!("auto".parse(), Ok(Instances::Auto));
        assert_eq!("max".parse(), Ok(Instances::Max));
        assert_eq!("4".parse::<Instances>().map(|instances| instances.resolve().get()), Ok(4));
        assert_eq!("256".parse::<Instances>().map(|instances| instances.resolve().get()), Ok(256));
    }

    #[test]
    fn anything_else_says_why() {
        use InvalidInstances::{NotANumber, TooMany, Zero};
        for (value, expected) in [
            ("", NotANumber),
            ("0", Zero),
            ("00", Zero),
            ("257", TooMany),
            ("65536", TooMany),
            ("99999999999999999999", TooMany),
            ("-1", NotANumber),
            ("+1", NotANumber),
            ("1.5", NotANumber),
            ("four", NotANumber),
            (" 4", NotANumber),
        ] {
            assert_eq!(value.parse::<Instances>(), Err(expected), "{value:?}");
        }
    }

    #[test]
    fn this_machine_has_some() {
        assert!(Instances::Max.resolve().get() >= 1);
        assert!(Instances::Auto.resolve() <= Instances::Max.resolve());
    }
}

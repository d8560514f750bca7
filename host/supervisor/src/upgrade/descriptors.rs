//! The descriptors that one program leaves to the next.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use serde::{Deserialize, Serialize};

use crate::descriptors::own;

/// A descriptor, by its place among [`Descriptors`]. It stands for it once.
#[derive(Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Passed(usize);

/// All that are left, each for whoever has the [`Passed`] that stands for it.
#[derive(Debug, Default)]
pub(crate) struct Descriptors(Vec<Option<OwnedFd>>);

impl Descriptors {
    pub(crate) fn put(&mut self, descriptor: OwnedFd) -> Passed {
        self.0.push(Some(descriptor));
        Passed(self.0.len() - 1)
    }

    pub(crate) fn take(&mut self, passed: Passed) -> io::Result<OwnedFd> {
        let missing = || io::Error::other("a descriptor that was to be left is not there");
        self.0.get_mut(passed.0).and_then(Option::take).ok_or_else(missing)
    }

    /// Their numbers, which they keep in the program that is executed in the place of this one if they are
    /// [kept open](Self::keep_open).
    pub(crate) fn numbers(&self) -> Vec<RawFd> {
        self.0.iter().flatten().map(AsRawFd::as_raw_fd).collect()
    }

    /// A duplicate of one of them.
    pub(crate) fn copy(&self, passed: &Passed) -> io::Result<OwnedFd> {
        let missing = || io::Error::other("a descriptor that was to be left is not there");
        self.0.get(passed.0).and_then(Option::as_ref).ok_or_else(missing)?.try_clone()
    }

    /// The number of one of them.
    pub(crate) fn number(&self, passed: &Passed) -> Option<RawFd> {
        self.0.get(passed.0)?.as_ref().map(AsRawFd::as_raw_fd)
    }

    /// Decides whether they stay open in the next program, as nothing else does.
    pub(crate) fn keep_open(&self, open: bool) -> io::Result<()> {
        let flags = if open { FdFlag::empty() } else { FdFlag::FD_CLOEXEC };
        for descriptor in self.0.iter().flatten() {
            fcntl(descriptor.as_fd(), FcntlArg::F_SETFD(flags))?;
        }
        Ok(())
    }

    /// Those with these numbers, which the program before this one has left open. To be called once, before anything else
    /// is opened.
    pub(crate) fn inherited(numbers: &[RawFd]) -> io::Result<Self> {
        let different: BTreeSet<_> = numbers.iter().collect();
        if different.len() != numbers.len() {
            return Err(io::Error::other("two descriptors with the same number were left"));
        }
        let descriptors = numbers.iter().map(|number| own(*number).map(Some)).collect::<io::Result<_>>()?;
        let inherited = Self(descriptors);
        // From here on they are ours, and nobody's whom we start.
        inherited.keep_open(false)?;
        Ok(inherited)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_taken_once() {
        let mut descriptors = Descriptors::default();
        let passed = [0, 1].map(|_| descriptors.put(nix::unistd::pipe().expect("descriptors").0));
        let again = Passed(passed[1].0);
        let numbers = descriptors.numbers();
        for (passed, number) in passed.into_iter().zip(numbers) {
            assert_eq!(descriptors.take(passed).expect("it is there").as_raw_fd(), number);
        }
        assert!(descriptors.take(again).is_err());
        assert!(descriptors.take(Passed(7)).is_err());
    }

    #[test]
    fn what_is_not_there_or_is_there_twice_is_refused() {
        assert!(Descriptors::inherited(&[1_000_000]).is_err());
        assert!(Descriptors::inherited(&[3, 3]).is_err());
    }
}

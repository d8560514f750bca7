//! Keeps a guest's memory in few pieces, so that it is reset by copying alone.
//!
//! The pool asks the kernel which pages a guest wrote, and copies those back. It hears of [`TOLD`] runs of them at most:
//! whatever lies behind the last one is given back to the kernel, and the next guest finds it again fault by fault, each of
//! which costs as much as copying several pages. Interpreters and garbage collectors write here and there, in more runs
//! than that. So the smallest gaps between their runs become pages of the process's own, too: they are copied back from
//! then on although nobody wrote them, and the runs that they join are one.

#![expect(unsafe_code, reason = "an advice that nix does not know, about memory of the pool's")]

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use nix::libc;

use crate::pagemap::Pagemap;

/// `MAX_REGIONS` of wasmtime's `runtime/vm/sys/unix/pagemap.rs`. `tests/tidy.rs` holds `engine.rs` to the version.
const TOLD: usize = 32;

/// Runs that are left where there were more: another request may write elsewhere.
const LEFT: usize = 24;

/// Pages in gaps that are worth one page that is not given back. A fault costs as much as several copies, while there are
/// caches for what is copied; and a page that is filled is memory.
const WORTH: usize = 2;

/// Runs that are too many to be made few of. A guest that writes to every other page of a large memory is not to be worked for.
const TOO_MANY: usize = 1024;

/// Looks at the guests' memory, now and then.
pub(crate) struct Gaps {
    pagemap: Pagemap,
    maps: File,
    /// Of the artifact, which the memories' first contents are mapped from: its device and inode, as in `maps`.
    artifact: String,
    /// The bytes of one memory that the pool copies back; what is more, it gives back to the kernel.
    keep: usize,
    /// Guests that have ended.
    ended: AtomicU32,
    due: AtomicBool,
}

impl Gaps {
    /// Opened before the sandbox: later nothing is.
    pub(crate) fn open(artifact: &OwnedFd, keep: usize) -> io::Result<Self> {
        let file = File::from(artifact.try_clone()?).metadata()?;
        let (major, minor) = (libc::major(file.dev()), libc::minor(file.dev()));
        Ok(Self {
            pagemap: Pagemap::open()?,
            maps: File::open("/proc/self/maps")?,
            artifact: format!("{major:02x}:{minor:02x} {}", file.ino()),
            keep,
            ended: AtomicU32::new(0),
            due: AtomicBool::new(false),
        })
    }

    /// The next guest that ends is looked at.
    pub(crate) fn look_again(&self) {
        self.due.store(true, Ordering::Relaxed);
    }

    /// Called while a guest that has ended still has its memory. At first each is likely to be in a place of its own.
    pub(crate) fn before_reset(&self) {
        let ended = self.ended.load(Ordering::Relaxed).wrapping_add(1);
        self.ended.store(ended, Ordering::Relaxed);
        if ended.is_power_of_two() || self.due.load(Ordering::Relaxed) {
            self.due.store(false, Ordering::Relaxed);
            // Without an answer nothing is gained, and nothing lost.
            let _ = self.look();
        }
    }

    fn look(&self) -> io::Result<()> {
        for memory in memories(&self.read_maps()?, &self.artifact) {
            let runs = self.pagemap.written(memory, TOO_MANY)?;
            for gap in to_fill(&runs, self.keep) {
                populate(&gap);
            }
        }
        Ok(())
    }

    fn read_maps(&self) -> io::Result<String> {
        let mut maps = Vec::new();
        let mut part = [0; 1 << 14];
        loop {
            match self.maps.read_at(&mut part, maps.len() as u64)? {
                0 => break,
                read => maps.extend_from_slice(&part[..read]),
            }
        }
        Ok(String::from_utf8_lossy(&maps).into_owned())
    }
}

/// The memories in `maps`: what is writable in one piece, and has something of the artifact in it.
fn memories(maps: &str, artifact: &str) -> Vec<Range<usize>> {
    let mut found: Vec<(Range<usize>, bool)> = Vec::new();
    for (range, ours) in maps.lines().filter_map(|line| writable(line, artifact)) {
        match found.last_mut() {
            Some((before, has)) if before.end == range.start => {
                before.end = range.end;
                *has |= ours;
            }
            _ => found.push((range, ours)),
        }
    }
    found.into_iter().filter(|(_, ours)| *ours).map(|(range, _)| range).collect()
}

/// The range of a line, if it is private and writable, and whether it is mapped from the artifact.
fn writable(line: &str, artifact: &str) -> Option<(Range<usize>, bool)> {
    let mut fields = line.splitn(4, ' ');
    let (range, flags, _, file) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    if flags != "rw-p" {
        return None;
    }
    let (start, end) = range.split_once('-')?;
    let address = |hex| usize::from_str_radix(hex, 16).ok();
    let ours = file.strip_prefix(artifact).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '));
    Some((address(start)?..address(end)?, ours))
}

/// The gaps that make [`LEFT`] of `runs` where there are more than [`TOLD`], the smallest first. None where there are
/// [`TOO_MANY`], where that would cost more than it is worth, or where more than `keep` bytes would be left.
fn to_fill(runs: &[Range<usize>], keep: usize) -> Vec<Range<usize>> {
    if !(TOLD + 1..TOO_MANY).contains(&runs.len()) {
        return Vec::new();
    }
    let lost = &runs[TOLD..];
    let mut gaps: Vec<_> = runs.windows(2).map(|pair| pair[0].end..pair[1].start).collect();
    gaps.sort_by_key(ExactSizeIterator::len);
    gaps.truncate(runs.len() - LEFT);
    let bytes = |ranges: &[Range<usize>]| ranges.iter().map(ExactSizeIterator::len).sum::<usize>();
    let filled = bytes(&gaps);
    let is_worth_it = filled <= WORTH * bytes(lost) && bytes(runs) + filled <= keep;
    if is_worth_it { gaps } else { Vec::new() }
}

/// Makes pages of `gap` the process's own, with what they contain.
fn populate(gap: &Range<usize>) {
    // SAFETY: the range is of whole pages between two that a guest wrote, in one of its memories: a private mapping that is
    // there and writable. Its contents stay, so that nobody who reads or writes it meanwhile sees a difference.
    let _ = unsafe {
        libc::madvise(std::ptr::with_exposed_provenance_mut(gap.start), gap.len(), libc::MADV_POPULATE_WRITE)
    };
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PAGE: usize = 4096;

    /// Runs of so many pages after gaps of so many.
    fn runs(lengths: &[(usize, usize)]) -> Vec<Range<usize>> {
        let mut at = 0x7000_0000;
        let run = |&(gap, length): &(usize, usize)| {
            let start = at + gap * PAGE;
            at = start + length * PAGE;
            start..at
        };
        lengths.iter().map(run).collect()
    }

    #[test]
    fn few_runs_stay_as_they_are() {
        assert!(to_fill(&runs(&[(1, 1); TOLD]), usize::MAX).is_empty());
        assert!(to_fill(&[], usize::MAX).is_empty());
    }

    #[test]
    fn so_many_that_nobody_has_counted_them_stay_as_they_are() {
        assert!(!to_fill(&runs(&[(1, 1); TOO_MANY - 1]), usize::MAX).is_empty());
        assert!(to_fill(&runs(&[(1, 1); TOO_MANY]), usize::MAX).is_empty());
    }

    #[test]
    fn the_smallest_gaps_are_filled_until_few_runs_are_left() {
        let mut lengths = [(3, 2); TOLD + 1];
        for small in [5, 9, 13] {
            lengths[small].0 = 1;
        }
        lengths[TOLD].1 = 20;
        let runs = runs(&lengths);
        let gaps = to_fill(&runs, usize::MAX);
        assert_eq!(gaps.len(), TOLD + 1 - LEFT);
        for small in [5, 9, 13] {
            assert!(gaps.contains(&(runs[small - 1].end..runs[small].start)), "{gaps:x?}");
        }
    }

    #[test]
    fn wide_gaps_are_not_worth_it() {
        let mut lengths = vec![(1, 1); TOLD];
        lengths.push((1, 5));
        assert!(!to_fill(&runs(&lengths), usize::MAX).is_empty(), "nine pages for five");
        lengths[TOLD].1 = 4;
        assert!(to_fill(&runs(&lengths), usize::MAX).is_empty(), "nine pages for four");
    }

    #[test]
    fn more_than_the_pool_copies_is_not_filled() {
        let runs = runs(&[(1, 1); 2 * TOLD]);
        let all = (2 * TOLD + 2 * TOLD - LEFT) * PAGE;
        assert_eq!(to_fill(&runs, all).len(), 2 * TOLD - LEFT);
        assert!(to_fill(&runs, all - 1).is_empty());
    }

    #[test]
    fn memories_are_found_by_what_is_mapped_into_them() {
        let maps = "\
7e1186a00000-7e1186b00000 rw-p 00000000 00:00 0
7e1186b00000-7e1187310000 rw-p 023c1000 00:01 4711                       /memfd:0123.cwasm (deleted)
7e1187310000-7e1187320000 rw-p 00000000 00:00 0
7e1187320000-7e1286a00000 ---p 00000000 00:00 0
7e1286a00000-7e1286b00000 rw-p 00000000 00:01 47110                      /memfd:another (deleted)
7e1286b00000-7e1286c00000 r--p 00000000 00:01 4711                       /memfd:0123.cwasm (deleted)
7e1286c00000-7e1286d00000 rw-s 00000000 00:01 4711                       /memfd:0123.cwasm (deleted)
7e1286d00000-7e1286e00000 rw-p 00000000 00:00 0                          [heap]
7e1286e00000-7e1286f00000 rw-p 00000000 00:01 4711";
        let expected = [0x7e11_86a0_0000..0x7e11_8732_0000, 0x7e12_86d0_0000..0x7e12_86f0_0000];
        assert_eq!(memories(maps, "00:01 4711"), expected);
        assert!(memories("", "00:01 4711").is_empty());
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_line(line in ".{0,80}") {
            writable(&line, "00:01 4711");
        }

        #[test]
        fn what_is_filled_is_between_two_runs_and_leaves_few(
            lengths in prop::collection::vec((1_usize..6, 1_usize..6), 0..200),
            keep in 0_usize..64 << 20,
        ) {
            let runs = runs(&lengths);
            let gaps = to_fill(&runs, keep);
            for gap in &gaps {
                prop_assert!(runs.windows(2).any(|pair| pair[0].end == gap.start && pair[1].start == gap.end));
            }
            prop_assert!(gaps.is_empty() || runs.len() - gaps.len() == LEFT);
        }
    }
}

//! Which pages were written, by this kernel's `PAGEMAP_SCAN`, and whether it can be trusted to say so of a guest's.
//!
//! The pool resets an instance's memory by that answer: a page that was written and is not reported is seen by the next
//! request. Two ways are known in which the answer can be wrong. A written page that was swapped out is reported as
//! swapped and not as written. And a kernel may narrow "written" to ranges under userfaultfd write protection, where
//! nothing at all would be reported. So the guard asks for a kernel that has the call, no swap, and the right answer
//! about pages whose history it knows.

#![expect(unsafe_code, reason = "one ioctl that nix does not wrap, and a mapping to try it on")]

use std::fs::File;
use std::io;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::os::fd::AsRawFd;

use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, munmap};

/// Why memory is not reset by pagemap.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Distrust {
    #[error("swap is in use: a page in swap is not reported as written")]
    Swap,
    #[error("this kernel has no PAGEMAP_SCAN: {0}")]
    Unsupported(io::Error),
    #[error("the kernel reports other pages than those that were written")]
    WrongAnswer,
}

/// Returns whether resetting memory by pagemap is safe here and now.
///
/// # Errors
/// Says why it is not.
pub(crate) fn guard() -> Result<(), Distrust> {
    if swap_possible() {
        return Err(Distrust::Swap);
    }
    self_test()
}

/// A machine without swap areas cannot swap us out, and neither can a cgroup that is allowed none.
fn swap_possible() -> bool {
    let areas = std::fs::read_to_string("/proc/swaps").map(|swaps| swaps.lines().count().saturating_sub(1));
    if matches!(areas, Ok(0)) {
        return false;
    }
    let limit = std::fs::read_to_string("/proc/self/cgroup").ok().and_then(|cgroups| {
        let path = cgroups.lines().find_map(|line| line.strip_prefix("0::"))?.trim().to_owned();
        std::fs::read_to_string(format!("/sys/fs/cgroup{path}/memory.swap.max")).ok()
    });
    limit.is_none_or(|limit| limit.trim() != "0")
}

// Layout and constants: include/uapi/linux/fs.h, since Linux 6.7.
#[repr(C)]
#[derive(Default)]
struct PmScanArg {
    size: u64,
    flags: u64,
    start: u64,
    end: u64,
    walk_end: u64,
    vec: u64,
    vec_len: u64,
    max_pages: u64,
    category_inverted: u64,
    category_mask: u64,
    category_anyof_mask: u64,
    return_mask: u64,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct PageRegion {
    start: u64,
    end: u64,
    categories: u64,
}

const PAGE_IS_WRITTEN: u64 = 1 << 1;
const PAGE_IS_FILE: u64 = 1 << 2;
const PAGE_IS_PRESENT: u64 = 1 << 3;
const PAGE_IS_PFNZERO: u64 = 1 << 5;

nix::ioctl_readwrite!(pagemap_scan, b'f', 16, PmScanArg);

/// This process's page tables.
pub(crate) struct Pagemap(File);

impl Pagemap {
    /// Runs of pages that the kernel tells at a time.
    const RUNS: usize = 128;

    /// Opened before the sandbox: later nothing is.
    pub(crate) fn open() -> io::Result<Self> {
        File::open("/proc/self/pagemap").map(Self)
    }

    /// The pages of `range` that were written, as runs of addresses, by the question that the pool asks. Looks no further when
    /// there are `most` runs.
    ///
    /// # Errors
    /// Fails on a kernel without the call.
    pub(crate) fn written(&self, range: Range<usize>, most: usize) -> io::Result<Vec<Range<usize>>> {
        let mut found = Vec::new();
        let mut from = range.start as u64;
        while from < range.end as u64 && found.len() < most {
            let mut regions = [PageRegion::default(); Self::RUNS];
            let mut scan = PmScanArg {
                size: size_of::<PmScanArg>() as u64,
                start: from,
                end: range.end as u64,
                vec: regions.as_mut_ptr() as u64,
                vec_len: regions.len() as u64,
                category_inverted: PAGE_IS_PFNZERO | PAGE_IS_FILE,
                category_mask: PAGE_IS_WRITTEN | PAGE_IS_PRESENT | PAGE_IS_PFNZERO | PAGE_IS_FILE,
                return_mask: PAGE_IS_WRITTEN,
                ..PmScanArg::default()
            };
            // SAFETY: `scan` has the layout the kernel expects and says so in `size`; `vec` points to `vec_len` regions that
            // live until after the call. Of the range it only reads the page tables.
            let filled = unsafe { pagemap_scan(self.0.as_raw_fd(), &raw mut scan) }?;
            let told = regions.iter().take(usize::try_from(filled).unwrap_or(0));
            found.extend(told.map(|region| region.start as usize..region.end as usize));
            if scan.walk_end <= from {
                break;
            }
            from = scan.walk_end;
        }
        Ok(found)
    }
}

/// Asks the question about pages that were written, only read, and never touched.
fn self_test() -> Result<(), Distrust> {
    const PAGE: usize = 4096;
    const PAGES: usize = 6;
    let length = NonZeroUsize::new(PAGES * PAGE).ok_or(Distrust::WrongAnswer)?;
    // SAFETY: a new private anonymous mapping at an address of the kernel's choice aliases nothing.
    let mapping = unsafe {
        mmap_anonymous(None, length, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, MapFlags::MAP_PRIVATE)
    }
    .map_err(|error| Distrust::Unsupported(error.into()))?;
    let start = mapping.as_ptr() as usize;

    for page in [0, 1, 4] {
        // SAFETY: inside the mapping above, which is writable and ours alone.
        unsafe { mapping.cast::<u8>().add(page * PAGE).write_volatile(1) };
    }
    // SAFETY: inside the mapping above; a read of an untouched page maps the shared zero page.
    let zero = unsafe { mapping.cast::<u8>().add(2 * PAGE).read_volatile() };

    let answer = Pagemap::open().and_then(|pagemap| pagemap.written(start..start + PAGES * PAGE, PAGES));
    // SAFETY: unmaps exactly what was mapped above; no reference into it exists.
    unsafe { munmap(mapping, PAGES * PAGE) }.map_err(|error| Distrust::Unsupported(error.into()))?;

    let page_of = |address: usize| (address - start) / PAGE;
    let runs = answer.map_err(Distrust::Unsupported)?;
    let written = runs.iter().flat_map(|run| page_of(run.start)..page_of(run.end));
    if zero == 0 && written.eq([0, 1, 4]) { Ok(()) } else { Err(Distrust::WrongAnswer) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guard_answers_on_any_kernel() {
        match self_test() {
            Ok(()) | Err(Distrust::Unsupported(_)) => {}
            Err(other) => panic!("the kernel has the call and gives a wrong answer: {other}"),
        }
    }
}

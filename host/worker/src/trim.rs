//! Giving memory back: the parts of the program that only the start needed, or the first requests, and what a crowd of
//! connections has left.
//!
//! Linking and starting goes once through megabytes of a large executable, its relocations above all, and every page it
//! touched brought fifteen neighbours along. They stay mapped, and are counted, although a worker that serves needs a
//! fraction of them.

#![expect(
    unsafe_code,
    reason = "madvise on a part of our own address space, and a function of the C library"
)]

use std::ffi::c_void;
use std::ptr::NonNull;

use nix::sys::mman::{MmapAdvise, madvise};

/// Where this program's code and constants are in memory.
pub(crate) struct Program(Vec<(usize, usize)>);

impl Program {
    /// Looks it up. Nowhere, if that cannot be found out.
    pub(crate) fn mapped() -> Self {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
        let Ok(program) = std::fs::read_link("/proc/self/exe") else { return Self(Vec::new()) };
        let program = program.to_string_lossy();
        Self(maps.lines().filter_map(|line| unwritten(line, &program)).collect())
    }

    /// Unmaps its pages. Those that are needed again are found in the page cache, at the price of a minor fault each.
    pub(crate) fn trim(&self) {
        for &(start, end) in &self.0 {
            let Some(address) = NonNull::new(std::ptr::with_exposed_provenance_mut::<c_void>(start)) else {
                continue;
            };
            // SAFETY: the range is a private mapping of a file that was never writable (see `unwritten`), and stays where
            // it is while the program runs: its pages are what the file says, so dropping them loses nothing, and the next
            // access brings them back. That includes the code that runs right now.
            let _ = unsafe { madvise(address, end - start, MmapAdvise::MADV_DONTNEED) };
        }
    }
}

/// How many connections there were at most: between two looks at the clock a thousand can come and go. Each has buffers of sixteen kilobytes, which the allocator would keep for good.
#[derive(Default)]
pub(crate) struct Crowd(usize);

impl Crowd {
    /// So many make it worth the while.
    const LEAST: usize = 64;

    /// There are `count` of them now.
    pub(crate) fn has_come(&mut self, count: usize) {
        self.0 = self.0.max(count);
    }

    /// Whether most of many are gone, now that there are `count`. It is said once.
    pub(crate) fn has_left(&mut self, count: usize) -> bool {
        let left = self.0 >= Self::LEAST && count <= self.0 / 4;
        if left {
            self.0 = count;
        }
        left
    }
}

/// Gives back what the start has left, and has the allocator keep from then on what one instance needs. The tables of an
/// interpreter's functions take half a megabyte, and the allocator would get and give them back page by page for each fresh one.
pub(crate) fn keep_heap() {
    const KEPT: i32 = 1 << 20;
    trim_heap();
    // Other allocators do as they like.
    #[cfg(target_env = "gnu")]
    // SAFETY: it changes two numbers of the allocator's, under its own locks.
    unsafe {
        // The second is what larger pieces are mapped on their own for; by itself it would stay as it is once the first is set.
        nix::libc::mallopt(nix::libc::M_TRIM_THRESHOLD, KEPT);
        nix::libc::mallopt(nix::libc::M_MMAP_THRESHOLD, KEPT);
    }
}

/// Gives the kernel back what the allocator keeps for later. It takes a millisecond for some ten megabytes.
pub(crate) fn trim_heap() {
    // Other allocators do as they like.
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes the allocator's own locks, and touches only what nobody has allocated.
    unsafe {
        nix::libc::malloc_trim(0);
    }
}

/// The range of a line of `/proc/self/maps`, if it is a part of `program` that nobody ever wrote to: its code, or the
/// segment that begins with the file. Another one that is read-only now may hold what was relocated before.
fn unwritten(line: &str, program: &str) -> Option<(usize, usize)> {
    let mut fields = line.splitn(6, ' ');
    let (range, flags) = (fields.next()?, fields.next()?);
    let offset = fields.next()?;
    let path = fields.nth(2)?.trim_start();
    let never_written = flags == "r-xp" || (flags == "r--p" && offset == "00000000");
    if !never_written || path != program {
        return None;
    }
    let (start, end) = range.split_once('-')?;
    Some((usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

        /// Whoever names a file chooses a part of a line.
        #[test]
        fn any_line(line in ".{0,80}", program in ".{0,8}") {
            unwritten(&line, &program);
        }

        #[test]
        fn a_line_as_the_kernel_writes_it(start: u32, length: u32, path in "/[ -~]{0,20}", code: bool) {
            let (start, end) = (start as usize, start as usize + length as usize);
            let flags = if code { "r-xp" } else { "rw-p" };
            let line = format!("{start:08x}-{end:08x} {flags} 00001000 fe:00 123                        {path}");
            let found = unwritten(&line, &path);
            prop_assert_eq!(found, code.then_some((start, end)));
            prop_assert_eq!(unwritten(&line, "/another"), None);
        }
    }

    #[test]
    fn only_parts_of_the_program_that_nobody_writes_to_are_found() {
        let code = "55d0c000-55d0d000 r-xp 00001000 fe:00 123                        /usr/bin/app";
        assert_eq!(unwritten(code, "/usr/bin/app"), Some((0x55d0_c000, 0x55d0_d000)));
        assert_eq!(unwritten(code, "/usr/bin/other"), None);
        let first = "55d0b000-55d0c000 r--p 00000000 fe:00 123                        /usr/bin/app";
        assert_eq!(unwritten(first, "/usr/bin/app"), Some((0x55d0_b000, 0x55d0_c000)));
        for other in [
            "55d0c000-55d0d000 r--p 00001000 fe:00 123 /usr/bin/app",
            "55d0c000-55d0d000 rw-p 00000000 fe:00 123 /usr/bin/app",
            "7ffde2c97000-7ffde2c99000 r-xp 00000000 00:00 0 [vdso]",
            "7f0000000000-7f0000001000 r-xp 00000000 00:00 0",
            "",
        ] {
            assert_eq!(unwritten(other, "/usr/bin/app"), None, "{other}");
        }
    }

    #[test]
    fn a_crowd_has_left_once_when_most_of_it_is_gone() {
        let mut crowd = Crowd::default();
        let mut left = |most: usize, count: usize| {
            (1..=most).for_each(|count| crowd.has_come(count));
            crowd.has_left(count)
        };
        assert_eq!([left(60, 60), left(0, 10)], [false, false], "not worth the while");
        assert_eq!([left(300, 80), left(0, 75), left(0, 10)], [false, true, true]);
        assert_eq!([left(1_000, 0), left(0, 0)], [true, false], "nobody looked while they were there");
    }

    #[test]
    fn the_program_goes_on_without_them() {
        let program = Program::mapped();
        assert!(!program.0.is_empty());
        program.trim();
        assert_eq!(format!("{}", 2 + 2), "4");
    }
}

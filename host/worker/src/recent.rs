//! The last requests, for the day on which this worker cannot say any more what it does.

#![expect(unsafe_code, reason = "a mapping of what is shared with the supervisor")]

use std::io;
use std::num::NonZeroUsize;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};

use http::Request;
use nix::sys::mman::{MapFlags, ProtFlags, mmap};
use wasmcluster_core::recent::{SIZE, Shared, begin, end};

/// What the supervisor reads when it hears nothing any more.
pub(crate) struct RecentRequests {
    shared: &'static Shared,
    /// How many there have been.
    count: AtomicU64,
}

impl RecentRequests {
    /// In the file that the supervisor has opened for them.
    ///
    /// # Errors
    /// Fails when there is no memory for it.
    pub(crate) fn map(file: &OwnedFd) -> io::Result<Self> {
        let (read_write, shared) = (ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, MapFlags::MAP_SHARED);
        let size = NonZeroUsize::new(SIZE).ok_or(io::ErrorKind::InvalidInput)?;
        // SAFETY: the kernel chooses a place where nothing is.
        let address = unsafe { mmap(None, size, read_write, shared, file, 0) }?;
        // SAFETY: the mapping begins with a page, which is aligned for words; the supervisor has made the file as long as
        // `Shared` and sealed its length; nobody unmaps it, so it lives as long as the process. Words that any bit pattern is
        // valid for are all that is in it, and both sides touch them atomically or, for the supervisor, by reading the file.
        let shared = unsafe { address.cast::<Shared>().as_ref() };
        Ok(Self { shared, count: AtomicU64::new(0) })
    }

    /// Remembers a request. Its number is for [`ended`](Self::ended).
    pub(crate) fn began<B>(&self, request: &Request<B>) -> u64 {
        let number = self.count.fetch_add(1, Ordering::Relaxed) + 1;
        begin(self.shared, number, request.method().as_str(), request.uri().path());
        number
    }

    /// The request was answered, or there is nobody left to answer.
    pub(crate) fn ended(&self, number: u64) {
        end(self.shared, number);
    }
}

//! Guests of a few instructions, for what no compiler makes of a source. They are of 0.2.

use super::guests::serve;
use crate::support::{Server, Starting};

/// What such a guest does, each as instructions in text. `$answer` sends a response that is complete, of a status.
#[derive(Default)]
pub(super) struct Guest<'a> {
    /// With `$request` and `$out`.
    pub(super) handle: &'a str,
    /// When the host has taken what `handle` returned.
    pub(super) post_return: &'a str,
    /// When a resource of its own is dropped: `$new` makes one, and `$drop` drops it.
    pub(super) dtor: &'a str,
    /// Its memories, as they are declared. There is another one to be imported: `errors` of `host`.
    pub(super) memories: &'a str,
}

impl Guest<'_> {
    /// Serves it, in one worker.
    #[track_caller]
    pub(super) fn start(&self, args: &[&str]) -> Server {
        let text = format!(
            include_str!("answering.wat"),
            dtor = self.dtor,
            memories = self.memories,
            handle = self.handle,
            post_return = self.post_return,
        );
        Starting::of(serve(wat::parse_str(text).unwrap()).args(args)).start()
    }
}

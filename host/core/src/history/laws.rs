//! What holds for whatever a history on a disk says.

use std::collections::BTreeSet;

use super::{Entry, Fate, History, Way};
use crate::record::Stamp;

/// Any entries can be gone on with: the next number is one that there was not, what is begun is remembered, what serves is not
/// forgotten, and no component is given up that an entry stands for.
pub fn any_entries_are_gone_on_with(entries: &[Entry]) {
    for limit in [1, 2, 50] {
        let mut history = History::resume(entries.to_vec(), limit);
        assert!(history.entries().iter().all(|entry| !matches!(entry.fate, Fate::Rolling | Fate::Serving)));
        for _ in 0..3 {
            let generation = history.next();
            assert!(history.entries().iter().all(|entry| entry.generation < generation));
            let before: BTreeSet<_> = digests(&history);
            let forgotten = history.begin(Entry {
                generation,
                component: "new.wasm".into(),
                digest: "new".into(),
                bytes: 1,
                at: Stamp(0),
                way: Way::Push,
                fate: Fate::Rolling,
            });
            assert_eq!(history.entries().last().map(|entry| entry.generation), Some(generation));
            assert!(
                history.entries().len() <= limit.max(3),
                "only what is needed is remembered beyond the limit"
            );
            let left = digests(&history);
            assert!(forgotten.iter().all(|digest| !left.contains(digest)));
            assert!(before.iter().all(|digest| left.contains(digest) || forgotten.contains(digest)));
        }
    }
}

fn digests(history: &History) -> BTreeSet<String> {
    history.entries().iter().map(|entry| entry.digest.clone()).collect()
}

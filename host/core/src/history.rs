//! The generations that an app had: what each was made of, and what became of it.
//!
//! Pure, as everything here: the supervisor reads a history from its disk, lets it take note of what happens, and writes
//! it down again.

use serde::{Deserialize, Serialize};

use crate::cluster::{Abort, Generation, Notice};
use crate::record::Stamp;

/// One generation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its number.
    pub generation: Generation,
    /// What its component was called, e.g. the path that somebody typed.
    pub component: String,
    /// SHA-256 of the component's bytes, in lower-case hexadecimal.
    pub digest: String,
    /// The size of the component.
    pub bytes: u64,
    /// When it was built.
    pub at: Stamp,
    /// How it came.
    #[serde(flatten)]
    pub way: Way,
    /// What became of it.
    #[serde(flatten)]
    pub fate: Fate,
}

/// How a generation came to be wanted.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "way", rename_all = "snake_case")]
pub enum Way {
    /// The supervisor started with it.
    Start,
    /// Somebody pushed it.
    Push,
    /// It is what the app's own component was when somebody asked to look again.
    Reload,
    /// It is what became of the app's own component, and that was noticed.
    Watch,
    /// It is the one before under another version of wasmcluster.
    Upgrade,
    /// It is an older one once more.
    Rollback {
        /// Which one.
        to: Generation,
    },
}

/// What became of a generation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "fate", rename_all = "snake_case")]
pub enum Fate {
    /// It is on its way into the slots.
    Rolling,
    /// Every slot serves it, or did until one of its workers went down.
    Serving,
    /// It served in every slot until another one did, or until its supervisor ended.
    Served,
    /// It never served in every slot.
    GivenUp {
        /// Why not.
        #[serde(flatten)]
        abort: Abort,
    },
}

/// Why there is nothing to roll back to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoTarget {
    /// Nothing else has served.
    #[error("there is nothing to roll back to: no other component has served before generation {0}")]
    Nothing(Generation),
    /// It is not there, or not any more.
    #[error("generation `{0}` is not in the history")]
    Unknown(Generation),
}

/// Nobody has counted so far. As many are left.
const HIGHEST: Generation = Generation(u64::MAX / 2);

/// All generations that are remembered, oldest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    entries: Vec<Entry>,
    /// How many are remembered, besides those that are needed.
    limit: usize,
}

impl History {
    /// What is known of the supervisors before this one, of which none runs any more. What has a number that none of them can
    /// have come to is not theirs: behind it there would soon be no numbers left.
    #[must_use]
    pub fn resume(mut entries: Vec<Entry>, limit: usize) -> Self {
        entries.retain(|entry| entry.generation <= HIGHEST);
        for entry in &mut entries {
            match entry.fate {
                Fate::Rolling => entry.fate = Fate::GivenUp { abort: Abort::Stopping },
                Fate::Serving => entry.fate = Fate::Served,
                Fate::Served | Fate::GivenUp { .. } => {}
            }
        }
        entries.sort_by_key(|entry| entry.generation);
        Self { entries, limit }
    }

    /// What is known of a supervisor in whose place another program goes on.
    #[must_use]
    pub fn go_on(entries: Vec<Entry>, limit: usize) -> Self {
        Self { entries, limit }
    }

    /// All entries, oldest first.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The number of the next generation.
    #[must_use]
    pub fn next(&self) -> Generation {
        self.entries.last().map_or(Generation::FIRST, |last| last.generation.next())
    }

    /// Remembers a generation, and forgets what is too old for that. Returns the digests of the components that nothing
    /// here stands for any more.
    pub fn begin(&mut self, entry: Entry) -> Vec<String> {
        self.entries.push(entry);
        let mut forgotten = Vec::new();
        while self.entries.len() > self.limit {
            // The newest is needed, too, or there would be nothing to take note of.
            let needed = [self.entries.last().map(|entry| entry.generation), self.serving()];
            let target = self.serving().and_then(|serving| Some(self.previous(serving)?.generation));
            let is_needed = |entry: &Entry| {
                let generation = Some(entry.generation);
                needed.contains(&generation) || target == generation
            };
            let Some(oldest) = self.entries.iter().position(|entry| !is_needed(entry)) else { break };
            forgotten.push(self.entries.remove(oldest).digest);
        }
        forgotten.retain(|digest| self.entries.iter().all(|entry| entry.digest != *digest));
        forgotten
    }

    /// Takes note of what happened. Says whether anything changed.
    pub fn note(&mut self, notice: &Notice) -> bool {
        match notice {
            Notice::AllServing => {
                let serves = |entry: &&mut Entry| entry.way == Way::Start && entry.fate == Fate::Rolling;
                self.entries.iter_mut().rev().find(serves).map(|entry| entry.fate = Fate::Serving).is_some()
            }
            Notice::RolloutDone { generation, .. } => {
                for entry in &mut self.entries {
                    match entry.fate {
                        _ if entry.generation == *generation => entry.fate = Fate::Serving,
                        Fate::Serving => entry.fate = Fate::Served,
                        // The one that everything began with, and that never got as far.
                        Fate::Rolling => {
                            entry.fate = Fate::GivenUp { abort: Abort::Superseded { by: *generation } };
                        }
                        Fate::Served | Fate::GivenUp { .. } => {}
                    }
                }
                true
            }
            Notice::RolloutAborted { generation, abort } => self.give_up(*generation, abort.clone()),
            Notice::GenerationRejected { generation, reason } => {
                self.give_up(*generation, Abort::Refused { reason: reason.clone() })
            }
            _ => false,
        }
    }

    fn give_up(&mut self, generation: Generation, abort: Abort) -> bool {
        let rolling = |entry: &&mut Entry| entry.generation == generation && entry.fate == Fate::Rolling;
        self.entries.iter_mut().find(rolling).map(|entry| entry.fate = Fate::GivenUp { abort }).is_some()
    }

    /// What a rollback leads to, while `serving` serves: the one that is asked for, or the last one that served before and
    /// is something else. A restart has the same component again under another number, and that is nothing to go back to.
    ///
    /// # Errors
    /// Fails when there is no such generation.
    pub fn target(&self, asked: Option<Generation>, serving: Generation) -> Result<&Entry, NoTarget> {
        match asked {
            Some(asked) => self.entry(asked).ok_or(NoTarget::Unknown(asked)),
            None => self.previous(serving).ok_or(NoTarget::Nothing(serving)),
        }
    }

    fn entry(&self, generation: Generation) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.generation == generation)
    }

    fn serving(&self) -> Option<Generation> {
        self.entries.iter().rev().find(|entry| entry.fate == Fate::Serving).map(|entry| entry.generation)
    }

    fn previous(&self, serving: Generation) -> Option<&Entry> {
        let digest = self.entry(serving).map(|entry| &entry.digest);
        self.entries.iter().rev().find(|entry| {
            entry.generation < serving && entry.fate == Fate::Served && Some(&entry.digest) != digest
        })
    }
}

#[cfg(any(test, fuzzing))]
pub mod laws;
#[cfg(test)]
mod tests {
    use core::time::Duration;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::laws::cases;

    fn entries() -> impl Strategy<Value = Vec<Entry>> {
        let number = prop_oneof![4 => 0..10_u64, 1 => any::<u64>(), 1 => u64::MAX - 2..=u64::MAX];
        let ways = [Way::Start, Way::Push, Way::Rollback { to: Generation(1) }];
        let fates = [Fate::Rolling, Fate::Serving, Fate::Served, Fate::GivenUp { abort: Abort::Stopping }];
        let ways = (0..ways.len()).prop_map(move |way| ways[way]);
        let fates = (0..fates.len()).prop_map(move |fate| fates[fate].clone());
        let one = (number, "[a-d]", ways, fates);
        vec(one.prop_map(|(number, digest, way, fate)| Entry { fate, ..entry(number, &digest, way) }), ..8)
    }

    proptest! {
        #![proptest_config(cases(256))]

        #[test]
        fn any_entries(entries in entries()) {
            laws::any_entries_are_gone_on_with(&entries);
        }
    }

    fn entry(generation: u64, digest: &str, way: Way) -> Entry {
        Entry {
            generation: Generation(generation),
            component: format!("{digest}.wasm"),
            digest: digest.into(),
            bytes: 1,
            at: Stamp(generation),
            way,
            fate: Fate::Rolling,
        }
    }

    /// A history in which each of `digests` has served, one after the other.
    fn served(digests: &[&str], limit: usize) -> History {
        let mut history = History::resume(Vec::new(), limit);
        for digest in digests {
            serve(&mut history, digest);
        }
        history
    }

    fn serve(history: &mut History, digest: &str) {
        let generation = history.next();
        if generation == Generation::FIRST {
            history.begin(entry(1, digest, Way::Start));
            assert!(history.note(&Notice::AllServing));
        } else {
            history.begin(entry(generation.0, digest, Way::Push));
            assert!(history.note(&Notice::RolloutDone { generation, took: Duration::ZERO }));
        }
    }

    fn fail(history: &mut History, digest: &str) -> Vec<String> {
        let generation = history.next();
        let forgotten = history.begin(entry(generation.0, digest, Way::Push));
        let abort = Abort::Refused { reason: "no".into() };
        assert!(history.note(&Notice::RolloutAborted { generation, abort }));
        forgotten
    }

    fn numbers(history: &History) -> Vec<u64> {
        history.entries().iter().map(|entry| entry.generation.0).collect()
    }

    fn target(history: &History, serving: u64) -> Option<u64> {
        history.target(None, Generation(serving)).ok().map(|entry| entry.generation.0)
    }

    #[test]
    fn numbers_go_on_after_a_restart() {
        let history = served(&["a", "b"], 10);
        let again = History::resume(history.entries().to_vec(), 10);
        assert_eq!(again.next(), Generation(3));
        assert!(again.entries().iter().all(|entry| entry.fate == Fate::Served));
    }

    #[test]
    fn a_number_that_nobody_counts_up_to_is_not_gone_on_with() {
        let entries = vec![entry(1, "a", Way::Start), entry(u64::MAX, "b", Way::Push)];
        let history = History::resume(entries, 10);
        assert_eq!(numbers(&history), [1]);
        assert_eq!(history.next(), Generation(2));
    }

    #[test]
    fn what_was_under_way_at_the_end_was_given_up() {
        let mut history = served(&["a"], 10);
        history.begin(entry(2, "b", Way::Push));
        let again = History::resume(history.entries().to_vec(), 10);
        assert_eq!(again.entries()[1].fate, Fate::GivenUp { abort: Abort::Stopping });
    }

    #[test]
    fn a_rollback_goes_to_the_last_other_component_that_served() {
        let mut history = served(&["a", "b", "b"], 10);
        assert_eq!(target(&history, 3), Some(1), "the same again is nothing to go back to");
        assert_eq!(target(&history, 1), None);
        fail(&mut history, "c");
        assert_eq!(target(&history, 3), Some(1), "what never served is not");
        serve(&mut history, "a");
        assert_eq!(target(&history, 5), Some(3));
    }

    #[test]
    fn a_rollback_to_a_number_goes_there() {
        let mut history = served(&["a", "b"], 10);
        fail(&mut history, "c");
        let to =
            |number| history.target(Some(Generation(number)), Generation(2)).map(|entry| entry.generation.0);
        assert_eq!(to(3), Ok(3));
        assert_eq!(to(1), Ok(1));
        assert_eq!(to(4), Err(NoTarget::Unknown(Generation(4))));
        assert_eq!(to(0), Err(NoTarget::Unknown(Generation(0))));
    }

    #[test]
    fn the_oldest_are_forgotten_with_their_components() {
        let mut history = served(&["a", "b", "a"], 3);
        assert_eq!(history.begin(entry(4, "c", Way::Push)), Vec::<String>::new(), "3 is the same");
        assert_eq!(numbers(&history), [2, 3, 4]);
        history.note(&Notice::RolloutDone { generation: Generation(4), took: Duration::ZERO });
        assert_eq!(history.begin(entry(5, "d", Way::Push)), ["b"]);
        assert_eq!(numbers(&history), [3, 4, 5]);
        assert_eq!(history.next(), Generation(6));
    }

    #[test]
    fn what_serves_and_what_a_rollback_needs_are_never_forgotten() {
        let mut history = served(&["a", "b"], 1);
        assert_eq!(fail(&mut history, "c"), Vec::<String>::new());
        assert_eq!(fail(&mut history, "d"), ["c"]);
        assert_eq!(numbers(&history), [1, 2, 4]);
        assert_eq!(target(&history, 2), Some(1));
    }

    #[test]
    fn a_first_generation_that_never_served_is_nothing_to_return_to() {
        let mut history = History::resume(Vec::new(), 10);
        history.begin(entry(1, "a", Way::Start));
        serve(&mut history, "b");
        assert_eq!(
            history.entries()[0].fate,
            Fate::GivenUp { abort: Abort::Superseded { by: Generation(2) } }
        );
        assert_eq!(target(&history, 2), None);
    }

    #[test]
    fn entries_are_read_as_they_are_written() {
        let mut history = served(&["a"], 10);
        fail(&mut history, "b");
        history.begin(entry(3, "a", Way::Rollback { to: Generation(1) }));
        let text = serde_json::to_string(history.entries()).expect("plain data");
        assert!(text.contains(r#""way":"rollback","to":1,"fate":"rolling""#), "{text}");
        assert_eq!(serde_json::from_str::<Vec<Entry>>(&text).expect("as written"), history.entries());
    }
}

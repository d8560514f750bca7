//! What there is of everything that could be left behind.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::Path;

use super::ends::workers;
use super::{APP, HISTORY, INSTANCES};
use crate::support::{Server, descendants, descriptors, proportional_memory, resident_memory, zombies};

/// What the memory of the supervisor may grow by. It keeps the end of its log, which is bounded by 512 kB of text and
/// 1,000 records, and allocators keep what was once needed.
const SUPERVISOR: u64 = 6 << 20;

/// What a worker may be larger by than those that served good traffic alone: by what its pool of instances keeps of those
/// that it had at once, and not by the 48 MiB of one that took all it could.
const WORKER: u64 = 16 << 20;

/// Everything at one moment.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Left {
    processes: usize,
    zombies: usize,
    /// Of the supervisor, by what they are.
    descriptors: BTreeMap<String, usize>,
    threads: usize,
    supervisor_memory: u64,
    /// Of the largest.
    worker_memory: u64,
    /// Of the largest.
    worker_descriptors: usize,
    /// In the run, cache and working directories.
    files: BTreeSet<String>,
    /// Components in the state directory.
    components: usize,
}

impl Left {
    pub(super) fn of(server: &Server) -> Self {
        let (pid, place) = (server.pid(), server.place());
        let workers = workers(server);
        let most =
            |of: &dyn Fn(u32) -> u64| workers.iter().map(|&worker| of(worker)).max().unwrap_or_default();
        let state = format!("home/.local/state/wasmcluster/{APP}/components/");
        let (components, files) =
            tree(place).into_iter().partition::<BTreeSet<_>, _>(|name| name.starts_with(&state));
        Self {
            processes: descendants(pid).len(),
            zombies: zombies(pid).len(),
            descriptors: descriptors(pid),
            threads: fs::read_dir(format!("/proc/{pid}/task")).unwrap().count(),
            supervisor_memory: resident_memory(pid),
            worker_memory: most(&|worker| proportional_memory(worker).unwrap_or_default()),
            worker_descriptors: usize::try_from(most(&|worker| {
                descriptors(worker).values().sum::<usize>() as u64
            }))
            .unwrap(),
            files,
            components: components.len(),
        }
    }

    /// What there is more than before, in words; nothing is best.
    pub(super) fn more_than(&self, before: &Self) -> Vec<String> {
        let mut found = Vec::new();
        let mut expect = |holds: bool, what: String| {
            if !holds {
                found.push(what);
            }
        };
        expect(self.processes == INSTANCES, format!("{} processes", self.processes));
        expect(self.zombies == 0, format!("{} zombies", self.zombies));
        expect(
            self.descriptors == before.descriptors,
            format!("descriptors {:?}, before {:?}", self.descriptors, before.descriptors),
        );
        expect(
            self.threads <= before.threads,
            format!("{} threads, before {}", self.threads, before.threads),
        );
        expect(
            self.supervisor_memory < before.supervisor_memory + SUPERVISOR,
            format!("supervisor {}, before {}", Size(self.supervisor_memory), Size(before.supervisor_memory)),
        );
        expect(
            self.worker_memory < before.worker_memory + WORKER,
            format!("worker {}, before {}", Size(self.worker_memory), Size(before.worker_memory)),
        );
        expect(
            self.worker_descriptors <= before.worker_descriptors,
            format!(
                "{} descriptors of a worker, before {}",
                self.worker_descriptors, before.worker_descriptors
            ),
        );
        let new: Vec<_> = self.files.symmetric_difference(&before.files).collect();
        expect(new.is_empty(), format!("files {new:?}"));
        expect(self.components <= HISTORY, format!("{} components", self.components));
        found
    }
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} | {} | {} | {} | {} | {} | {} | {} | {}",
            self.processes,
            self.zombies,
            self.descriptors.values().sum::<usize>(),
            self.threads,
            Size(self.supervisor_memory),
            Size(self.worker_memory),
            self.worker_descriptors,
            self.files.len(),
            self.components
        )
    }
}

/// Bytes, for people.
struct Size(u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} MB", self.0 as f64 / 1e6)
    }
}

/// Everything below a directory, by its path there.
fn tree(directory: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut next = vec![directory.to_owned()];
    while let Some(at) = next.pop() {
        for path in fs::read_dir(at).into_iter().flatten().flatten().map(|entry| entry.path()) {
            found.insert(path.strip_prefix(directory).unwrap().to_string_lossy().into_owned());
            if path.is_dir() && !path.is_symlink() {
                next.push(path);
            }
        }
    }
    found
}

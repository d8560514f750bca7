//! Core dumps of guests, as workers have them.

use core::time::Duration;

use wasmcluster_core::cluster::{Slot, Worker, WorkerId};
use wasmcluster_core::message::ToWorker;
use wasmcluster_core::record::Record;

use super::{Placed, Supervisor};
use crate::coredump::{Kept, Lost, Place};
use crate::history::now;

/// How long it is from one of a worker's to its next. While a worker collects one it does nothing else.
const REST: Duration = Duration::from_secs(10);

/// What a dump may have besides memory: globals, the stack, and names.
const BESIDES_MEMORY: u64 = 16 << 20;

/// What was waited for.
#[derive(Debug)]
pub(super) enum Dumped {
    /// A worker has written one.
    Arrived(WorkerId, Result<Kept, Lost>),
    /// A worker may write another one.
    Rested(WorkerId),
    /// A worker has ended.
    Never,
}

impl<R: FnMut(Record)> Supervisor<R> {
    /// Lets a worker that serves write its next core dump, if they are wanted. Before, it does not expect a descriptor.
    pub(super) fn expect_dump(&mut self, worker: WorkerId) {
        let mut workers = self.cluster.slots().iter().flat_map(Slot::workers);
        let serving = workers.find(|other| other.id() == worker && other.is_serving());
        let Some(generation) = serving.map(Worker::generation) else { return };
        let Some(Placed { slot, handle }) = self.workers.get(&worker) else { return };
        let Some(build) = self.builds.get(&generation) else { return };
        let Some(directory) = build.guest.coredump.clone() else { return };
        let memory = build.guest.limits.memory_size.saturating_mul(build.built.needs.memories.max(1).into());
        let place = Place {
            directory,
            name: format!("generation-{generation}-slot-{slot}-{}", now().0),
            // Each page has a few bytes of its own.
            most: (memory + memory / 64).saturating_add(BESIDES_MEMORY),
        };
        // Without descriptors to spare there are none.
        if let Ok((pipe, kept)) = place.wait() {
            handle.tell_with(ToWorker::Dump, pipe);
            self.dumps
                .spawn(async move { kept.await.map_or(Dumped::Never, |kept| Dumped::Arrived(worker, kept)) });
        }
    }

    pub(super) fn dumped(&mut self, dumped: Dumped) {
        match dumped {
            Dumped::Arrived(worker, kept) => {
                self.say_dumped(worker, kept);
                self.dumps.spawn(async move {
                    tokio::time::sleep(REST).await;
                    Dumped::Rested(worker)
                });
            }
            Dumped::Rested(worker) => self.expect_dump(worker),
            Dumped::Never => {}
        }
    }

    fn say_dumped(&mut self, worker: WorkerId, kept: Result<Kept, Lost>) {
        let Some(&Placed { slot, ref handle }) = self.workers.get(&worker) else { return };
        let pid = handle.pid;
        (self.means.records)(match kept {
            Ok(Kept { file, bytes }) => {
                Record::CoreDumped { slot, pid, file: file.to_string_lossy().into_owned(), bytes }
            }
            Err(lost) => Record::CoreDumpFailed {
                slot,
                pid,
                message: lost.to_string(),
                hint: lost.hint().map(Into::into),
            },
        });
    }
}

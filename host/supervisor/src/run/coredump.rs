//! Core dumps of guests, as workers have them.

use core::time::Duration;
use std::io;
use std::os::fd::OwnedFd;

use wasmcluster_core::cluster::{Generation, Slot, SlotId, Worker, WorkerId};
use wasmcluster_core::message::ToWorker;
use wasmcluster_core::record::Record;

use super::{Placed, Supervisor};
use crate::coredump::{Arriving, Kept, Lost, Place};
use crate::history::now;

/// How long it is from one of a worker's to its next. While a worker collects one it does nothing else.
const REST: Duration = Duration::from_secs(10);

/// What a dump may have besides memory: globals, the stack, and names.
const BESIDES_MEMORY: u64 = 16 << 20;

/// What was waited for.
#[derive(Debug)]
pub(super) enum Dumped {
    /// A worker writes one.
    Began(WorkerId, Arriving),
    /// It has.
    Arrived(WorkerId, Result<Kept, Lost>),
    /// A worker may write another one.
    Rested(WorkerId),
    /// A worker has ended.
    Never,
}

impl Supervisor<'_> {
    /// The end of a pipe for the next core dump of a worker, if they are wanted.
    ///
    /// # Errors
    /// Fails when there is no descriptor to spare.
    pub(super) fn next_dump(
        &mut self,
        worker: WorkerId,
        (slot, generation): (SlotId, Generation),
    ) -> io::Result<Option<OwnedFd>> {
        let guest = self.builds.get(&generation).map(|build| &build.guest);
        let Some((directory, limits)) = guest.and_then(|guest| Some((guest.coredump.clone()?, guest.limits)))
        else {
            return Ok(None);
        };
        let place = Place {
            directory,
            name: format!("generation-{generation}-slot-{slot}-{}", now().0),
            // Each page has a few bytes of its own.
            most: (limits.memory_size + limits.memory_size / 64).saturating_add(BESIDES_MEMORY),
        };
        let (pipe, arriving) = place.wait()?;
        self.dumps.spawn(async move {
            arriving.await.map_or(Dumped::Never, |arriving| Dumped::Began(worker, arriving))
        });
        Ok(Some(pipe))
    }

    /// Lets a worker that serves write another core dump. Before, it does not expect a descriptor.
    pub(super) fn expect_dump(&mut self, worker: WorkerId) {
        let mut workers = self.cluster.slots().iter().flat_map(Slot::workers);
        let serving = workers.find(|other| other.id() == worker && other.is_serving());
        let Some(generation) = serving.map(Worker::generation) else { return };
        let Some(slot) = self.workers.get(&worker).map(|placed| placed.slot) else { return };
        // Without descriptors to spare there are no more of it.
        let Ok(Some(pipe)) = self.next_dump(worker, (slot, generation)) else { return };
        if let Some(placed) = self.workers.get(&worker) {
            placed.handle.tell_with(ToWorker::Dump, pipe);
        }
    }

    pub(super) fn dumped(&mut self, dumped: Dumped) {
        match dumped {
            Dumped::Began(worker, arriving) => {
                self.dumping += 1;
                self.dumps.spawn(async move { Dumped::Arrived(worker, arriving.keep().await) });
            }
            Dumped::Arrived(worker, kept) => {
                self.dumping -= 1;
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

    /// Says which of them nobody will read any more, because another program goes on.
    pub(super) fn lose_dumps(&mut self) {
        while let Some(dumped) = self.dumps.try_join_next() {
            if let Ok(Dumped::Began(worker, _)) = dumped {
                self.say_dumped(worker, Err(Lost::Upgraded));
            }
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

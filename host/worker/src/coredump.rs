//! Core dumps of guests that trap: their memory and their stack, for a debugger.
//!
//! A worker opens no file. It begins with the end of a pipe, whose other end is the supervisor's to read, and is given another
//! one when that is ready for more. So where dumps go, how large they may be and how many there are is not for a worker to say.

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use wasmcluster_core::message::ReportKind;
use wasmtime::{Store, WasmCoreDump};
use wasmtime_wasi::I32Exit;

use crate::reports::Reports;

/// What the dump says that it is of.
const NAME: &str = "component";

/// Where the next core dump goes, if one is wanted.
#[derive(Clone, Default)]
pub(crate) struct NextDump {
    pipe: Arc<Mutex<Option<OwnedFd>>>,
    /// Held while one is being written.
    writing: Arc<tokio::sync::Mutex<()>>,
}

impl NextDump {
    /// Has the next one written to `pipe`.
    pub(crate) fn goes_to(&self, pipe: OwnedFd) {
        *self.lock() = Some(pipe);
    }

    /// Keeps what there is to see in `store` after `error`, if that is wanted. Collecting it takes the time of reading all of
    /// the guest's memory; writing it happens elsewhere.
    pub(crate) fn keep<T: 'static>(&self, store: &mut Store<T>, error: &wasmtime::Error, reports: &Reports) {
        let Some(dump) = error.downcast_ref::<WasmCoreDump>() else { return };
        // It ended as it wanted to.
        if error.is::<I32Exit>() {
            return;
        }
        let Some(pipe) = self.lock().take() else { return };
        let Some(bytes) = serialize(dump, store) else {
            let message =
                "the engine cannot write core dumps of a component that was put together from others";
            return reports.say(ReportKind::Worker, message, None);
        };
        // The supervisor gives the next pipe when it has read from this one.
        let writing = Arc::clone(&self.writing).try_lock_owned();
        tokio::task::spawn_blocking(move || {
            let _writing = writing;
            let mut pipe = File::from(pipe);
            // Whoever does not want it any more has closed the other end.
            let length = (bytes.len() as u64).to_le_bytes();
            pipe.write_all(&length).and_then(|()| pipe.write_all(&bytes))
        });
    }

    /// Returns when none is being written.
    pub(crate) async fn written(&self) {
        drop(self.writing.lock().await);
    }

    fn lock(&self) -> MutexGuard<'_, Option<OwnedFd>> {
        self.pipe.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The dump as a file. The engine panics over the globals by which components that were put together guard each other: that is to
/// end nothing, and who reads the log is told in words.
fn serialize<T: 'static>(dump: &WasmCoreDump, store: &mut Store<T>) -> Option<Vec<u8>> {
    let told = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    // The store is dropped with its guest.
    let bytes = catch_unwind(AssertUnwindSafe(|| dump.serialize(store, NAME)));
    panic::set_hook(told);
    bytes.ok()
}

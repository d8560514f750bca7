//! Starting the program, asking it, and finding out what it left behind.
//!
//! Nothing in here waits for a time to pass: what takes a while is polled by [`eventually`], or announced by a line.

mod client;
mod elsewhere;
pub(crate) mod frames;
mod handler;
#[cfg(target_arch = "x86_64")]
pub(crate) mod intruder;
mod load;
mod network;
mod output;
mod process;
mod program;
mod raw;
mod server;

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

pub(crate) use self::client::{Answer, Body, Connection, block_on};
pub(crate) use self::elsewhere::Elsewhere;
pub(crate) use self::handler::{handler, handler_around, handler_with};
pub(crate) use self::load::{Kind, Load, Loss, Outcome, Running as RunningLoad};
pub(crate) use self::network::{Network, PUBLIC};
pub(crate) use self::output::Output;
pub(crate) use self::process::{
    abstract_sockets, alive, catches, children, computed, connections, descendants, descriptors,
    descriptors_under_way, faults, listeners, listens, name_of, open_files, peak_memory, proportional_memory,
    resident_memory, running_in, signal, sockets_to_processes, stop, try_stop, zombies,
};
pub(crate) use self::program::{Finished, Program, binary, expect_gone, program};
pub(crate) use self::raw::{RawClient, Response};
pub(crate) use self::server::{Server, Starting};

/// What any wait may take. Far more than it does: a loaded machine is no failure.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Polls until `found` has something, or fails in the words of `what`.
#[track_caller]
pub(crate) fn eventually<T>(what: &str, found: impl FnMut() -> Option<T>) -> T {
    within(PATIENCE, what, found)
}

/// [`eventually`], where the time is part of the promise.
#[track_caller]
pub(crate) fn within<T>(time: Duration, what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + time;
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {time:?}: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// A component by its name: `zoo-p2`, `example-hello`, `demo`.
pub(crate) fn component(name: &str) -> PathBuf {
    let file = format!("{name}.wasm");
    let path = match (std::env::var_os("WASMCLUSTER_TEST_COMPONENTS"), name) {
        (Some(built), _) => PathBuf::from(built).join(file),
        (None, "demo") => repository("host/demo").join(file),
        (None, _) => repository("tests/guests/prebuilt").join(file),
    };
    assert!(path.is_file(), "there is no component {}", path.display());
    path
}

/// A path within this repository.
pub(crate) fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// A cache of compiled code for all tests of this run that are not about the cache: each component is compiled once.
pub(crate) fn shared_cache() -> &'static Path {
    static SHARED: OnceLock<PathBuf> = OnceLock::new();
    SHARED.get_or_init(|| {
        const PREFIX: &str = "cache-of-";
        let parent = Path::new(env!("CARGO_TARGET_TMPDIR"));
        // There is no moment after the last test, so each run clears up after those before it.
        for entry in fs::read_dir(parent).unwrap().flatten() {
            let name = entry.file_name();
            let owner = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.parse().ok());
            if owner.is_some_and(|pid| !alive(pid)) {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
        let own = parent.join(format!("{PREFIX}{}", std::process::id()));
        let _ = fs::remove_dir_all(&own);
        DirBuilder::new().mode(0o700).create(&own).unwrap();
        own
    })
}

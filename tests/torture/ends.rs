//! Workers that are killed, and what goes with them.
//!
//! A worker that is killed loses what it has in hand on its own connections, which no server can help. So that nothing
//! else hides behind that, each is stopped first, and the kernel asked which connections it has: a request may be lost on
//! one of these, and on no other.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;
use nix::sys::signal::Signal::{self, SIGABRT, SIGCONT, SIGKILL, SIGSEGV};

use super::tally::{Run, Seen};
use super::{INSTANCES, World};
use crate::support::{Server, alive, catches, children, connections, eventually, name_of, signal, try_stop};

/// How long after a worker's end its clients may hear of it: not at once, on a machine that is busy.
const NEWS: Duration = Duration::from_secs(3);

/// The end of one worker.
struct End {
    pid: u32,
    /// From when on it served nobody.
    from: Instant,
    until: Instant,
    /// Its connections, by the clients' ports.
    held: BTreeSet<u16>,
}

/// All ends so far.
#[derive(Default)]
pub(super) struct Ends {
    over: Mutex<Vec<End>>,
    /// How many began, those that are over among them.
    begun: AtomicUsize,
}

impl Ends {
    /// Whether a request that was lost on this connection, as was known at this time, went with its worker.
    pub(super) fn excuse(&self, at: Instant, local: Option<SocketAddr>) -> bool {
        let Some(local) = local else { return false };
        let ends = self.over.lock().unwrap();
        ends.iter().any(|end| (end.from..=end.until + NEWS).contains(&at) && end.held.contains(&local.port()))
    }

    /// For messages: which worker ended last before this time, and how long before.
    pub(super) fn last_before(&self, at: Instant) -> String {
        let ends = self.over.lock().unwrap();
        let last = ends.iter().rev().find(|end| end.from <= at);
        last.map_or("before any worker's end".into(), |End { pid, from, until, .. }| {
            format!("{:.1?} after {pid} was stopped, which ended within {:.1?}", at - *from, *until - *from)
        })
    }

    pub(super) fn count(&self) -> usize {
        self.over.lock().unwrap().len()
    }

    /// Whether a worker ended since so many had, or is about to.
    pub(super) fn since(&self, count: usize) -> bool {
        self.begun.load(Ordering::Relaxed) > count
    }

    /// How many connections the workers had that were killed, hostile ones among them.
    pub(super) fn connections(&self) -> usize {
        self.over.lock().unwrap().iter().map(|end| end.held.len()).sum()
    }

    pub(super) fn pids(&self) -> BTreeSet<u32> {
        self.over.lock().unwrap().iter().map(|end| end.pid).collect()
    }
}

/// Everybody who serves, or did and drains: by their names, since builders are children, too.
pub(super) fn workers(server: &Server) -> Vec<u32> {
    let is_worker = |pid: &u32| name_of(*pid).is_some_and(|name| name.starts_with("wasmcluster/"));
    children(server.pid()).into_iter().filter(is_worker).collect()
}

/// How they end; None is by their supervisor, which takes them for stuck.
const WAYS: [(&str, Option<Signal>); 4] = [
    ("a worker is stopped until it is taken for stuck", None),
    ("a worker is ended by SIGSEGV", Some(SIGSEGV)),
    ("a worker is ended by SIGABRT", Some(SIGABRT)),
    ("a worker is ended by SIGKILL", Some(SIGKILL)),
];

/// Kills one worker after the other, in one way or another.
pub(super) fn kill(world: &World<'_>, mut rng: Rng) {
    while world.goes_on() {
        thread::sleep(Duration::from_millis(rng.u64(500..2500)));
        let Some(pid) = rng.choice(workers(world.server)) else { continue };
        let from = Instant::now();
        let (name, how) = *rng.choice(WAYS.iter()).expect("some");
        if !try_stop(pid) {
            // It went by itself.
            continue;
        }
        world.ends.begun.fetch_add(1, Ordering::Relaxed);
        let mut held = connections(world.server.addr, pid);
        if how == Some(SIGSEGV) {
            // The first one is for handlers. In the middle of a guest's code they abort; else they leave the next one to
            // the kernel, and it goes on meanwhile.
            signal(pid, SIGSEGV);
            signal(pid, SIGCONT);
            eventually("its handlers gave up", || (!catches(pid, SIGSEGV)).then_some(()));
            if try_stop(pid) {
                held.extend(connections(world.server.addr, pid));
            }
        }
        if let Some(how) = how {
            signal(pid, how);
            signal(pid, SIGCONT);
        }
        eventually("its end", || (!alive(pid)).then_some(()));
        let until = Instant::now();
        world.ends.over.lock().unwrap().push(End { pid, from, until, held });
        world.tally.note(Run { name, from, until, local: None, seen: Seen::Ended, expected: true });
        eventually("as many workers as before", || (workers(world.server).len() >= INSTANCES).then_some(()));
    }
}

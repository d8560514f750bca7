//! What a worker gives up of the machine, before it runs a guest.
//!
//! A guest has its own walls. These are for the day on which one of them breaks: whoever then runs code in the worker finds
//! a process that can do what serving takes, and nothing else. All of it is for good, is inherited by every thread that
//! begins later, and has to come after everything that a worker opens, maps or looks up.

mod calls;
mod files;
mod privileges;
mod violation;

use std::os::fd::BorrowedFd;

use nix::sys::resource::{Resource, setrlimit};
use wasmcluster_core::app::{DirGrant, Guest, Sandbox};
use wasmcluster_core::message::Confinement;
use wasmcluster_core::outbound::OutboundRule;

pub(crate) use self::privileges::{current, give_up_capabilities, turn_into};

/// What of the world outside a worker goes on to need for its guests.
pub(crate) struct Reach {
    dirs: Vec<DirGrant>,
    outbound: Vec<OutboundRule>,
}

impl Reach {
    /// As far as its guest may.
    pub(crate) fn of(guest: &Guest) -> Self {
        Self { dirs: guest.dirs.clone(), outbound: guest.outbound.clone() }
    }

    /// Whether anything is opened by its name.
    fn opens(&self) -> bool {
        !self.dirs.is_empty() || self.connects()
    }

    /// Whether any file is written to.
    fn writes(&self) -> bool {
        self.dirs.iter().any(|dir| dir.writable)
    }

    fn connects(&self) -> bool {
        !self.outbound.is_empty()
    }
}

/// Confines this process. To be called while it has one thread.
///
/// # Errors
/// Fails where more is wanted than this kernel gives; the message says what is missing.
pub(crate) fn enter(wanted: Sandbox, reach: &Reach) -> Result<Confinement, String> {
    if wanted == Sandbox::Off {
        return Ok(Confinement::Off);
    }
    let steps: [(&str, Result<(), String>); 4] = [
        ("limits", limit(reach).map_err(|error| error.to_string())),
        ("capabilities", privileges::give_up(reach).map_err(|error| error.to_string())),
        ("Landlock", files::restrict(reach)),
        // The last one: it forbids the others.
        ("seccomp", calls::restrict(reach)),
    ];
    let missing: Vec<_> = steps
        .into_iter()
        .filter_map(|(step, done)| done.err().map(|reason| format!("{step}: {reason}")))
        .collect();
    if missing.is_empty() {
        return Ok(Confinement::Full);
    }
    match wanted {
        Sandbox::Required => Err(missing.join("; ")),
        _ => Ok(Confinement::Partial { missing }),
    }
}

/// Confines a builder, which runs no guest, but a compiler on what strangers wrote. It needs nothing but its directories.
///
/// # Errors
/// Fails where more is wanted than this kernel gives; the message says what is missing.
pub(crate) fn enter_builder(wanted: Sandbox, directories: &[BorrowedFd<'_>]) -> Result<(), String> {
    if wanted == Sandbox::Off {
        return Ok(());
    }
    let core = setrlimit(Resource::RLIMIT_CORE, 0, 0).map_err(|error| format!("limits: {error}"));
    let files = files::restrict_to(directories).map_err(|reason| format!("Landlock: {reason}"));
    let calls = calls::restrict_builder().map_err(|reason| format!("seccomp: {reason}"));
    let missing: Vec<_> = [core, files, calls].into_iter().filter_map(Result::err).collect();
    match (missing.as_slice(), wanted) {
        // Workers find the same missing, and say so.
        ([], _) | (_, Sandbox::BestEffort) => Ok(()),
        _ => Err(missing.join("; ")),
    }
}

/// For good: a hard limit is raised by nobody who has given up his capabilities.
///
/// There are none on address space, of which the pool reserves more than a machine has memory, on processes, because the
/// kernel counts all of a user, threads among them, and on descriptors: the connections of a worker that goes are taken over
/// above `--max-connections`, and one that does not fit is lost.
fn limit(reach: &Reach) -> nix::Result<()> {
    // What a core dump holds is the memory of guests, and where it lands is nobody's choice.
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    // Memory that cannot be swapped out is taken from everybody.
    setrlimit(Resource::RLIMIT_MEMLOCK, 0, 0)?;
    if !reach.writes() {
        // Of no length at all: pipes and sockets are not meant.
        setrlimit(Resource::RLIMIT_FSIZE, 0, 0)?;
    }
    Ok(())
}

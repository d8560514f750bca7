//! Who a worker is, and what only root may: users, groups and capabilities.

use std::io;

use nix::sys::prctl::{set_dumpable, set_no_new_privs, set_pdeathsig};
use nix::sys::signal::Signal;
use nix::unistd::{Gid, Uid, getgroups, getresgid, getresuid, setgroups, setresgid, setresuid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, remove_capability_from_bounding_set, set_capabilities,
};
use wasmcluster_core::app::User;

use super::Reach;

/// Becomes a user for good, and gives up every capability. To be called while there is one thread, with everything open that
/// only who we were could open.
///
/// # Errors
/// Fails where the kernel does not let us, or has not done all of it.
pub(crate) fn turn_into(user: &User) -> Result<(), String> {
    let failed = |error: io::Error| format!("cannot become user {user}: {error}");
    // While we still may.
    forget_bounding_set();
    if !is(user).map_err(failed)? {
        let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
        let groups: Vec<_> = user.groups.iter().copied().map(Gid::from_raw).collect();
        // In this order: without its user, root may not change its groups.
        setgroups(&groups)
            .and_then(|()| setresgid(gid, gid, gid))
            .and_then(|()| setresuid(uid, uid, uid))
            .map_err(|errno| failed(errno.into()))?;
    }
    give_up_capabilities().map_err(failed)?;
    // Whatever else runs as this user could read our memory, and write to it.
    set_dumpable(false).map_err(|errno| failed(errno.into()))?;
    // A change of user makes the kernel forget it.
    set_pdeathsig(Signal::SIGKILL).map_err(|errno| failed(errno.into()))?;
    let sets = capabilities(None).map_err(|errno| failed(errno.into()))?;
    match is(user).map_err(failed)? && (sets.permitted | sets.effective | sets.inheritable).is_empty() {
        true => Ok(()),
        false => Err(failed(io::Error::other("the kernel has not done all of it"))),
    }
}

/// Gives up every capability, and the way to get one.
pub(crate) fn give_up_capabilities() -> io::Result<()> {
    give_up_all_but(CapabilitySet::empty())
}

/// The same with those that a guest's directories take.
///
/// Root without any may do with files what their modes say. What was granted to a guest may belong to somebody else, as
/// where a container has a directory of its host, and is to be as it was for root.
pub(super) fn give_up(reach: &Reach) -> io::Result<()> {
    let mut needed = CapabilitySet::empty();
    needed.set(CapabilitySet::DAC_OVERRIDE, !reach.dirs.is_empty());
    needed.set(CapabilitySet::FOWNER, reach.writes());
    give_up_all_but(needed)
}

/// Who this process is, whatever it was told.
pub(crate) fn current() -> io::Result<User> {
    let (uid, gid) = (getresuid()?.effective.as_raw(), getresgid()?.effective.as_raw());
    let mut groups: Vec<_> = getgroups()?.into_iter().map(Gid::as_raw).collect();
    groups.sort_unstable();
    groups.dedup();
    // All others have names that would have to be looked up.
    let name = (uid == 0).then(|| "root".into());
    Ok(User { name, uid, gid, groups })
}

/// Whether this process is that user in every respect, and cannot return to another one.
fn is(user: &User) -> io::Result<bool> {
    let (users, groups) = (getresuid()?, getresgid()?);
    let users = [users.real, users.effective, users.saved].map(Uid::as_raw);
    let groups = [groups.real, groups.effective, groups.saved].map(Gid::as_raw);
    Ok(users == [user.uid; 3] && groups == [user.gid; 3] && current()?.groups == user.groups)
}

fn give_up_all_but(needed: CapabilitySet) -> io::Result<()> {
    set_no_new_privs()?;
    forget_bounding_set();
    let kept = capabilities(None)?.effective & needed;
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    Ok(set_capabilities(None, sets)?)
}

/// What no program that is executed can have. Who may not change it gets nothing by it either: no_new_privs has the same
/// effect.
fn forget_bounding_set() {
    let each = (0..u64::BITS).map(|number| CapabilitySet::from_bits_retain(1 << number));
    // Until there are no more of them.
    let _ = each.map(remove_capability_from_bounding_set).take_while(Result::is_ok).count();
}

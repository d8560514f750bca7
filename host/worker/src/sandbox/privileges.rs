//! What only root may: capabilities.

use std::io;

use nix::sys::prctl::set_no_new_privs;
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, remove_capability_from_bounding_set, set_capabilities,
};

use super::Reach;

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

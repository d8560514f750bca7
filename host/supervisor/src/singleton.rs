//! One supervisor per address.
//!
//! SO_REUSEPORT lets any process of the same user join the group of an address: a second `serve` by mistake would
//! silently take half the connections. So the address is claimed before it is shared: first by a name among this
//! machine's abstract unix sockets, which tells who has it and goes away with its owner however that ends, then by
//! listening for a moment in the way that tolerates nobody.

use core::net::SocketAddr;
use core::time::Duration;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixListener, UnixStream};

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use serde::{Deserialize, Serialize};

use crate::address::{AddressError, rival_names, singleton_name};
use crate::group::{Group, PassedGroup};
use crate::listener;
use crate::upgrade::{Descriptors, Passed};

/// How often a port that the kernel picked may be lost to somebody else before we can listen on it.
const PICKS: usize = 5;

/// The workers of a supervisor that was killed die with it, but not in the same instant: for that long an address in
/// use is asked for again.
const LINGER: Duration = Duration::from_millis(50);
const LINGERS: usize = 5;

/// An address that is ours, with a socket for every slot. Dropping it gives the address back.
#[derive(Debug)]
pub(crate) struct Claim {
    pub(crate) addr: SocketAddr,
    pub(crate) slots: Group,
    /// Held, never accepted from: connecting to it is enough to learn whose it is.
    name: UnixListener,
}

/// A [`Claim`] on its way to another program.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PassedClaim {
    addr: SocketAddr,
    slots: PassedGroup,
    name: Passed,
}

impl Claim {
    /// What somebody else needs to go on with it.
    pub(crate) fn pass(self, descriptors: &mut Descriptors) -> PassedClaim {
        let Self { addr, slots, name } = self;
        PassedClaim { addr, slots: slots.pass(descriptors), name: descriptors.put(name.into()) }
    }

    /// Goes on with what somebody else had.
    pub(crate) fn take(passed: PassedClaim, descriptors: &mut Descriptors) -> io::Result<Self> {
        let PassedClaim { addr, slots, name } = passed;
        let slots = Group::take(slots, addr, descriptors)?;
        Ok(Self { addr, slots, name: descriptors.take(name)?.into() })
    }

    /// Claims `addr` for `slots` sockets.
    pub(crate) async fn new(addr: SocketAddr, slots: usize) -> Result<Self, AddressError> {
        let mut attempt = 1;
        loop {
            match Self::attempt(addr, slots).await {
                Err(AddressError::InUse { .. } | AddressError::AlreadyServed { .. })
                    if addr.port() == 0 && attempt < PICKS =>
                {
                    attempt += 1;
                }
                claimed => return claimed,
            }
        }
    }

    async fn attempt(asked: SocketAddr, slots: usize) -> Result<Self, AddressError> {
        // With a port of its own to choose, only the kernel can say what to claim.
        let (addr, name) = if asked.port() == 0 {
            let addr = probe(asked).await?;
            (addr, take_name(addr)?)
        } else {
            let name = take_name(asked)?;
            (probe(asked).await?, name)
        };
        let slots = Group::listen(addr, slots).map_err(|error| AddressError::new(addr, error))?;
        Ok(Self { addr, slots, name })
    }
}

/// Finds out that nobody listens on `addr`, and which port was meant.
async fn probe(addr: SocketAddr) -> Result<SocketAddr, AddressError> {
    let mut attempt = 1;
    loop {
        match listener::probe(addr) {
            Ok((_, bound)) => return Ok(bound),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && attempt < LINGERS => {
                tokio::time::sleep(LINGER).await;
                attempt += 1;
            }
            // It may be another supervisor all the same, one that asked for this port in other words.
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                return Err(match rival_names(addr).iter().find_map(|name| owner(name)) {
                    Some(pid) => AddressError::AlreadyServed { addr, pid: Some(pid) },
                    None => AddressError::InUse { addr },
                });
            }
            Err(error) => return Err(AddressError::new(addr, error)),
        }
    }
}

fn take_name(addr: SocketAddr) -> Result<UnixListener, AddressError> {
    let other = |source| AddressError::Other { addr, source };
    let name = singleton_name(addr);
    let unix = UnixAddr::from_abstract_name(&name).map_err(other)?;
    UnixListener::bind_addr(&unix).map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => AddressError::AlreadyServed { addr, pid: owner(&name) },
        _ => other(error),
    })
}

/// The supervisor that holds `name`. None when nobody does, or when it lives in another pid namespace.
fn owner(name: &str) -> Option<i32> {
    let name = UnixAddr::from_abstract_name(name).ok()?;
    let connection = UnixStream::connect_addr(&name).ok()?;
    let pid = getsockopt(&connection, PeerCredentials).ok()?.pid();
    (pid > 0).then_some(pid)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(addr: SocketAddr) -> Result<Claim, AddressError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(Claim::new(addr, 3))
    }

    #[test]
    fn any_port_becomes_a_real_one() {
        let claim = claim(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
        assert_ne!(claim.addr.port(), 0);
        assert_eq!(claim.slots.len(), 3);
    }

    #[test]
    fn a_second_claim_names_the_owner_and_leaves_with_the_first() {
        let first = claim(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
        let own = i32::try_from(std::process::id()).ok();
        match claim(first.addr) {
            Err(AddressError::AlreadyServed { pid, .. }) => assert_eq!(pid, own),
            other => panic!("{other:?}"),
        }
        let addr = first.addr;
        drop(first);
        claim(addr).expect("free again");
    }

    #[test]
    fn a_claim_on_all_addresses_covers_each() {
        let all = claim(SocketAddr::from(([0, 0, 0, 0], 0))).expect("a free port");
        let one = SocketAddr::from(([127, 0, 0, 1], all.addr.port()));
        assert!(matches!(claim(one), Err(AddressError::AlreadyServed { pid: Some(_), .. })));
    }

    #[test]
    fn a_claim_on_loopback_is_in_the_way_of_all_addresses() {
        let one = claim(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
        let all = SocketAddr::from(([0, 0, 0, 0], one.addr.port()));
        assert!(matches!(claim(all), Err(AddressError::AlreadyServed { pid: Some(_), .. })));
    }

    #[test]
    fn another_program_is_told_apart() {
        let other = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let addr = other.local_addr().expect("bound");
        assert!(matches!(claim(addr), Err(AddressError::InUse { .. })));
    }
}

//! How many connections each client holds.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{IpAddr, Ipv4Addr};

/// Who counts as one: an address, or of IPv6 a whole network, because anybody has one of those to himself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Peer {
    V4(Ipv4Addr),
    /// The first 64 bits.
    V6(u64),
}

impl From<IpAddr> for Peer {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address),
            IpAddr::V6(address) => Self::V6((u128::from(address) >> 64) as u64),
        }
    }
}

/// Those that hold any.
#[derive(Debug, Default)]
pub(crate) struct Peers(HashMap<Peer, u32>);

impl Peers {
    /// Counts one more, unless there are `most` already.
    pub(crate) fn enter(&mut self, peer: Peer, most: u32) -> bool {
        let held = self.0.entry(peer).or_default();
        if *held >= most {
            return false;
        }
        *held += 1;
        true
    }

    /// Counts one fewer.
    pub(crate) fn leave(&mut self, peer: Peer) {
        if let Entry::Occupied(mut held) = self.0.entry(peer) {
            *held.get_mut() -= 1;
            if *held.get() == 0 {
                held.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(address: &str) -> Peer {
        address.parse::<IpAddr>().expect("an address").into()
    }

    #[test]
    fn an_address_is_one_and_so_is_a_network_of_ipv6() {
        assert_ne!(peer("127.0.0.1"), peer("127.0.0.2"));
        assert_eq!(peer("127.0.0.1"), peer("::ffff:127.0.0.1"));
        assert_eq!(peer("2001:db8:0:1::1"), peer("2001:db8:0:1:ffff:ffff:ffff:ffff"));
        assert_ne!(peer("2001:db8:0:1::1"), peer("2001:db8:0:2::1"));
    }

    #[test]
    fn who_has_as_many_as_may_be_gets_another_when_one_is_gone() {
        let mut peers = Peers::default();
        let (one, other) = (peer("10.0.0.1"), peer("10.0.0.2"));
        assert!(peers.enter(one, 2) && peers.enter(one, 2));
        assert!(!peers.enter(one, 2));
        assert!(peers.enter(other, 2));
        peers.leave(one);
        assert!(peers.enter(one, 2));
        for peer in [one, one, other] {
            peers.leave(peer);
        }
        assert!(peers.0.is_empty(), "nothing is kept of who is gone");
    }
}

//! Addresses that share a port or fight over it, and what can go wrong when one is taken.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::io;

/// Why an address cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum AddressError {
    /// Another supervisor serves it.
    #[error("`{addr}` is already served by wasmcluster{}", .pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default())]
    AlreadyServed {
        /// The address asked for.
        addr: SocketAddr,
        /// Who serves it; unknown across a pid namespace.
        pid: Option<i32>,
    },
    /// Somebody else listens there.
    #[error("`{addr}` is already in use by another program")]
    InUse {
        /// The address asked for.
        addr: SocketAddr,
    },
    /// A privileged port, or a policy of the machine.
    #[error("not permitted to listen on `{addr}`")]
    Forbidden {
        /// The address asked for.
        addr: SocketAddr,
    },
    /// No interface of this machine has it.
    #[error("`{addr}` is not an address of this machine")]
    NotOurs {
        /// The address asked for.
        addr: SocketAddr,
    },
    /// Something else that the kernel said.
    #[error("failed to listen on `{addr}`: {source}")]
    Other {
        /// The address asked for.
        addr: SocketAddr,
        /// What it said.
        source: io::Error,
    },
}

impl AddressError {
    /// Sorts what the kernel said about listening on `addr`.
    pub(crate) fn new(addr: SocketAddr, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::AddrInUse => Self::InUse { addr },
            io::ErrorKind::AddrNotAvailable => Self::NotOurs { addr },
            io::ErrorKind::PermissionDenied => Self::Forbidden { addr },
            _ => Self::Other { addr, source },
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::AlreadyServed { .. } => Some("stop it first, or choose another port with `--addr`".into()),
            Self::InUse { addr } => {
                let port = addr.port();
                Some(format!("find it with `ss -ltnp 'sport = :{port}'`, or choose another port with `--addr`"))
            }
            Self::Forbidden { addr } if addr.port() < 1024 => Some(
                "ports below 1024 need CAP_NET_BIND_SERVICE: choose a port above 1023 with `--addr`, or put a proxy in front"
                    .into(),
            ),
            Self::NotOurs { .. } => {
                Some("`ip address` lists this machine's addresses; `0.0.0.0` stands for all of them".into())
            }
            Self::Forbidden { .. } | Self::Other { .. } => None,
        }
    }
}

/// The name under which a supervisor holds an address.
///
/// Two supervisors on `0.0.0.0` and `[::]` would share connections by chance, and so would one on an IPv4 address and
/// one on the same address mapped into IPv6: those have one name.
pub(crate) fn singleton_name(addr: SocketAddr) -> String {
    match addr.ip().to_canonical() {
        ip if ip.is_unspecified() => format!("wasmcluster/tcp/*:{}", addr.port()),
        ip => format!("wasmcluster/tcp/{}", SocketAddr::new(ip, addr.port())),
    }
}

/// Names under which somebody may stand whose listener is in the way of `addr`, besides its own.
///
/// Not all of them: an address on one interface is in the way of all interfaces, and its name is not to be guessed.
/// Loopback is, and is the usual one.
pub(crate) fn rival_names(addr: SocketAddr) -> Vec<String> {
    let own = singleton_name(addr);
    let hosts: [IpAddr; 3] =
        [Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    let names = hosts.map(|host| singleton_name(SocketAddr::new(host, addr.port())));
    names.into_iter().filter(|name| *name != own).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(addr: &str, name: &str) {
        assert_eq!(singleton_name(addr.parse().expect("an address")), format!("wasmcluster/tcp/{name}"));
    }

    #[test]
    fn one_name_for_addresses_that_would_share_connections() {
        check("127.0.0.1:8080", "127.0.0.1:8080");
        check("[::ffff:127.0.0.1]:8080", "127.0.0.1:8080");
        check("[::1]:8080", "[::1]:8080");
        check("0.0.0.0:80", "*:80");
        check("[::]:80", "*:80");
        check("[::ffff:0.0.0.0]:80", "*:80");
    }

    #[test]
    fn nobody_is_their_own_rival() {
        let rivals = |addr: &str| rival_names(addr.parse().expect("an address"));
        let [any, four, six] =
            ["*:80", "127.0.0.1:80", "[::1]:80"].map(|name| format!("wasmcluster/tcp/{name}"));
        assert_eq!(rivals("[::]:80"), [four.clone(), six.clone()]);
        assert_eq!(rivals("127.0.0.1:80"), [any.clone(), six.clone()]);
        assert_eq!(rivals("10.0.0.1:80"), [any, four, six]);
    }

    #[test]
    fn a_hint_where_there_is_something_to_do() {
        let addr = "127.0.0.1:80".parse().expect("an address");
        let hint = |kind: io::ErrorKind| AddressError::new(addr, kind.into()).hint();
        assert!(hint(io::ErrorKind::PermissionDenied).is_some_and(|hint| hint.contains("1023")));
        assert!(hint(io::ErrorKind::AddrInUse).is_some_and(|hint| hint.contains(":80'")));
        assert!(hint(io::ErrorKind::OutOfMemory).is_none());
    }
}

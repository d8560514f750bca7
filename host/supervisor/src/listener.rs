//! Sockets that listen: one for each slot, all on one address.
//!
//! The supervisor makes and keeps them (`group.rs`); each worker of a slot inherits a duplicate. A worker
//! that owned its socket would lose, when it ends, the connections in its handshake and accept queues.

use core::net::SocketAddr;
use std::io;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// Connections that may wait for a worker, per slot. The kernel caps it at `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// The socket of one slot. It is a member of the address's group from here on.
pub(crate) fn listen(addr: SocketAddr) -> io::Result<Socket> {
    let socket = open(addr)?;
    socket.set_reuse_port(true)?;
    // Accepted sockets inherit it: one system call for all of them.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&SockAddr::from(addr))?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

/// Binds for a moment without SO_REUSEPORT, which only succeeds where nobody else listens, with or without it.
///
/// It does not listen: who connected in that moment would be accepted by the kernel, and reset.
///
/// Returns the address with its real port, for one that asked for any. The socket must be dropped before
/// [`listen`] succeeds.
pub(crate) fn probe(addr: SocketAddr) -> io::Result<(Socket, SocketAddr)> {
    let socket = open(addr)?;
    socket.bind(&SockAddr::from(addr))?;
    let bound = socket.local_addr()?.as_socket().unwrap_or(addr);
    Ok((socket, bound))
}

fn open(addr: SocketAddr) -> io::Result<Socket> {
    // socket2 sets CLOEXEC.
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    // Connections of a former server in TIME_WAIT must not keep the address from us.
    socket.set_reuse_address(true)?;
    if addr.is_ipv6() {
        // `[::]` takes IPv4 as well, whatever this machine's default is.
        socket.set_only_v6(false)?;
    }
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loopback() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 0))
    }

    #[test]
    fn slots_share_an_address() {
        let (probe, addr) = probe(loopback()).expect("a free port");
        drop(probe);
        let first = listen(addr).expect("free");
        let second = listen(addr).expect("shared");
        assert_eq!(first.local_addr().ok(), second.local_addr().ok());
    }

    #[test]
    fn a_probe_accepts_nobody() {
        let (_held, addr) = probe(loopback()).expect("a free port");
        let refused = std::net::TcpStream::connect(addr).expect_err("nobody listens");
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[test]
    fn a_probe_finds_a_listener_that_would_share() {
        let (held, addr) = probe(loopback()).expect("a free port");
        drop(held);
        let slot = listen(addr).expect("free");
        assert_eq!(probe(addr).expect_err("taken").kind(), io::ErrorKind::AddrInUse);
        drop(slot);
        probe(addr).expect("free again");
    }
}

//! Servers that do with a connection whatever a test says.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use nix::libc;
use nix::sys::socket::{Shutdown, setsockopt, shutdown, sockopt};

/// A response that is right.
pub(super) const HELLO: &str = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";

/// A server with a thread for each connection. Dropping it waits for all of them, so clients go first.
pub(super) struct Toy {
    pub(super) addr: SocketAddr,
    listener: Arc<TcpListener>,
    thread: Option<JoinHandle<()>>,
}

impl Toy {
    /// One that runs `serve` for each connection, with its number; the first is 0.
    pub(super) fn start(addr: SocketAddr, serve: impl Fn(usize, TcpStream) + Send + Sync + 'static) -> Self {
        let listener = Arc::new(TcpListener::bind(addr).unwrap());
        let addr = listener.local_addr().unwrap();
        let accepting = Arc::clone(&listener);
        let thread = thread::spawn(move || {
            thread::scope(|scope| {
                // Ends with the failure that the shutdown of a listener causes.
                for (number, stream) in accepting.incoming().map_while(Result::ok).enumerate() {
                    let serve = &serve;
                    scope.spawn(move || serve(number, stream));
                }
            });
        });
        Self { addr, listener, thread: Some(thread) }
    }

    /// One that does everything right.
    pub(super) fn hello(addr: SocketAddr) -> Self {
        Self::start(addr, |_, mut stream| {
            stream.set_nodelay(true).unwrap();
            while asked(&mut stream) && stream.write_all(HELLO.as_bytes()).is_ok() {}
        })
    }
}

impl Drop for Toy {
    fn drop(&mut self) {
        shutdown(self.listener.as_raw_fd(), Shutdown::Both).unwrap();
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(thread::panicking() || ended.is_none_or(|ended| ended.is_ok()), "a toy server panicked");
    }
}

/// Reads the head of a request to its end. False if there is none, because the client left or nothing came in time.
pub(super) fn asked(stream: &mut TcpStream) -> bool {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => head.extend(byte),
            _ => return false,
        }
    }
    true
}

/// Closes it with a reset in place of an end.
pub(super) fn reset(stream: TcpStream) {
    setsockopt(&stream, sockopt::Linger, &libc::linger { l_onoff: 1, l_linger: 0 }).unwrap();
    drop(stream);
}

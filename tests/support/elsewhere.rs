//! A server that guests ask.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// A server of HTTP/1.1 for guests to ask: answers what it was asked, and counts.
pub(crate) struct Elsewhere {
    pub(crate) addr: SocketAddr,
    connections: Arc<AtomicUsize>,
    requests: Arc<AtomicUsize>,
}

impl Elsewhere {
    pub(crate) fn start() -> Self {
        Self::at((Ipv4Addr::LOCALHOST, 0).into())
    }

    /// At an address of this machine.
    pub(crate) fn at(addr: SocketAddr) -> Self {
        let listener = TcpListener::bind(addr).unwrap();
        let addr = listener.local_addr().unwrap();
        let (connections, requests) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let counts = (Arc::clone(&connections), Arc::clone(&requests));
        // It ends with the process: nothing tells it to, and it holds nothing.
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (connections, requests) = &counts;
                connections.fetch_add(1, Ordering::SeqCst);
                let requests = Arc::clone(requests);
                thread::spawn(move || {
                    let mut stream = BufReader::new(stream.unwrap());
                    let mut head = String::new();
                    while stream.read_line(&mut head).is_ok_and(|read| read > 0) {
                        if !head.ends_with("\r\n\r\n") {
                            continue;
                        }
                        let head = std::mem::take(&mut head);
                        if head == "0\r\n\r\n" {
                            // The end of an upload in chunks that had none.
                            continue;
                        }
                        requests.fetch_add(1, Ordering::SeqCst);
                        let line = head.lines().next().unwrap_or_default();
                        let answer =
                            format!("HTTP/1.1 203 x\r\ncontent-length: {}\r\n\r\n{line}", line.len());
                        if stream.get_mut().write_all(answer.as_bytes()).is_err() {
                            break;
                        }
                    }
                });
            }
        });
        Self { addr, connections, requests }
    }

    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.connections.load(Ordering::SeqCst), self.requests.load(Ordering::SeqCst))
    }
}

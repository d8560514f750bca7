use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream as Socket};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use super::*;

/// Both ends of the socket between a worker and its heir.
fn passage() -> (Heir, Passage) {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (from, to) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).expect("sockets");
    (Heir::new(from).expect("a runtime"), Passage::new(to).expect("a runtime"))
}

/// A connection as a worker has it, and its other end.
fn client(unused: &[u8], idle: bool) -> (Client, Socket) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let theirs = Socket::connect(listener.local_addr().expect("bound")).expect("somebody listens");
    let (ours, _) = listener.accept().expect("it connected");
    ours.set_nonblocking(true).expect("open");
    let socket = TcpStream::from_std(ours).expect("a runtime");
    (Client { socket, unused: BytesMut::from(unused), idle }, theirs)
}

/// Says something over a connection, and hears it at the other end.
fn expect_open(client: Client, mut theirs: Socket) {
    let mut ours = client.socket.into_std().expect("open");
    ours.set_nonblocking(false).expect("open");
    ours.write_all(b"hello").expect("open");
    let mut heard = [0; 5];
    theirs.read_exact(&mut heard).expect("open");
    assert_eq!(&heard, b"hello");
}

/// The next connection.
async fn next(passage: &mut Passage) -> Client {
    match passage.next().await.expect("valid").expect("one") {
        Arrival::Client(client) => client,
        Arrival::Passage(_) => panic!("no connection but where they come from"),
    }
}

fn run<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(test)
}

#[test]
fn a_connection_arrives_with_what_was_read_from_it() {
    run(async {
        let (heir, mut passage) = passage();
        let long: Vec<u8> = (0..3 * PIECE + 1).map(|byte| byte as u8).collect();
        for unused in [&long[..0], &long[..1], &long[..PIECE], &long[..PIECE + 1], &long] {
            for idle in [false, true] {
                let (sent, theirs) = client(unused, idle);
                heir.take(&sent).await.expect("it is there");
                drop(sent);
                let came = next(&mut passage).await;
                assert!(came.unused == unused, "{} bytes", unused.len());
                assert_eq!(came.idle, idle && unused.is_empty(), "{} bytes", unused.len());
                expect_open(came, theirs);
            }
        }
        drop(heir);
        assert!(passage.next().await.expect("valid").is_none());
    });
}

#[test]
fn who_finds_it_full_waits() {
    run(async {
        const CLIENTS: usize = 20;
        let (heir, mut passage) = passage();
        let (sent, theirs): (Vec<_>, Vec<_>) =
            (0..CLIENTS).map(|number| client(&vec![number as u8; number * PIECE], false)).unzip();
        // More than the socket holds.
        let hand_over = async {
            for sent in sent {
                heir.take(&sent).await.expect("it is there");
            }
        };
        let adopt = async {
            let mut came = Vec::new();
            while came.len() < CLIENTS {
                came.push(next(&mut passage).await);
            }
            came
        };
        let ((), came) = tokio::join!(hand_over, adopt);
        for (number, (came, theirs)) in came.into_iter().zip(theirs).enumerate() {
            assert!(came.unused == vec![number as u8; number * PIECE], "connection {number}");
            expect_open(came, theirs);
        }
    });
}

#[test]
fn without_an_heir_a_connection_is_still_ours() {
    run(async {
        let (heir, passage) = passage();
        assert!(heir.takes());
        drop(passage);
        let (sent, theirs) = client(b"GET /", false);
        assert!(heir.take(&sent).await.is_err());
        assert!(!heir.takes());
        heir.gone().await;
        assert_eq!(&sent.unused[..], b"GET /");
        expect_open(sent, theirs);
    });
}

#[test]
fn what_was_handed_over_before_the_close_still_comes() {
    run(async {
        let (heir, mut passage) = passage();
        let (first, theirs) = client(b"", true);
        heir.take(&first).await.expect("it is there");
        drop(first);
        passage.close();
        let (second, others) = client(b"", true);
        assert!(heir.take(&second).await.is_err());
        let came = next(&mut passage).await;
        expect_open(came, theirs);
        assert!(passage.next().await.expect("valid").is_none());
        expect_open(second, others);
    });
}

#[test]
fn an_heir_that_goes_hands_on_what_it_would_get() {
    run(async {
        let (heir, ours) = passage();
        let (next_heir, mut its) = passage();
        let clients: Vec<_> = ["one", "two", "three"].map(|unused| client(unused.as_bytes(), false)).into();
        heir.take(&clients[0].0).await.expect("it is there");
        next_heir.take_passage(&ours).await.expect("it is there");
        drop(ours);
        heir.take(&clients[1].0).await.expect("another one is there");
        let Some(Arrival::Passage(mut handed_on)) = its.next().await.expect("valid") else {
            panic!("no passage");
        };
        heir.take(&clients[2].0).await.expect("another one is there");
        for (sent, theirs) in clients {
            drop(theirs);
            assert_eq!(next(&mut handed_on).await.unused, sent.unused);
        }
        drop(heir);
        assert!(handed_on.next().await.expect("valid").is_none());
    });
}

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream as Socket};
use std::pin::Pin;

use futures::FutureExt;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use tokio::join;

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

/// Fails if it ends although everybody else had their turn.
async fn waits<T>(mut taking: Pin<&mut impl Future<Output = T>>) {
    for _ in 0..10 {
        assert!(taking.as_mut().now_or_never().is_none(), "nobody has said that it has come");
        tokio::task::yield_now().await;
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
                let (taken, came) = join!(heir.take(&sent), next(&mut passage));
                taken.expect("it is there");
                drop(sent);
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
        let ((), came) = join!(hand_over, adopt);
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
fn an_heir_that_dies_has_only_what_it_said_it_has() {
    run(async {
        let (heir, mut passage) = passage();
        let [(one, theirs), (other, others)] = [client(b"GET /", false), client(b"", true)];
        let (mut taking_one, mut taking_other) = (Box::pin(heir.take(&one)), Box::pin(heir.take(&other)));
        waits(taking_one.as_mut()).await;
        waits(taking_other.as_mut()).await;
        let came = next(&mut passage).await;
        // What has come and was not read, and what was read and not heard, are no different to who reads nothing but this.
        drop(passage);
        taking_one.await.expect("it had it");
        assert!(taking_other.await.is_err());
        assert!(!heir.takes());
        expect_open(came, theirs);
        expect_open(other, others);
    });
}

#[test]
fn who_dies_before_it_hears_that_something_was_taken_has_still_handed_over_the_rest() {
    run(async {
        let (heir, mut passage) = passage();
        let [(one, theirs), (other, others)] = [client(b"", true), client(b"", true)];
        let (mut taking_one, mut taking_other) = (Box::pin(heir.take(&one)), Box::pin(heir.take(&other)));
        waits(taking_one.as_mut()).await;
        waits(taking_other.as_mut()).await;
        let Some(Some(Arrival::Client(first))) = passage.next().now_or_never().and_then(Result::ok) else {
            panic!("it was there");
        };
        drop((taking_one, taking_other));
        drop(heir);
        expect_open(first, theirs);
        expect_open(next(&mut passage).await, others);
        assert!(passage.next().await.expect("valid").is_none());
        drop((one, other));
    });
}

#[test]
fn what_was_handed_over_before_the_close_still_comes() {
    run(async {
        let (heir, mut passage) = passage();
        let [(first, theirs), (second, others)] = [client(b"", true), client(b"", true)];
        let mut taking = Box::pin(heir.take(&first));
        waits(taking.as_mut()).await;
        passage.close();
        assert!(heir.take(&second).await.is_err());
        waits(taking.as_mut()).await;
        let (taken, came) = join!(taking, next(&mut passage));
        taken.expect("it is there");
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
        let hand_over = async {
            for (sent, _) in &clients {
                heir.take(sent).await.expect("somebody is there");
            }
        };
        let adopt = async {
            let Some(Arrival::Passage(mut handed_on)) = its.next().await.expect("valid") else {
                panic!("no passage");
            };
            for (sent, _) in &clients {
                assert_eq!(next(&mut handed_on).await.unused, sent.unused);
            }
            handed_on
        };
        let hand_on = async {
            next_heir.take_passage(&ours).await.expect("it is there");
            drop(ours);
        };
        let ((), (), mut handed_on) = join!(hand_over, hand_on, adopt);
        drop(heir);
        assert!(handed_on.next().await.expect("valid").is_none());
    });
}

#[test]
fn a_passage_comes_back_from_an_heir_that_dies() {
    run(async {
        let (heir, mut ours) = passage();
        let (next_heir, its) = passage();
        let (sent, theirs) = client(b"GET /", false);
        let mut handing_on = Box::pin(next_heir.take_passage(&ours));
        waits(handing_on.as_mut()).await;
        drop(its);
        assert!(handing_on.await.is_err());
        let (taken, came) = join!(heir.take(&sent), next(&mut ours));
        taken.expect("it is there");
        assert_eq!(&came.unused[..], b"GET /");
        expect_open(came, theirs);
    });
}

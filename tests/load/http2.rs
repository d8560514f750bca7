//! The load client over HTTP/2, and servers of it that go away.

use std::convert::Infallible;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};

use http_body_util::Full;
use hyper::Response;
use hyper::body::Bytes;
use hyper::server::conn::http2::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::sync::Notify;

use super::toy::{Toy, reset};
use super::{LOOPBACK, hello};
use crate::support::{Kind, Load, block_on};

const DATA: u8 = 0x0;
const HEADERS: u8 = 0x1;
const RST_STREAM: u8 = 0x3;
const SETTINGS: u8 = 0x4;
const GOAWAY: u8 = 0x7;

const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;

/// `:status: 200`, from the static table of HPACK.
const STATUS_200: &[u8] = &[0x88];

const NO_ERROR: u32 = 0x0;
const INTERNAL_ERROR: u32 = 0x2;
const REFUSED_STREAM: u32 = 0x7;

#[test]
fn each_way_to_lose_a_stream_is_told_from_the_others() {
    type Answer = fn(TcpStream, u32);
    let ways: [(Kind, Answer); 7] = [
        (Kind::Ended, |stream, _| end(stream)),
        (Kind::Reset, |stream, _| reset(stream)),
        (Kind::Reset, |stream, id| {
            send(&stream, RST_STREAM, 0, id, &INTERNAL_ERROR.to_be_bytes());
            until_it_leaves(stream);
        }),
        (Kind::Truncated, |stream, id| {
            send(&stream, HEADERS, END_HEADERS, id, STATUS_200);
            end(stream);
        }),
        (Kind::Truncated, |stream, id| {
            send(&stream, HEADERS, END_HEADERS, id, STATUS_200);
            send(&stream, DATA, 0, id, b"hell");
            send(&stream, RST_STREAM, 0, id, &INTERNAL_ERROR.to_be_bytes());
            until_it_leaves(stream);
        }),
        (Kind::WrongBody, |stream, id| {
            send(&stream, HEADERS, END_HEADERS, id, STATUS_200);
            send(&stream, DATA, END_STREAM, id, b"jello");
            until_it_leaves(stream);
        }),
        // A frame of a stream that nobody has opened.
        (Kind::Malformed, |stream, id| {
            send(&stream, DATA, END_STREAM, id + 2, b"hello");
            until_it_leaves(stream);
        }),
    ];
    for (kind, answer) in ways {
        let toy = Toy::start(LOOPBACK, move |_, mut stream| {
            begin(&mut stream);
            if let Some(id) = next_request(&mut stream) {
                answer(stream, id);
            }
        });
        for _ in 0..3 {
            Load::h2c(toy.addr, 1, 1).requests(1).judge(hello).run().expect_lost(kind, 1);
        }
    }
}

#[test]
fn streams_above_the_last_of_a_goaway_are_sent_again_and_counted() {
    const STREAMS: usize = 4;
    let toy = Toy::start(LOOPBACK, |number, mut stream| {
        begin(&mut stream);
        let answer_to = |stream: &TcpStream, id| {
            send(stream, HEADERS, END_HEADERS, id, STATUS_200);
            send(stream, DATA, END_STREAM, id, b"hello");
        };
        if number == 0 {
            let ids: Vec<u32> = (0..STREAMS).filter_map(|_| next_request(&mut stream)).collect();
            answer_to(&stream, ids[0]);
            send(&stream, GOAWAY, 0, 0, &[ids[0].to_be_bytes(), NO_ERROR.to_be_bytes()].concat());
            until_it_leaves(stream);
        } else {
            while let Some(id) = next_request(&mut stream) {
                answer_to(&stream, id);
            }
        }
    });
    let outcome = Load::h2c(toy.addr, 1, STREAMS).requests(STREAMS as u64).judge(hello).run();
    outcome.expect_ok(STREAMS as u64);
    assert_eq!(outcome.retried, STREAMS as u64 - 1, "{outcome}");
}

#[test]
fn a_stream_that_a_goaway_promised_to_finish_is_lost_with_its_connection() {
    let toy = Toy::start(LOOPBACK, |_, mut stream| {
        begin(&mut stream);
        if let Some(id) = next_request(&mut stream) {
            send(&stream, GOAWAY, 0, 0, &[id.to_be_bytes(), NO_ERROR.to_be_bytes()].concat());
            end(stream);
        }
    });
    let outcome = Load::h2c(toy.addr, 1, 1).requests(3).run();
    outcome.expect_lost(Kind::Ended, 3);
    assert_eq!(outcome.retried, 0, "{outcome}");
}

#[test]
fn a_stream_that_is_refused_is_sent_once_more_and_then_lost() {
    let toy = Toy::start(LOOPBACK, |_, mut stream| {
        begin(&mut stream);
        while let Some(id) = next_request(&mut stream) {
            send(&stream, RST_STREAM, 0, id, &REFUSED_STREAM.to_be_bytes());
        }
    });
    let outcome = Load::h2c(toy.addr, 1, 1).requests(3).run();
    outcome.expect_lost(Kind::Reset, 3);
    assert_eq!(outcome.retried, 3, "{outcome}");
}

#[test]
fn a_server_that_goes_away_gracefully_loses_nothing() {
    const REQUESTS: u64 = 100;
    const EACH: usize = 10;
    let toy = Toy::start(LOOPBACK, |_, stream| {
        stream.set_nonblocking(true).unwrap();
        block_on(async {
            let io = TokioIo::new(tokio::net::TcpStream::from_std(stream).unwrap());
            let (answered, enough) = (AtomicUsize::new(0), Notify::new());
            let service = service_fn(|_| {
                if answered.fetch_add(1, Ordering::Relaxed) + 1 == EACH {
                    enough.notify_one();
                }
                async { Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"hello")))) }
            });
            let mut connection =
                std::pin::pin!(Builder::new(TokioExecutor::new()).serve_connection(io, service));
            tokio::select! {
                _ = connection.as_mut() => return,
                () = enough.notified() => connection.as_mut().graceful_shutdown(),
            }
            // How the client ends it is the client's business.
            connection.await.ok();
        });
    });
    let outcome = Load::h2c(toy.addr, 2, 4).requests(REQUESTS).judge(hello).run();
    outcome.expect_ok(REQUESTS);
    assert!(outcome.reconnected + outcome.retried > 0, "{outcome}");
}

/// What a server of HTTP/2 begins with.
fn begin(stream: &mut TcpStream) {
    let mut preface = [0; 24];
    if stream.read_exact(&mut preface).is_ok() {
        assert_eq!(&preface, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    }
    send(stream, SETTINGS, 0, 0, &[]);
}

/// The stream of the next request. None once the client has left.
fn next_request(stream: &mut TcpStream) -> Option<u32> {
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).ok()?;
        let [a, b, c, kind, _, id @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        stream.read_exact(&mut payload).ok()?;
        if kind == HEADERS {
            return Some(u32::from_be_bytes(id));
        }
    }
}

/// Ends it, and takes what still comes: closing it before would be a reset.
fn end(stream: TcpStream) {
    stream.shutdown(Shutdown::Write).unwrap();
    until_it_leaves(stream);
}

fn until_it_leaves(mut stream: TcpStream) {
    while next_request(&mut stream).is_some() {}
}

/// Sends one frame.
fn send(mut stream: &TcpStream, kind: u8, flags: u8, id: u32, payload: &[u8]) {
    let [_, length @ ..] = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let frame = [&length[..], &[kind, flags], &id.to_be_bytes(), payload].concat();
    // A client that has gone away is none of a server's worries.
    let _ = stream.write_all(&frame);
}

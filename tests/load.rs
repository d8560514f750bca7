//! What other tests rely on: the load client sees each loss, and tells one from another.

mod http2;
mod network;
mod toy;

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::time::Duration;

use nix::libc;
use nix::sys::socket::{MsgFlags, send};

use self::toy::{HELLO, Toy, asked, reset};
use crate::support::{Kind, Load, eventually};

const LOOPBACK: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

#[test]
fn each_way_to_lose_a_request_is_told_from_the_others() {
    type Answer = fn(TcpStream);
    let ways: [(Kind, Answer); 12] = [
        (Kind::Reset, reset),
        (Kind::Ended, drop),
        (Kind::Truncated, |stream| say(&stream, "HTTP/1.1 200 O")),
        (Kind::Truncated, |stream| say(&stream, "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n")),
        (Kind::Truncated, |stream| say(&stream, "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhell")),
        (Kind::Truncated, |stream| {
            say(&stream, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n");
        }),
        (Kind::Truncated, |stream| {
            say(&stream, "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhell");
            reset(stream);
        }),
        (Kind::Status(500), |stream| say(&stream, "HTTP/1.1 500 Oops\r\ncontent-length: 4\r\n\r\noops")),
        (Kind::Status(503), |stream| say(&stream, "HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n")),
        (Kind::WrongBody, |stream| say(&stream, "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\njello")),
        (Kind::Malformed, |stream| say(&stream, "SSH-2.0-toy\r\n\r\n")),
        (Kind::Malformed, |stream| say(&stream, &format!("{HELLO}{HELLO}"))),
    ];
    for (kind, answer) in ways {
        let toy = Toy::start(LOOPBACK, move |_, mut stream| {
            if asked(&mut stream) {
                answer(stream);
            }
        });
        Load::fresh(toy.addr, 1).requests(3).judge(hello).run().expect_lost(kind, 3);
    }
}

#[test]
fn nobody_who_listens_is_a_refusal() {
    // Bound, so that nobody else has the port, and not listening.
    let bound = tokio::net::TcpSocket::new_v4().unwrap();
    bound.bind(LOOPBACK).unwrap();
    let addr = bound.local_addr().unwrap();
    for load in [Load::fresh(addr, 2), Load::keep_alive(addr, 2), Load::h2c(addr, 1, 2)] {
        load.requests(4).run().expect_lost(Kind::Refused, 4);
    }
}

#[test]
fn no_answer_is_a_timeout() {
    let toy = Toy::start(LOOPBACK, |_, mut stream| drop(stream.read_to_end(&mut Vec::new())));
    let patience = Duration::from_millis(100);
    for load in [Load::fresh(toy.addr, 2), Load::keep_alive(toy.addr, 2), Load::h2c(toy.addr, 1, 2)] {
        let outcome = load.requests(4).patience(patience).run();
        outcome.expect_lost(Kind::Timeout, 4);
        assert!(outcome.losses.iter().all(|loss| loss.after >= patience), "{outcome}");
    }
}

#[test]
fn a_connection_that_is_closed_just_as_it_is_asked_is_a_loss() {
    let toy = Toy::start(LOOPBACK, |_, mut stream| {
        asked(&mut stream);
        say(&stream, HELLO);
        asked(&mut stream);
    });
    let outcome = Load::keep_alive(toy.addr, 1).requests(6).judge(hello).run();
    outcome.expect_lost(Kind::Ended, 3);
    assert_eq!((outcome.ok, outcome.reconnected), (3, 0), "{outcome}");
    assert!(outcome.losses.iter().all(|loss| loss.nth == 2 && loss.local.is_some()), "{outcome}");

    let report = outcome.to_string();
    for part in
        ["6 requests: 3 ok, 3 lost, 3 ended before a byte", "request 2 of the connection from 127.0.0.1:"]
    {
        assert!(report.contains(part), "no `{part}` in: {report}");
    }
}

#[test]
fn a_connection_that_was_closed_before_it_is_asked_is_no_loss() {
    let closes = Toy::start(LOOPBACK, |_, mut stream| {
        asked(&mut stream);
        // The response waits for the end, and they travel together: the client has both or neither.
        let more = MsgFlags::from_bits_retain(libc::MSG_MORE);
        send(stream.as_raw_fd(), HELLO.as_bytes(), more).unwrap();
    });
    let outcome = Load::keep_alive(closes.addr, 1).requests(5).judge(hello).run();
    outcome.expect_ok(5);
    assert_eq!(outcome.reconnected, 4, "{outcome}");

    let says_so = Toy::start(LOOPBACK, |_, mut stream| {
        asked(&mut stream);
        say(&stream, "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhello");
        assert!(!asked(&mut stream), "asked again");
    });
    let outcome = Load::keep_alive(says_so.addr, 1).requests(5).judge(hello).run();
    outcome.expect_ok(5);
    assert_eq!(outcome.reconnected, 0, "{outcome}");
}

#[test]
fn an_open_loop_charges_a_stall_to_all_that_it_delays() {
    const STALL: Duration = Duration::from_millis(200);
    let toy = Toy::start(LOOPBACK, |_, mut stream| {
        asked(&mut stream);
        std::thread::sleep(STALL);
        say(&stream, HELLO);
        while asked(&mut stream) {
            say(&stream, HELLO);
        }
    });
    // The last of 20 was due 190 ms after the first.
    let outcome = Load::keep_alive(toy.addr, 1).rate(100).requests(20).run();
    outcome.expect_ok(20);
    assert!(outcome.percentile(100) >= STALL, "{outcome}");
    assert!(outcome.percentile(50) >= STALL / 2, "{outcome}");
}

#[test]
fn a_load_goes_on_until_it_is_told_to_stop() {
    let toy = Toy::hello(LOOPBACK);
    let load = Load::keep_alive(toy.addr, 2).judge(hello).start();
    eventually("50 answers", || (load.answered() >= 50).then_some(()));
    let outcome = load.stop();
    assert!(outcome.ok >= 50, "{outcome}");
    outcome.expect_ok(outcome.ok);
}

/// Sends it, and leaves the connection as it is.
fn say(mut stream: &TcpStream, text: &str) {
    // A client that has gone away is none of a server's worries.
    let _ = stream.write_all(text.as_bytes());
}

/// Accepts the body that toys have.
fn hello(body: &[u8]) -> Option<String> {
    (body == b"hello").then(String::new)
}

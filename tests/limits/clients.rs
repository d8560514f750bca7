//! What a client may take, each with a client that takes more: what it gets, and that it is counted.

use std::io::ErrorKind;

use super::{expect_reached, reached};
use crate::support::frames::{self, FrameClient};
use crate::support::{Connection, RawClient, Server, block_on, eventually, resident_memory};

const REFUSED_STREAM: u32 = 7;
const CANCEL: u32 = 8;
const ENHANCE_YOUR_CALM: u32 = 11;

/// try: a target one byte longer than `--max-target-size` | 414, counted | not looked at
#[test]
fn a_target() {
    let target = |length: usize| format!("/{}", "x".repeat(length - 1));
    for (args, most) in [(&[][..], 8 << 10), (&["--max-target-size", "100"], 100)] {
        Server::of_both_zoos(args, |server| {
            let mut client = server.connect();
            client.get(&target(most)).expect_status(404);
            let refused = client.get(&target(most + 1)).expect_status(414);
            assert_eq!(refused.text(), "the request's target is too long\n");
            expect_reached(server, &[("max-target-size", 1)]);
        });
    }
}

/// try: a head beyond `--max-header-size`, more fields than `--max-headers` | 431, counted | not looked at
#[test]
fn a_head() {
    Server::of_both_zoos(&["--max-header-size", "8KiB", "--max-headers", "20"], |server| {
        let ask = |fields: &[(&str, &str)]| {
            let mut client = server.connect();
            client.send_head("GET", "/", fields);
            client.response().status
        };
        assert_eq!(ask(&[("x", &"y".repeat(10_000))]), 431);
        expect_reached(server, &[("max-header-size", 1)]);
        // Counted as one that is too large: the parser does not tell them apart.
        assert_eq!(ask(&[("x", "y"); 30]), 431);
        expect_reached(server, &[("max-header-size", 2)]);
    });
}

/// try: a body beyond `--max-body-size` | 413, counted | not looked at
#[test]
fn a_body() {
    Server::of_both_zoos(&["--max-body-size", "10"], |server| {
        assert_eq!(server.connect().post("/discard", "12345678901").status, 413);
        expect_reached(server, &[("max-body-size", 1)]);
    });
}

/// try: silence before, within and after a request | closed, 408, closed; each counted | not looked at
#[test]
fn the_time_for_a_head_a_body_and_another_request() {
    let args = ["--header-timeout", "300ms", "--body-timeout", "300ms", "--keep-alive-timeout", "300ms"];
    Server::of_both_zoos(&args, |server| {
        server.connect().expect_close();
        let mut silent = server.connect();
        silent.send("POST /discard HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\n12");
        silent.response().expect_status(408);
        let mut idle = server.connect();
        idle.get("/").expect_status(200);
        idle.expect_close();
        expect_reached(server, &[("header-timeout", 1), ("body-timeout", 1), ("keep-alive-timeout", 1)]);
    });
}

/// try: one request more than may run and wait | 503, counted | the others get their 200
#[test]
fn requests_at_once() {
    let args = ["--max-concurrent-requests", "1", "--max-waiting-requests", "1"];
    Server::of_both_zoos(&args, |server| {
        block_on(async {
            let client = Connection::http2(server.addr).await;
            let ask = || {
                let mut client = client.clone();
                tokio::spawn(async move { client.get("/slow?ms=500").await.unwrap().status })
            };
            let asked = [ask(), ask(), ask()];
            let mut statuses = Vec::new();
            for answer in asked {
                statuses.push(answer.await.unwrap());
            }
            statuses.sort_unstable();
            assert_eq!(statuses, [200, 200, 503]);
        });
        expect_reached(server, &[("max-concurrent-requests", 1), ("max-waiting-requests", 1)]);
    });
}

/// try: one connection more than `--max-connections` | counted | those that are in are served
#[test]
fn connections() {
    Server::of_both_zoos(&["--max-connections", "2", "--max-connections-per-address", "9"], |server| {
        let mut clients: Vec<RawClient> = (0..3).map(|_| server.connect()).collect();
        for client in &mut clients[..2] {
            client.get("/").expect_status(200);
        }
        expect_reached(server, &[("max-connections", 1)]);
    });
}

/// try: one more than `--max-connections-per-address` | closed without an answer, said in the log | those that are in are served
#[test]
fn connections_of_one_address() {
    Server::of_both_zoos(&["--max-connections-per-address", "3"], |server| {
        let mut clients: Vec<RawClient> = (0..3).map(|_| server.connect()).collect();
        for client in &mut clients {
            client.get("/").expect_status(200);
        }
        let mut refused = server.connect();
        let error = refused.try_get("/").expect_err("closed without an answer");
        let closed = [ErrorKind::UnexpectedEof, ErrorKind::ConnectionReset, ErrorKind::BrokenPipe];
        assert!(closed.contains(&error.kind()), "{error}");
        server.wait_for_stderr("`127.0.0.1` has more than 3 connections");
        server.wait_for_stderr("hint: raise `--max-connections-per-address`");
        assert_eq!(reached(server).len().min(1), reached(server).len(), "nothing else was reached");
        // Whoever is in stays, and whoever leaves makes room.
        clients[0].get("/").expect_status(200);
        clients.pop();
        eventually("room", || server.connect().try_get("/").ok());
    });
    // There is always room for somebody else.
    for (most, of_one) in [(1, 1), (3, 2), (32, 30)] {
        Server::of_both_zoos(&["--max-connections", &most.to_string()], |server| {
            let mut clients: Vec<RawClient> = (0..of_one).map(|_| server.connect()).collect();
            for client in &mut clients {
                client.get("/").expect_status(200);
            }
            if of_one < most {
                server.connect().try_get("/").expect_err("somebody else may come");
                expect_reached(server, &[("max-connections-per-address", 1)]);
            }
        });
    }
}

/// try: one request more than `--max-keep-alive-requests` | the one before has said `connection: close`; counted | not looked at
#[test]
fn requests_on_one_connection() {
    Server::of_both_zoos(&["--max-keep-alive-requests", "3"], |server| {
        let mut client = server.connect();
        assert!(!client.get("/").closes() && !client.get("/").closes());
        assert!(client.get("/").expect_status(200).closes());
        client.expect_close();
        expect_reached(server, &[("max-keep-alive-requests", 1)]);
        // Over HTTP/2, what is on its way when the word is said is answered.
        block_on(async {
            let client = Connection::http2(server.addr).await;
            let requests = (0..3).map(|_| {
                let mut client = client.clone();
                tokio::spawn(async move { client.get("/slow?ms=100").await.unwrap().status })
            });
            for request in requests.collect::<Vec<_>>() {
                assert_eq!(request.await.unwrap(), 200);
            }
            let mut left = client.clone();
            while left.get("/").await.is_ok() {}
        });
        expect_reached(server, &[("max-keep-alive-requests", 2)]);
    });
}

/// try: one stream more than `--max-http2-streams` | reset with `REFUSED_STREAM` | the other streams are answered
#[test]
fn requests_of_http2_at_once() {
    for (args, most) in [(&[][..], 128), (&["--max-http2-streams", "3"], 3)] {
        Server::of_both_zoos(args, |server| {
            let settings = FrameClient::connect(server.addr).next_of(frames::SETTINGS).payload;
            let concurrent = settings.chunks(6).find(|setting| setting[..2] == [0, 3]).expect("it is said");
            assert_eq!(concurrent[2..], u32::to_be_bytes(most));
        });
    }
    Server::of_both_zoos(&["--max-http2-streams", "3"], |server| {
        let mut client = FrameClient::connect(server.addr);
        for stream in [1, 3, 5, 7] {
            client.send_get(stream, "/slow?ms=300");
        }
        let refused = client.next_of(frames::RST_STREAM);
        assert_eq!((refused.stream, refused.payload), (7, REFUSED_STREAM.to_be_bytes().to_vec()));
        for _ in 0..3 {
            assert!(client.next_of(frames::HEADERS).stream < 7);
        }
    });
}

/// try: more streams taken back than `--max-http2-resets` | `GOAWAY` with `ENHANCE_YOUR_CALM`, counted | not looked at
#[test]
fn requests_of_http2_that_are_taken_back() {
    for (args, most) in [(&[][..], 20), (&["--max-http2-resets", "3"], 3)] {
        Server::of_both_zoos(args, |server| {
            let mut client = FrameClient::connect(server.addr);
            let mut bytes = Vec::new();
            for stream in (1..=2 * most + 5).step_by(2) {
                bytes.extend(frames::get(stream, "/"));
                bytes.extend(frames::frame(frames::RST_STREAM, 0, stream, &CANCEL.to_be_bytes()));
            }
            // All at once, so that nobody has looked at the first when the last is taken back.
            client.send_bytes(&bytes);
            let goaway =
                client.rest().into_iter().rfind(|frame| frame.kind == frames::GOAWAY).expect("a last word");
            assert_eq!(goaway.payload[4..8], ENHANCE_YOUR_CALM.to_be_bytes());
            expect_reached(server, &[("max-http2-resets", 1)]);
        });
    }
}

/// The allocator would keep what they had: sixteen kilobytes of each.
/// try: 1,000 clients that ask and leave | their memory comes back, but for 4 MiB | not looked at
#[test]
fn the_memory_of_a_crowd_comes_back() {
    Server::of_both_zoos(&[], |server| {
        let worker = server.worker();
        server.get("/").expect_status(200);
        let before = resident_memory(worker);
        let mut clients: Vec<RawClient> = (0..1_000).map(|_| server.connect()).collect();
        for client in &mut clients {
            client.get("/").expect_status(200);
        }
        let crowded = resident_memory(worker);
        assert!(crowded > before + (10 << 20), "{before} {crowded}");
        drop(clients);
        eventually("its memory", || (resident_memory(worker) < before + (4 << 20)).then_some(()));
    });
}

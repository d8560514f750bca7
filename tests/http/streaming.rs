//! Bodies on their way, in both directions: what is sent arrives at once, and who is slow makes the other wait.

use std::convert::Infallible;
use std::io::Write;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::{Body as _, Bytes, Frame};
use hyper::{Request, StatusCode};

use super::{get, wait_until_it_rests};
use crate::support::{Connection, RawClient, Server, block_on, resident_memory};

/// The bytes `from..to` of the zoo's pattern.
fn pattern(from: usize, to: usize) -> Vec<u8> {
    (from..to).map(|byte| (byte % 251) as u8).collect()
}

const ECHOED: usize = 50 << 20;

/// Reads the echo of the pattern and compares each byte.
struct Comparison {
    at: usize,
}

impl Comparison {
    #[track_caller]
    fn add(&mut self, bytes: &[u8]) {
        let expected = pattern(self.at % 251, self.at % 251 + bytes.len());
        assert!(bytes == expected, "another byte than was sent after {}", self.at);
        self.at += bytes.len();
    }
}

/// Sends the pattern from a thread of its own, by pieces of 1 MiB in the given framing.
fn upload(client: &RawClient, chunked: bool) -> thread::JoinHandle<()> {
    const PIECE: usize = 1 << 20;
    let mut stream = client.stream().try_clone().unwrap();
    thread::spawn(move || {
        for from in (0..ECHOED).step_by(PIECE) {
            if chunked {
                stream.write_all(format!("{PIECE:x}\r\n").as_bytes()).unwrap();
            }
            stream.write_all(&pattern(from % 251, from % 251 + PIECE)).unwrap();
            if chunked {
                stream.write_all(b"\r\n").unwrap();
            }
        }
        if chunked {
            stream.write_all(b"0\r\n\r\n").unwrap();
        }
    })
}

/// The pattern as the body of a request.
struct Upload {
    sent: usize,
}

impl hyper::body::Body for Upload {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        const PIECE: usize = 1 << 16;
        if self.sent == ECHOED {
            return Poll::Ready(None);
        }
        let piece = pattern(self.sent % 251, self.sent % 251 + PIECE);
        self.sent += PIECE;
        Poll::Ready(Some(Ok(Frame::data(piece.into()))))
    }
}

/// What may wait inside a worker while megabytes pass through it.
const BUFFERED: u64 = 32 << 20;

#[test]
fn fifty_megabytes_pass_the_guest_byte_for_byte_over_http1() {
    Server::of_both_zoos(&[], |server| {
        for (path, chunked) in [("/echo", false), ("/echo", true), ("/echo?direct", false)] {
            let before = resident_memory(server.worker());
            let mut client = server.connect();
            let length = ECHOED.to_string();
            let framing =
                if chunked { ("transfer-encoding", "chunked") } else { ("content-length", length.as_str()) };
            client.send_head("POST", path, &[framing]);
            let sending = upload(&client, chunked);
            client.try_head().unwrap().expect_status(200);
            let mut comparison = Comparison { at: 0 };
            while let Some(chunk) = client.try_chunk().unwrap() {
                comparison.add(&chunk);
            }
            assert_eq!(comparison.at, ECHOED);
            sending.join().unwrap();
            let grown = resident_memory(server.worker()).saturating_sub(before);
            assert!(grown < BUFFERED, "{path}: the worker grew by {grown} bytes");
        }
    });
}

#[test]
fn fifty_megabytes_pass_the_guest_byte_for_byte_over_http2() {
    Server::of_both_zoos(&[], |server| {
        let before = resident_memory(server.worker());
        block_on(async {
            let mut connection = Connection::http2(server.addr).await;
            let request = Request::post("/echo").body(Upload { sent: 0 }.boxed()).unwrap();
            let mut answer = connection.send(request).await.unwrap();
            let mut comparison = Comparison { at: 0 };
            while let Some(frame) = answer.frame().await {
                comparison.add(frame.unwrap().data_ref().unwrap());
            }
            assert_eq!(comparison.at, ECHOED);
        });
        let grown = resident_memory(server.worker()).saturating_sub(before);
        assert!(grown < BUFFERED, "the worker grew by {grown} bytes");
    });
}

#[test]
fn a_client_that_reads_slowly_makes_the_guest_wait() {
    Server::of_both_zoos(&[], |server| {
        let worker = server.worker();
        server.get("/huge?mib=1").expect_status(200);
        let before = resident_memory(worker);
        let mut client = server.connect();
        client.send_head("GET", "/huge?mib=500", &[]);
        client.try_head().unwrap().expect_status(200);
        let mut comparison = Comparison { at: 0 };
        for part in 1..=4 {
            wait_until_it_rests(worker);
            let grown = resident_memory(worker).saturating_sub(before);
            assert!(grown < BUFFERED, "the worker grew by {grown} bytes");
            while comparison.at < part * (16 << 20) {
                comparison.add(&client.try_chunk().unwrap().unwrap());
            }
        }
        server.get("/").expect_status(200);
    });
}

#[test]
fn a_client_of_http2_that_reads_slowly_makes_the_guest_wait() {
    Server::of_both_zoos(&[], |server| {
        let worker = server.worker();
        server.get("/huge?mib=1").expect_status(200);
        let before = resident_memory(worker);
        block_on(async {
            let mut connection = Connection::http2(server.addr).await;
            let mut answer = connection.send(get("/huge?mib=500")).await.unwrap();
            assert_eq!(answer.status(), StatusCode::OK);
            wait_until_it_rests(worker);
            let grown = resident_memory(worker).saturating_sub(before);
            assert!(grown < BUFFERED, "the worker grew by {grown} bytes");
            let mut comparison = Comparison { at: 0 };
            while comparison.at < 16 << 20 {
                comparison.add(answer.frame().await.unwrap().unwrap().data_ref().unwrap());
            }
            // Its neighbour on the connection does not wait with it.
            assert_eq!(connection.get("/").await.unwrap().text(), "hello from the zoo\n");
        });
    });
}

#[test]
fn a_guest_that_does_not_read_makes_the_client_wait() {
    Server::of_both_zoos(&["--timeout", "60s", "--max-body-size", "none"], |server| {
        let worker = server.worker();
        let before = resident_memory(worker);
        let mut client = server.connect();
        client.send_head("POST", "/hold-body?ms=30000", &[("content-length", "500000000")]);
        client.stream().set_write_timeout(Some(Duration::from_millis(300))).unwrap();
        let megabyte = vec![0; 1 << 20];
        let stuck = (0..500).find(|_| client.try_send(&megabyte).is_err());
        assert!(stuck.is_some_and(|megabytes| megabytes < 64), "{stuck:?} MB were taken");
        let grown = resident_memory(worker).saturating_sub(before);
        assert!(grown < BUFFERED, "the worker grew by {grown} bytes");
    });
}

#[test]
fn the_first_chunk_arrives_while_the_guest_still_waits_to_write_the_next() {
    Server::of_both_zoos(&[], |server| {
        let mut client = server.connect();
        client.send_head("GET", "/stream?chunks=2&ms=3600000", &[]);
        client.try_head().unwrap().expect_status(200);
        assert_eq!(client.try_chunk().unwrap().unwrap(), b"aaaaaaaa");
        block_on(async {
            let mut connection = Connection::http2(server.addr).await;
            let mut answer = connection.send(get("/stream?chunks=2&ms=3600000")).await.unwrap();
            let frame = answer.frame().await.unwrap().unwrap();
            assert_eq!(frame.into_data().unwrap(), "aaaaaaaa");
        });
    });
}

#[test]
fn a_body_is_echoed_while_it_is_still_being_sent() {
    Server::of_both_zoos(&[], |server| {
        let mut client = server.connect();
        client.send_head("POST", "/echo", &[("transfer-encoding", "chunked")]);
        client.send("5\r\nfirst\r\n");
        client.try_head().unwrap().expect_status(200);
        assert_eq!(client.try_chunk().unwrap().unwrap(), b"first");
        for word in ["second", "third"] {
            client.send(format!("{:x}\r\n{word}\r\n", word.len()));
            assert_eq!(client.try_chunk().unwrap().unwrap(), word.as_bytes());
        }
        client.send("0\r\n\r\n");
        assert_eq!(client.try_chunk().unwrap(), None);
    });
}

#[test]
fn streams_of_one_http2_connection_do_not_wait_for_each_other() {
    Server::of_both_zoos(&[], |server| {
        block_on(async {
            let mut connection = Connection::http2(server.addr).await;
            let mut endless = connection.send(get("/stream?chunks=2&ms=3600000")).await.unwrap();
            let mut others: Vec<_> = (0..50)
                .map(|number| {
                    let mut connection = connection.clone();
                    tokio::spawn(async move {
                        match number % 3 {
                            0 => connection.get("/slow?ms=50").await.unwrap().body.len(),
                            1 => connection.post("/echo", vec![b'x'; 100_000]).await.unwrap().body.len(),
                            _ => connection.get("/huge?mib=1").await.unwrap().body.len(),
                        }
                    })
                })
                .collect();
            for (number, other) in others.drain(..).enumerate() {
                assert_eq!(other.await.unwrap(), ["slept 50 ms\n".len(), 100_000, 1 << 20][number % 3]);
            }
            assert!(!endless.body().is_end_stream());
            assert_eq!(endless.frame().await.unwrap().unwrap().into_data().unwrap(), "aaaaaaaa");
        });
    });
}

#[test]
fn two_streams_of_one_http2_connection_interleave() {
    Server::of_both_zoos(&[], |server| {
        block_on(async {
            let mut connection = Connection::http2(server.addr).await;
            let mut bodies = Vec::new();
            for path in ["/stream?chunks=20&ms=20", "/stream?chunks=20&ms=20"] {
                bodies.push(connection.send(get(path)).await.unwrap().into_body());
            }
            let mut order = Vec::new();
            let [left, right] = &mut bodies[..] else { panic!("two bodies") };
            loop {
                tokio::select! {
                    Some(frame) = left.frame() => order.push((0, frame.unwrap())),
                    Some(frame) = right.frame() => order.push((1, frame.unwrap())),
                    else => break,
                }
            }
            let turns = order.windows(2).filter(|pair| pair[0].0 != pair[1].0).count();
            assert!(turns > 10, "they took turns {turns} times");
        });
    });
}

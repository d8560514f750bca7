//! HTTP/2 frame by frame, as no client sends it.

use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

use super::{AT_ONCE, SHORT, everything_after, expect_unharmed, survived};
use crate::support::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PING, PREFACE, RST_STREAM, SETTINGS, frame,
};
use crate::support::{RawClient, Server, resident_memory};

/// try: garbage or HTTP/1.1 after the preface of HTTP/2 | a close, and no answer of HTTP/1.1 | nobody
#[test]
fn garbage_after_the_preface_of_http2_closes() {
    survived(&[], |server| {
        for garbage in
            [&b"garbage garbage garbage garbage"[..], b"GET / HTTP/1.1\r\nhost: a\r\n\r\n", &[0xff; 1000]]
        {
            let answer = everything_after(server, &[PREFACE, garbage].concat());
            assert!(!answer.contains("HTTP/1.1"), "{answer:?}");
        }
    });
}

/// `:method: GET`, `:path: /`, `:scheme: http`, and without an index `:authority: a`.
const GET: &[u8] = &[0x82, 0x84, 0x86, 0x01, 1, b'a'];

/// A connection that has begun to speak HTTP/2.
#[track_caller]
fn connect_http2(server: &Server) -> RawClient {
    let mut client = server.connect();
    client.send([PREFACE, &frame(SETTINGS, 0, 0, &[])].concat());
    client
}

/// The next frame: its kind, its flags, its stream and its payload.
fn try_next_frame(client: &mut RawClient) -> io::Result<(u8, u8, u32, Vec<u8>)> {
    let head = client.try_take(9)?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let payload = client.try_take(length as usize)?;
    Ok((head[3], head[4], u32::from_be_bytes([head[5], head[6], head[7], head[8]]), payload))
}

/// The payload of the next frame of this kind.
#[track_caller]
fn next_frame(client: &mut RawClient, kind: u8) -> Vec<u8> {
    loop {
        let (next, _, _, payload) = try_next_frame(client).unwrap();
        if next == kind {
            return payload;
        }
    }
}

/// The first field of a response's head, where it has an index of its own.
const STATUS_200: u8 = 0x88;
const STATUS_400: u8 = 0x8c;

/// try: HTTP/2 without an authority | 400, and the connection goes on | nobody
#[test]
fn http2_without_a_host_is_refused() {
    survived(&[], |server| {
        let mut client = connect_http2(server);
        client.send(frame(HEADERS, END_STREAM | END_HEADERS, 1, GET));
        assert_eq!(next_frame(&mut client, HEADERS)[0], STATUS_200);
        client.send(frame(HEADERS, END_STREAM | END_HEADERS, 3, &GET[..3]));
        assert_eq!(next_frame(&mut client, HEADERS)[0], STATUS_400);
        // The others on the connection are not to blame.
        client.send(frame(HEADERS, END_STREAM | END_HEADERS, 5, GET));
        assert_eq!(next_frame(&mut client, HEADERS)[0], STATUS_200);
    });
}

/// try: 50,000 requests, each taken back at once (rapid reset) | less than 16 MiB of memory | nobody
#[test]
fn a_flood_of_requests_that_are_taken_back_costs_little() {
    survived(&[], |server| {
        let worker = server.worker();
        let before = resident_memory(worker);
        let mut client = connect_http2(server);
        for stream in (1..100_000).step_by(2) {
            let asked = frame(HEADERS, END_STREAM | END_HEADERS, stream, GET);
            let taken_back = frame(RST_STREAM, 0, stream, &8u32.to_be_bytes());
            if client.try_send([asked, taken_back].concat()).is_err() {
                break;
            }
        }
        server.get("/").expect_status(200);
        let grown = resident_memory(worker).saturating_sub(before);
        assert!(grown < 16 << 20, "the worker grew by {grown} bytes");
    });
}

/// try: `CONTINUATION` without end | a close before 150 MB; less than 16 MiB of memory | nobody
#[test]
fn a_head_without_end_costs_little_over_http2() {
    survived(&[], |server| {
        let worker = server.worker();
        let before = resident_memory(worker);
        let mut client = connect_http2(server);
        client.send(frame(HEADERS, END_STREAM, 1, GET));
        // A literal that is not indexed, of one byte and one byte.
        let fields = [0, 1, b'x', 1, b'y'].repeat(3000);
        let closed = (0..10_000).find(|_| client.try_send(frame(CONTINUATION, 0, 1, &fields)).is_err());
        assert!(closed.is_some(), "150 MB of a head were taken");
        let grown = resident_memory(worker).saturating_sub(before);
        assert!(grown < 16 << 20, "the worker grew by {grown} bytes");
    });
}

/// try: 5,000,000 times `PING` or `SETTINGS`, answers unread | not all are taken; less than 16 MiB of memory | nobody
#[test]
fn a_flood_of_frames_whose_answers_nobody_reads_costs_little() {
    survived(&["--body-timeout", "1s"], |server| {
        let worker = server.worker();
        let before = resident_memory(worker);
        for flood in [frame(PING, 0, 0, &[0; 8]), frame(SETTINGS, 0, 0, &[])] {
            let mut client = connect_http2(server);
            client.stream().set_write_timeout(Some(Duration::from_millis(500))).unwrap();
            let many = flood.repeat(10_000);
            let stuck = (0..500).find(|_| client.try_send(&many).is_err());
            assert!(stuck.is_some(), "all of them were answered");
        }
        let grown = resident_memory(worker).saturating_sub(before);
        assert!(grown < 16 << 20, "the worker grew by {grown} bytes");
    });
}

/// try: a reader that never opens its window | cut when `--timeout` is up, and that is said | nobody
#[test]
fn a_client_of_http2_that_takes_no_data_is_cut_when_its_time_is_up() {
    for zoo in ["zoo-p2", "zoo-p3"] {
        let args = ["--max-concurrent-requests", "1", "--timeout", "1s"];
        let server = Server::of(zoo).instances(1).args(args).start();
        let worker = server.worker();
        let mut client = connect_http2(&server);
        // `/huge`, which has more to say than the window that a client begins with lets it.
        let path = [&[0x82, 0x86, 0x01, 1, b'a', 0x04, 12], &b"/huge?mib=10"[..]].concat();
        client.send(frame(HEADERS, END_STREAM | END_HEADERS, 1, &path));
        assert_eq!(next_frame(&mut client, HEADERS)[0], STATUS_200);
        let began = Instant::now();
        // The window that a client begins with, and then the end of the stream or of the connection.
        let mut taken = 0;
        let end = loop {
            match try_next_frame(&mut client) {
                Ok((DATA, _, _, data)) => taken += data.len(),
                Ok((RST_STREAM, _, stream, _)) => break Some(stream),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("it is held for ever"),
                Err(_) => break None,
            }
        };
        assert!(matches!(end, Some(1) | None), "the reset of stream {end:?}");
        assert!(taken < 1 << 16, "{taken} bytes");
        assert!(began.elapsed() < AT_ONCE, "after {:?}", began.elapsed());
        server.wait_for_stderr("the guest took longer than 1s");
        expect_unharmed(&server, worker);
    }
}

/// try: half a body over HTTP/2, then silence | told that the rest did not come | nobody
#[test]
fn half_a_body_and_then_silence_is_a_timeout_of_the_client_over_http2() {
    let server = Server::of("zoo-p2").instances(1).args(SHORT).start();
    let worker = server.worker();
    let mut client = connect_http2(&server);
    let path = [&[0x83, 0x86, 0x01, 1, b'a', 0x04, 8], &b"/discard"[..]].concat();
    client.send(frame(HEADERS, END_HEADERS, 1, &path));
    client.send(frame(DATA, 0, 1, b"hello"));
    let head = next_frame(&mut client, HEADERS);
    // A literal with the name of a status by its index, coded in three bits less a digit: `408`.
    assert!(![STATUS_200, STATUS_400].contains(&head[0]), "{head:x?}");
    let text = next_frame(&mut client, DATA);
    assert_eq!(String::from_utf8_lossy(&text), "the rest of the request did not come\n");
    expect_unharmed(&server, worker);
}

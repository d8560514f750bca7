//! Clients that say nothing, or half, or one byte at a time.

use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use super::{AT_ONCE, SHORT, everything_after, expect_refusal, survived};
use crate::support::frames::PREFACE;
use crate::support::{PATIENCE, RawClient, Server};

#[test]
fn a_connection_after_a_long_silence_is_served() {
    Server::of_both_zoos(&["--header-timeout", "300ms"], |server| {
        server.get("/").expect_status(200);
        // Silence is what this is about: there is nothing to wait for.
        thread::sleep(Duration::from_secs(1));
        server.get("/").expect_status(200);
    });
}

/// Fails unless the server closes, without a word, after about a second.
#[track_caller]
fn expect_close_in_time(client: &mut RawClient, began: Instant) {
    client.expect_close();
    let took = began.elapsed();
    // It looks four times a second.
    let in_time = Duration::from_millis(700)..AT_ONCE;
    assert!(in_time.contains(&took), "closed after {took:?}");
}

/// try: nothing, one byte, half a head, half a preface of HTTP/2 | closed without a word after `--header-timeout` | nobody
#[test]
fn a_client_that_says_nothing_is_left_after_the_header_timeout() {
    survived(&SHORT, |server| {
        for first in [&b""[..], b"G", b"GET / HTTP/1.1\r\nhost: a\r\n", &PREFACE[..10]] {
            let began = Instant::now();
            let mut client = server.connect();
            client.send(first);
            expect_close_in_time(&mut client, began);
        }
    });
}

/// try: a head that drips, byte by byte | closed without a word after `--header-timeout` | nobody
#[test]
fn a_head_that_drips_is_left_after_the_header_timeout() {
    survived(&SHORT, |server| {
        for before in [0, 1] {
            let mut client = server.connect();
            for _ in 0..before {
                client.get("/").expect_status(200);
            }
            let began = Instant::now();
            let mut dripping = client.stream().try_clone().unwrap();
            let drip = thread::spawn(move || {
                let head = b"GET / HTTP/1.1\r\nhost: a\r\nx: ".iter().chain(std::iter::repeat(&b'y'));
                for byte in head {
                    if dripping.write_all(&[*byte]).is_err() || began.elapsed() > PATIENCE {
                        break;
                    }
                    thread::sleep(Duration::from_millis(50));
                }
            });
            expect_close_in_time(&mut client, began);
            drip.join().unwrap();
        }
    });
}

/// try: a connection that asks no more | closed without a word after `--keep-alive-timeout` | nobody
#[test]
fn an_idle_connection_is_kept_for_the_keep_alive_timeout() {
    survived(&["--keep-alive-timeout", "1s"], |server| {
        let mut client = server.connect();
        client.get("/").expect_status(200);
        let began = Instant::now();
        expect_close_in_time(&mut client, began);
    });
}

/// try: a preface of HTTP/2, then silence | closed, with a `--keep-alive-timeout` of 1 s | nobody
#[test]
fn a_preface_of_http2_and_then_silence_is_an_idle_connection() {
    survived(&["--keep-alive-timeout", "1s"], |server| {
        let began = Instant::now();
        everything_after(server, &[PREFACE, b"\0\0\0\x04\0\0\0\0\0"].concat());
        assert!(began.elapsed() < PATIENCE / 2, "closed after {:?}", began.elapsed());
    });
}

/// try: 500 connections at once that say nothing | not looked at | nobody
#[test]
fn a_crowd_that_says_nothing_does_not_keep_others_from_being_served() {
    survived(&[], |server| {
        let crowd: Vec<_> = (0..500).map(|_| server.connect()).collect();
        for _ in 0..10 {
            server.get("/").expect_status(200);
        }
        drop(crowd);
    });
}

/// try: half a body, then silence | 408 and a close after `--body-timeout`, and no line in the log | nobody
#[test]
fn half_a_body_and_then_silence_is_a_timeout_of_the_client() {
    survived(&SHORT, |server| {
        for framing in ["content-length: 10\r\n\r\nhello", "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n"]
        {
            let began = Instant::now();
            expect_refusal(server, format!("POST /discard HTTP/1.1\r\nhost: a\r\n{framing}"), 408);
            assert!(began.elapsed() > Duration::from_millis(700), "after {:?}", began.elapsed());
        }
        assert_eq!(server.said(), 1, "clients can fill the log: {}", server.stderr());
    });
}

/// try: the same to a guest that has begun to answer | the connection is closed | nobody
#[test]
fn half_an_echo_and_then_silence_is_cut() {
    survived(&SHORT, |server| {
        let mut client = server.connect();
        client.send_head("POST", "/echo", &[("content-length", "10")]);
        client.send("hello");
        client.try_head().unwrap().expect_status(200);
        assert_eq!(client.try_chunk().unwrap().unwrap(), b"hello");
        client.expect_close();
    });
}

#[test]
fn a_body_that_comes_slowly_but_steadily_is_taken() {
    survived(&SHORT, |server| {
        let mut client = server.connect();
        client.send_head("POST", "/discard", &[("content-length", "20")]);
        for _ in 0..20 {
            // Twice as long as may pass without a byte.
            thread::sleep(Duration::from_millis(100));
            client.send("x");
        }
        assert_eq!(client.response().expect_status(200).text(), "20\n");
    });
}

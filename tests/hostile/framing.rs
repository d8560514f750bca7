//! Bodies of HTTP/1.1 whose end two readers could see in two places.

use super::{everything_after, expect_refusal, expect_unharmed, survived};
use crate::support::Server;

/// try: `content-length` beside `chunked` (CL.TE, TE.CL), and a second request | one answer, by the chunks, and a close | nobody
#[test]
fn what_is_both_chunked_and_of_a_length_is_chunked_and_the_end_of_its_connection() {
    survived(&[], |server| {
        for framing in [
            "content-length: 4\r\ntransfer-encoding: chunked",
            "transfer-encoding: chunked\r\ncontent-length: 4",
            "content-length: 100\r\nTransfer-Encoding: CHUNKED",
        ] {
            let request =
                format!("POST /discard HTTP/1.1\r\nhost: a\r\n{framing}\r\n\r\n5\r\nhello\r\n0\r\n\r\n");
            let smuggled = "GET /inspect HTTP/1.1\r\nhost: smuggled\r\n\r\n";
            let answer = everything_after(server, (request + smuggled).as_bytes());
            assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{framing:?} got {answer:?}");
            assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("\r\n\r\n5\n"), "{answer:?}");
            assert!(!answer.contains("smuggled"));
        }
    });
}

/// try: two lengths, a list of them, `+5`, `-5`, `0x5`, `5 5`, none, one beyond 64 bits | 400 and a close | nobody
#[test]
fn a_length_that_is_not_one_number_is_refused() {
    survived(&[], |server| {
        for lengths in [
            "content-length: 4\r\ncontent-length: 5",
            "content-length: 5, 5",
            "content-length: +5",
            "content-length: -5",
            "content-length: 0x5",
            "content-length: 5 5",
            "content-length:",
            "content-length: 99999999999999999999999",
        ] {
            expect_refusal(server, format!("POST /echo HTTP/1.1\r\nhost: a\r\n{lengths}\r\n\r\nhello"), 400);
        }
    });
}

/// try: `gzip`, `chunked, identity`, `xchunked`, a control character before `chunked` | 400 and a close | nobody
/// try: `chunked` in HTTP/1.0 | 400 and a close | nobody
#[test]
fn a_coding_that_hides_the_length_is_refused() {
    survived(&[], |server| {
        for coding in ["gzip", "chunked, identity", "xchunked", "chunked, gzip", "chunkedx", "\x0bchunked"] {
            let request =
                format!("POST /echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding: {coding}\r\n\r\n0\r\n\r\n");
            expect_refusal(server, request, 400);
        }
        let old = "POST /echo HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n";
        expect_refusal(server, old, 400);
    });
}

/// try: two codings (TE.TE), a space before the colon, a folded line, and a second request | at most one answer | nobody
/// try: bare CR or LF, trailers, quoted extensions, padded sizes of chunks, and a second request | at most one answer | nobody
#[test]
fn no_framing_makes_two_requests_out_of_one() {
    survived(&[], |server| {
        for request in [
            "POST /discard HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ntransfer-encoding: x\r\ncontent-length: 5\r\n\r\n0\r\n\r\n",
            "POST /discard HTTP/1.1\r\nhost: a\r\ntransfer-encoding : chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n",
            "POST /discard HTTP/1.1\r\nhost: a\r\ntransfer-encoding:\r\n chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n",
            "POST /discard HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip, chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n",
            "POST /discard HTTP/1.1\r\nhost: a\r\nx: y\rcontent-length: 0\r\n\r\n",
            "POST /discard HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx: y\r\n\r\n",
            "POST /discard HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5;a=\"\r\nhello\r\n0\r\n\r\n",
            "POST /discard HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n000000000000000000005\r\nhello\r\n0\r\n\r\n",
            "POST /discard HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\n\n",
        ] {
            let bytes =
                format!("{request}GET /inspect HTTP/1.1\r\nhost: smuggled\r\nconnection: close\r\n\r\n");
            let answer = everything_after(server, bytes.as_bytes());
            assert!(answer.matches("HTTP/1.1 ").count() <= 1, "{request:?} got {answer:?}");
            assert!(!answer.contains("smuggled"), "{request:?} got {answer:?}");
        }
    });
}

/// Uploads that are not chunks.
const BAD_CHUNKS: [&str; 6] = [
    "zz\r\nhello\r\n0\r\n\r\n",
    "5\r\nhelloXX0\r\n\r\n",
    "5\r\nhello\r\nzz\r\nhello\r\n0\r\n\r\n",
    "fffffffffffffffff\r\nhello",
    "-5\r\nhello\r\n0\r\n\r\n",
    "\r\n5\r\nhello\r\n0\r\n\r\n",
];

/// try: chunks of a wrong size, of a negative one, of one beyond 64 bits | 400, an echo is cut; no line in the log | nobody
#[test]
fn a_bad_chunk_is_the_clients_fault() {
    let server = Server::of("zoo-p2").instances(1).start();
    let worker = server.worker();
    for path in ["/discard", "/echo"] {
        for body in BAD_CHUNKS {
            let head = format!("POST {path} HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n");
            let answer = everything_after(&server, (head + body).as_bytes());
            // An echo may be under way when it shows.
            let cut = answer.starts_with("HTTP/1.1 200") && !answer.ends_with("0\r\n\r\n");
            let refused =
                answer.starts_with("HTTP/1.1 400") || (path == "/echo" && (cut || answer.is_empty()));
            assert!(refused, "{body:?} to {path} got {answer:?}");
        }
    }
    expect_unharmed(&server, worker);
    let stderr = server.stderr();
    assert_eq!(stderr.lines().count(), 1, "clients can fill the log: {stderr}");
}

/// try: the same to a guest that echoes | no response that looks complete | nobody
#[test]
fn a_guest_never_takes_a_bad_chunk_for_the_end() {
    survived(&[], |server| {
        for body in BAD_CHUNKS {
            let head = "POST /echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
            let answer = everything_after(server, [head, body].concat().as_bytes());
            let complete = answer.starts_with("HTTP/1.1 200") && answer.ends_with("0\r\n\r\n");
            assert!(!complete, "{body:?} got {answer:?}");
        }
    });
}

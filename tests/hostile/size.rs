//! Requests that are larger than they may be.

use http_body_util::{BodyExt, Empty};

use super::{expect_refusal, survived};
use crate::support::{Connection, block_on};

const SMALL: [&str; 2] = ["--max-body-size", "64KiB"];
const LIMIT: usize = 64 << 10;

fn chunked(pieces: usize) -> String {
    let piece = format!("{:x}\r\n{}\r\n", LIMIT / 4, "x".repeat(LIMIT / 4));
    format!("{}0\r\n\r\n", piece.repeat(pieces))
}

/// try: a `content-length` beyond `--max-body-size` | 413 and a close, before anything of it comes | nobody
#[test]
fn a_body_whose_length_says_that_it_is_too_large_is_refused_at_once() {
    survived(&SMALL, |server| {
        // Nothing of it has to come.
        let head =
            |length: usize| format!("POST /discard HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n");
        expect_refusal(server, head(LIMIT + 1), 413);
        expect_refusal(server, head(usize::MAX >> 1), 413);
        expect_refusal(server, head(LIMIT * 2) + &"x".repeat(LIMIT * 2), 413);
        let mut client = server.connect();
        assert_eq!(client.post("/discard", vec![b'x'; LIMIT]).expect_status(200).text(), "65536\n");
    });
}

/// try: chunks beyond `--max-body-size` | 413 and a close | nobody
#[test]
fn a_body_of_unknown_length_is_refused_when_it_is_too_large() {
    survived(&SMALL, |server| {
        let head =
            |path: &str| format!("POST {path} HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n");
        expect_refusal(server, head("/discard") + &chunked(5), 413);
        expect_refusal(server, head("/discard") + &chunked(100), 413);
        let mut client = server.connect();
        client.send(head("/discard") + &chunked(4));
        assert_eq!(client.response().expect_status(200).text(), "65536\n");
        // Nobody counts what nobody reads.
        let mut client = server.connect();
        client.send(head("/ignore-body") + &chunked(5));
        client.response().expect_status(200);
    });
}

/// try: the same to a guest that has begun to answer | the response is cut | nobody
#[test]
fn a_response_that_was_begun_is_cut_when_the_request_turns_out_too_large() {
    survived(&SMALL, |server| {
        let mut client = server.connect();
        client.send_head("POST", "/echo", &[("transfer-encoding", "chunked")]);
        client.send(&chunked(3)[..chunked(3).len() - 5]);
        let head = client.try_head().unwrap();
        assert_eq!(head.status, 200);
        let _ = client.try_send(chunked(20));
        client.try_rest().unwrap_err();
    });
}

/// try: a body beyond `--max-body-size` over HTTP/2 | 413, and the connection goes on | nobody
#[test]
fn over_http2_it_is_no_different_and_other_requests_go_on() {
    survived(&SMALL, |server| {
        block_on(async {
            let mut client = Connection::http2(server.addr).await;
            assert_eq!(client.post("/discard", vec![b'x'; LIMIT + 1]).await.unwrap().status, 413);
            assert_eq!(client.post("/discard", vec![b'x'; LIMIT]).await.unwrap().text(), "65536\n");
        });
    });
}

#[test]
fn without_a_limit_there_is_none() {
    survived(&["--max-body-size", "none"], |server| {
        let length = 130 << 20;
        let answer = server.connect().post("/discard", vec![b'x'; length]);
        assert_eq!(answer.expect_status(200).text(), format!("{length}\n"));
    });
}

/// try: one field more than `--max-headers` | 431; over HTTP/2 the connection goes on | nobody
#[test]
fn more_header_fields_than_there_may_be_are_refused() {
    let fields = |count: usize| (0..count).map(|number| format!("x-{number}: y\r\n")).collect::<String>();
    for (args, most) in [(&[][..], 100), (&["--max-headers", "20"], 20), (&["--max-headers", "400"], 400)] {
        survived(args, |server| {
            // One of them is the host.
            let head = |count: usize| format!("GET / HTTP/1.1\r\nhost: a\r\n{}\r\n", fields(count));
            let mut client = server.connect();
            client.send(head(most - 1));
            client.response().expect_status(200);
            expect_refusal(server, head(most), 431);
        });
    }
    survived(&["--max-headers", "20"], |server| {
        block_on(async {
            let mut client = Connection::http2(server.addr).await;
            let mut request = hyper::Request::get("/");
            for number in 0..21 {
                request = request.header(format!("x-{number}"), "y");
            }
            let request = request.body(Empty::new().boxed()).unwrap();
            let refused = client.send(request).await.unwrap();
            assert_eq!(refused.status(), 431);
            assert_eq!(client.get("/").await.unwrap().status, 200);
        });
    });
}

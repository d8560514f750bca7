//! HTTP as the guest and the client see it: HTTP/1.0, HTTP/1.1 and HTTP/2 in the clear, streams in both directions.

use std::convert::Infallible;
use std::io::{ErrorKind, Write};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::thread;
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Empty, Full};
use hyper::body::{Body as _, Bytes, Frame};
use hyper::{HeaderMap, Request, StatusCode};
use nix::sys::signal::Signal;

use crate::support::{
    Answer, Body, Connection, RawClient, Response, Server, block_on, computed, eventually, resident_memory,
};

/// What `/inspect` says on the line `field`.
#[track_caller]
fn seen<'a>(text: &'a str, field: &str) -> &'a str {
    let found = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(": "));
    found.unwrap_or_else(|| panic!("no `{field}` in {text:?}"))
}

/// The answer to a request that is sent as it stands.
#[track_caller]
fn ask(server: &Server, request: impl AsRef<[u8]>) -> Response {
    let mut client = server.connect();
    client.send(request);
    client.response()
}

fn get(path: &str) -> Request<Body> {
    Request::get(path).body(Empty::new().boxed()).unwrap()
}

/// The bytes `from..to` of the zoo's pattern.
fn pattern(from: usize, to: usize) -> Vec<u8> {
    (from..to).map(|byte| (byte % 251) as u8).collect()
}

#[test]
fn the_guest_sees_the_method_as_it_was_sent() {
    Server::of_both_zoos(&[], |server| {
        for method in ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PURGE"] {
            let mut client = server.connect();
            client.send_head(method, "/inspect", &[("content-length", "0")]);
            assert_eq!(seen(client.response().expect_status(200).text(), "method"), method);
        }
    });
}

#[test]
fn the_guest_sees_path_and_query_as_they_were_sent() {
    Server::of_both_zoos(&[], |server| {
        for path in ["/inspect", "/inspect?", "/inspect?a=1&b=%20+&&c", "/inspect?//../%2e%2e/%00"] {
            assert_eq!(seen(server.get(path).expect_status(200).text(), "path"), path);
        }
        server.get("/inspect/../").expect_status(404);
        server.get("//inspect").expect_status(404);
    });
}

#[test]
fn scheme_and_authority_come_from_the_host_header() {
    Server::of_both_zoos(&[], |server| {
        for host in ["example.org", "example.org:8080", "[::1]:99", "127.0.0.1", "a-b_c.EXAMPLE"] {
            let answer = ask(server, format!("GET /inspect HTTP/1.1\r\nhost: {host}\r\n\r\n"));
            assert_eq!(seen(answer.text(), "authority"), host);
            assert_eq!(seen(answer.text(), "scheme"), "http");
        }
    });
}

#[test]
fn an_absolute_form_wins_over_the_host_header() {
    Server::of_both_zoos(&[], |server| {
        let answer =
            ask(server, "GET http://other.example:81/inspect?q HTTP/1.1\r\nhost: this.example\r\n\r\n");
        assert_eq!(seen(answer.text(), "authority"), "other.example:81");
        assert_eq!(seen(answer.text(), "scheme"), "http");
        assert_eq!(seen(answer.text(), "path"), "/inspect?q");
    });
}

#[test]
fn the_scheme_is_that_of_the_connection_whatever_the_client_says() {
    Server::of_both_zoos(&[], |server| {
        for scheme in ["https", "ftp"] {
            let answer = ask(server, format!("GET {scheme}://a/inspect HTTP/1.1\r\nhost: a\r\n\r\n"));
            assert_eq!(seen(answer.text(), "scheme"), "http");
        }
    });
}

#[test]
fn http10_without_a_host_is_served_under_the_own_address() {
    Server::of_both_zoos(&[], |server| {
        let answer = ask(server, "GET /inspect HTTP/1.0\r\n\r\n").expect_status(200);
        assert_eq!(seen(answer.text(), "authority"), server.addr.to_string());
        assert_eq!(seen(answer.text(), "scheme"), "http");
    });
}

#[test]
fn http10_gets_an_unframed_body_and_a_close() {
    Server::of_both_zoos(&[], |server| {
        let mut client = server.connect();
        client.send("GET /stream?ms=1 HTTP/1.0\r\nhost: a\r\n\r\n");
        let head = client.try_head().unwrap();
        assert!(head.head.starts_with("HTTP/1.0 200"), "{}", head.head);
        assert_eq!(head.header("transfer-encoding"), None, "it knows no chunks");
        assert_eq!(client.try_rest().unwrap(), b"aaaaaaaabbbbbbbbcccccccc");
    });
}

#[test]
fn http10_is_kept_alive_if_it_asks() {
    Server::of_both_zoos(&[], |server| {
        let mut client = server.connect();
        for _ in 0..3 {
            client.send("GET / HTTP/1.0\r\nhost: a\r\nconnection: keep-alive\r\n\r\n");
            let answer = client.response().expect_status(200);
            assert_eq!(answer.header("connection"), Some("keep-alive"));
        }
        client.send("GET / HTTP/1.0\r\nhost: a\r\n\r\n");
        client.response().expect_status(200);
        client.expect_close();
    });
}

#[test]
fn http2_carries_scheme_authority_path_and_method() {
    Server::of_both_zoos(&[], |server| {
        block_on(async {
            let mut connection = Connection::http2(server.addr).await;
            let request = Request::patch("http://example.org:99/inspect?a=b").header("x-one", "1");
            let answer = connection.send(request.body(Empty::new().boxed()).unwrap()).await.unwrap();
            let answer = Answer::of(answer).await.unwrap();
            for (field, value) in [
                ("method", "PATCH"),
                ("scheme", "http"),
                ("authority", "example.org:99"),
                ("path", "/inspect?a=b"),
                ("x-one", "1"),
            ] {
                assert_eq!(seen(answer.text(), field), value);
            }
        });
    });
}

#[test]
fn the_guest_sees_the_headers_of_the_message_and_not_those_of_the_connection() {
    Server::of_both_zoos(&[], |server| {
        let answer = ask(
            server,
            "POST /inspect HTTP/1.1\r\nHost: a\r\nX-Twice: 1\r\nConnection: keep-alive\r\nKeep-Alive: 5\r\n\
             Upgrade: h2c\r\nX-Empty:\r\nProxy-Connection: keep-alive\r\nx-twice: 2\r\nX-Spaces:   a b \t\r\n\
             Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        );
        let headers: Vec<_> = answer.text().lines().skip(4).collect();
        assert_eq!(headers, ["x-empty: ", "x-spaces: a b", "x-twice: 1", "x-twice: 2"]);
    });
}

#[test]
fn a_header_may_hold_bytes_that_are_no_text() {
    Server::of_both_zoos(&[], |server| {
        let answer = ask(server, b"GET /inspect HTTP/1.1\r\nhost: a\r\nx-bytes: \xff\xfe!\r\n\r\n");
        assert_eq!(seen(answer.expect_status(200).text(), "x-bytes"), "\u{fffd}\u{fffd}!");
    });
}

#[test]
fn a_response_has_what_the_guest_said_length_and_date_and_nothing_else() {
    Server::of_both_zoos(&[], |server| {
        let answer = server.get("/").expect_status(200);
        let mut names: Vec<_> = answer.headers.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, ["content-length", "content-type", "date"]);
        let date = answer.header("date").unwrap();
        assert!(date.ends_with(" GMT") && date.len() == "Sun, 06 Nov 1994 08:49:37 GMT".len(), "{date}");
        assert_eq!(answer.header("content-length"), Some("19"));
    });
}

#[test]
fn a_complete_body_has_its_length_and_a_streamed_one_has_chunks() {
    Server::of_both_zoos(&[], |server| {
        let complete = server.get("/inspect");
        assert_eq!(complete.header("content-length"), Some(complete.body.len().to_string().as_str()));
        assert_eq!(complete.header("transfer-encoding"), None);
        let streamed = server.get("/stream?ms=1");
        assert_eq!(streamed.header("content-length"), None);
        assert_eq!(streamed.header("transfer-encoding"), Some("chunked"));
        assert_eq!(streamed.text(), "aaaaaaaabbbbbbbbcccccccc");
        let declared = server.get("/length?n=200000");
        assert_eq!(declared.header("content-length"), Some("200000"));
        assert_eq!(declared.header("transfer-encoding"), None);
        assert_eq!(declared.body.len(), 200_000);
    });
}

#[test]
fn a_body_of_another_length_than_declared_is_never_taken_for_complete() {
    Server::of_both_zoos(&[], |server| {
        for path in ["/length?n=5&declared=9", "/length?n=9&declared=5", "/length?n=300000&declared=300001"] {
            let mut client = server.connect();
            match client.try_get(path) {
                Ok(answer) => assert_eq!(answer.status, 500, "{path}"),
                Err(error) => assert_eq!(error.kind(), ErrorKind::UnexpectedEof, "{path}"),
            }
        }
        server.get("/").expect_status(200);
    });
}

#[test]
fn head_has_the_headers_of_get_and_no_body_and_the_connection_goes_on() {
    Server::of_both_zoos(&[], |server| {
        let mut client = server.connect();
        for path in ["/", "/length?n=70000", "/stream?ms=1", "/headers?count=3", "/trap"] {
            let get = client.get(path);
            client.send_head("HEAD", path, &[]);
            let head = client.response_to_head();
            assert_eq!(head.status, get.status);
            // An unframed body has no length that could be named.
            let comparable = |response: &Response| -> Vec<_> {
                let headers = response.headers.iter();
                headers.filter(|(name, _)| name != "date" && name != "transfer-encoding").cloned().collect()
            };
            assert_eq!(comparable(&head), comparable(&get), "{path}");
        }
        assert_eq!(client.get("/").text(), "hello from the zoo\n");
    });
}

#[test]
fn head_over_http2_has_no_body_either() {
    Server::of_both_zoos(&[], |server| {
        block_on(async {
            let mut connection = Connection::http2(server.addr).await;
            for path in ["/", "/stream?ms=1"] {
                let head = Request::head(path).body(Empty::new().boxed()).unwrap();
                let answer = Answer::of(connection.send(head).await.unwrap()).await.unwrap();
                assert_eq!((answer.status, answer.body.len()), (StatusCode::OK, 0));
            }
            assert_eq!(connection.get("/").await.unwrap().text(), "hello from the zoo\n");
        });
    });
}

#[test]
fn statuses_are_passed_on() {
    Server::of_both_zoos(&[], |server| {
        let mut client = server.connect();
        for code in [200, 201, 299, 301, 400, 404, 418, 451, 499, 500, 503, 599] {
            let answer = client.get(&format!("/status?code={code}")).expect_status(code);
            assert_eq!(answer.header("content-length"), Some("0"), "{code}");
        }
    });
}

#[test]
fn statuses_without_a_body_have_none_and_the_connection_goes_on() {
    Server::of_both_zoos(&[], |server| {
        let mut client = server.connect();
        for code in [204, 304] {
            let answer = client.get(&format!("/status?code={code}")).expect_status(code);
            assert_eq!(answer.header("transfer-encoding"), None);
            assert_eq!(client.get("/").expect_status(200).text(), "hello from the zoo\n");
        }
    });
}

#[test]
fn a_status_that_is_not_final_is_an_error_of_the_guest() {
    Server::of_both_zoos(&[], |server| {
        for code in [100, 101, 103, 199] {
            server.get(&format!("/status?code={code}")).expect_status(500);
            server.wait_for_stderr(&format!("the guest answered with status {code}, which is not final"));
        }
    });
}

#[test]
fn many_requests_take_turns_on_one_connection() {
    Server::of_both_zoos(&[], |server| {
        let mut client = server.connect();
        for turn in 0..500 {
            let answer = match turn % 4 {
                0 => client.get("/"),
                1 => client.post("/echo", vec![b'x'; turn * 100]),
                2 => client.get("/stream?ms=0&chunks=2"),
                _ => client.get("/nowhere"),
            };
            assert!(!answer.closes(), "turn {turn}");
            let (status, length) = [(200, 19), (200, turn * 100), (200, 16), (404, 10)][turn % 4];
            assert_eq!((answer.status, answer.body.len()), (status, length), "turn {turn}");
        }
    });
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    Server::of_both_zoos(&[], |server| {
        let mut client = server.connect();
        let mut requests = String::new();
        for number in 0..100 {
            // The slow one comes first, and must not be overtaken.
            let path = if number % 10 == 0 { "/slow?ms=10" } else { "/inspect" };
            requests += &format!("GET {path} HTTP/1.1\r\nhost: a\r\nx-number: {number}\r\n\r\n");
            requests += "POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nmore";
        }
        client.send(requests);
        for number in 0..100 {
            let answer = client.response().expect_status(200);
            if number % 10 == 0 {
                assert_eq!(answer.text(), "slept 10 ms\n");
            } else {
                assert_eq!(seen(answer.text(), "x-number"), number.to_string());
            }
            assert_eq!(client.response().text(), "more");
        }
    });
}

#[test]
fn connection_close_is_honoured_and_said() {
    Server::of_both_zoos(&[], |server| {
        let mut client = server.connect();
        client.send_head("GET", "/", &[("connection", "close")]);
        assert!(client.response().expect_status(200).closes());
        client.expect_close();
    });
}

#[test]
fn a_chunked_upload_is_the_last_request_of_its_connection() {
    Server::of_both_zoos(&[], |server| {
        let mut client = server.connect();
        client.send_head("POST", "/discard", &[("transfer-encoding", "chunked")]);
        client.send("5\r\nhello\r\n6;ext=1\r\n world\r\n0\r\n\r\n");
        let answer = client.response().expect_status(200);
        assert_eq!(answer.text(), "11\n");
        assert!(answer.closes());
        client.expect_close();
    });
}

#[test]
fn an_offer_to_upgrade_is_passed_over() {
    Server::of_both_zoos(&[], |server| {
        let mut client = server.connect();
        client.send_head(
            "GET",
            "/",
            &[
                ("connection", "upgrade, http2-settings"),
                ("upgrade", "h2c"),
                ("http2-settings", "AAMAAABkAAQAAP__"),
            ],
        );
        assert_eq!(client.response().expect_status(200).text(), "hello from the zoo\n");
        client.get("/").expect_status(200);
    });
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

/// Waits until the worker has stopped computing.
#[track_caller]
fn wait_until_it_rests(worker: u32) {
    let mut last = (computed(worker), Instant::now());
    eventually("a worker that waits", || {
        let now = computed(worker);
        if now != last.0 {
            last = (now, Instant::now());
        }
        (last.1.elapsed() > Duration::from_millis(300)).then_some(())
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
    Server::of_both_zoos(&["--timeout", "60s"], |server| {
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
fn trailers_of_a_response_reach_a_client_that_wants_them() {
    Server::of_both_zoos(&[], |server| {
        let mut client = server.connect();
        client.send_head("GET", "/trailers", &[("te", "trailers")]);
        let answer = client.response().expect_status(200);
        assert_eq!((answer.text(), answer.trailer("x-checksum")), ("body\n", Some("abc")));
        let unasked = client.get("/trailers").expect_status(200);
        assert_eq!((unasked.text(), unasked.trailers.len()), ("body\n", 0));
        block_on(async {
            let mut connection = Connection::http2(server.addr).await;
            let answer = connection.get("/trailers").await.unwrap();
            assert_eq!((answer.text(), &answer.trailers["x-checksum"]), ("body\n", &"abc".parse().unwrap()));
        });
    });
}

#[test]
fn trailers_of_a_request_reach_the_guest() {
    Server::of_both_zoos(&[], |server| {
        for path in ["/echo", "/echo?direct"] {
            let mut client = server.connect();
            client.send_head(
                "POST",
                path,
                &[("te", "trailers"), ("trailer", "x-sum"), ("transfer-encoding", "chunked")],
            );
            client.send("4\r\nbody\r\n0\r\nX-Sum: 7\r\n\r\n");
            let answer = client.response().expect_status(200);
            assert_eq!((answer.text(), answer.trailer("x-sum")), ("body", Some("7")), "{path}");
        }
        block_on(async {
            let mut connection = Connection::http2(server.addr).await;
            let trailers: HeaderMap =
                [("x-sum".parse().unwrap(), "7".parse().unwrap())].into_iter().collect();
            let body = Full::new(Bytes::from("body")).with_trailers(async move { Some(Ok(trailers)) });
            let answer = connection.send(Request::post("/echo").body(body.boxed()).unwrap()).await.unwrap();
            let answer = Answer::of(answer).await.unwrap();
            assert_eq!((answer.text(), &answer.trailers["x-sum"]), ("body", &"7".parse().unwrap()));
        });
    });
}

#[test]
fn a_client_that_expects_100_gets_it_once_the_guest_reads() {
    Server::of_both_zoos(&[], |server| {
        let mut client = server.connect();
        client.send_head("POST", "/discard", &[("content-length", "5"), ("expect", "100-continue")]);
        assert_eq!(client.response().status, 100);
        client.send("hello");
        assert_eq!(client.response().expect_status(200).text(), "5\n");
        client.get("/").expect_status(200);
    });
}

#[test]
fn a_client_that_expects_100_gets_the_final_status_if_the_guest_does_not_read() {
    Server::of_both_zoos(&[], |server| {
        let mut client = server.connect();
        client.send_head("POST", "/ignore-body", &[("content-length", "5"), ("expect", "100-continue")]);
        assert_eq!(client.response().expect_status(200).text(), "ignored\n");
        // Whether the body still comes is not known, so nothing else can.
        client.expect_close();
    });
}

#[test]
fn a_client_that_expects_100_may_send_the_body_unasked() {
    Server::of_both_zoos(&[], |server| {
        for path in ["/discard", "/echo"] {
            let mut client = server.connect();
            client.send_head("POST", path, &[("content-length", "5"), ("expect", "100-continue")]);
            client.send("hello");
            let mut answer = client.response();
            if answer.status == 100 {
                answer = client.response();
            }
            assert_eq!(answer.expect_status(200).text(), if path == "/echo" { "hello" } else { "5\n" });
        }
    });
}

#[test]
fn the_headers_of_a_response_may_be_many_and_long() {
    Server::of_both_zoos(&[], |server| {
        for path in ["/headers?count=100&size=100", "/headers?count=1&size=60000"] {
            let answer = server.get(path).expect_status(200);
            let size: usize = answer
                .headers
                .iter()
                .filter(|(name, _)| name.starts_with("x-header-"))
                .map(|(_, value)| value.len())
                .sum();
            assert_eq!(size, if path.contains("100") { 10_000 } else { 60_000 });
        }
    });
}

#[test]
fn headers_of_a_response_beyond_all_bounds_are_an_error_of_the_guest() {
    Server::of_both_zoos(&[], |server| {
        let worker = server.worker();
        for path in ["/headers?count=30000&size=16", "/headers?count=1&size=20000000"] {
            let answer = server.get(path).expect_status(500);
            assert!(answer.head.len() < 1000, "{}", answer.head);
        }
        server.get("/").expect_status(200);
        assert_eq!(server.worker(), worker);
    });
}

#[test]
fn a_body_that_the_guest_does_not_read_is_the_last_of_its_connection() {
    Server::of_both_zoos(&[], |server| {
        let mut client = server.connect();
        // An empty one needs no reader.
        for _ in 0..3 {
            assert!(!client.post("/ignore-body", "").expect_status(200).closes());
        }
        let answer = client.post("/ignore-body", "unread").expect_status(200);
        assert_eq!((answer.text(), answer.closes()), ("ignored\n", true));
        client.expect_close();
    });
}

#[test]
fn a_large_body_that_the_guest_does_not_read_costs_the_connection_and_not_the_answer() {
    Server::of_both_zoos(&[], |server| {
        for path in ["/ignore-body", "/hold-body?ms=1"] {
            let mut client = server.connect();
            client.send_head("POST", path, &[("content-length", "20000000")]);
            let mut stream = client.stream().try_clone().unwrap();
            // It fails when the server has closed.
            let sending = thread::spawn(move || stream.write_all(&vec![b'x'; 20_000_000]).is_ok());
            let answer = client.response().expect_status(200);
            if sending.join().unwrap() && !answer.closes() {
                client.get("/").expect_status(200);
            } else {
                assert!(answer.closes(), "a connection that ends says so: {}", answer.head);
            }
        }
        server.get("/").expect_status(200);
    });
}

/// Waits until the only place for a request is taken.
#[track_caller]
fn wait_until_taken(addr: SocketAddr) {
    eventually("a request that has to wait", || {
        let mut other = RawClient::connect(addr);
        other.set_timeout(Duration::from_millis(100));
        other.try_get("/").is_err().then_some(())
    });
}

#[test]
fn a_client_that_leaves_takes_its_guest_with_it() {
    const ALONE: [&str; 4] = ["--max-concurrent-requests", "1", "--timeout", "none"];
    Server::of_both_zoos(&ALONE, |server| {
        for path in ["/never", "/spin", "/stream?chunks=1000000&ms=1", "/huge?mib=100000", "/work-after?ms=0"]
        {
            let mut client = server.connect();
            client.send_head("GET", path, &[]);
            if path.starts_with("/work-after") {
                // This one is over by itself, and leaves nothing to wait for.
                client.response().expect_status(200);
            } else {
                wait_until_taken(server.addr);
            }
            drop(client);
            server.get("/").expect_status(200);
        }
        wait_until_it_rests(server.worker());
    });
}

#[test]
fn a_client_of_http2_that_resets_a_stream_takes_its_guest_with_it() {
    const ALONE: [&str; 4] = ["--max-concurrent-requests", "1", "--timeout", "none"];
    Server::of_both_zoos(&ALONE, |server| {
        block_on(async {
            let mut connection = Connection::http2(server.addr).await;
            for path in ["/stream?chunks=1000000&ms=1", "/huge?mib=100000"] {
                let answer = connection.send(get(path)).await.unwrap();
                assert_eq!(answer.status(), StatusCode::OK);
                drop(answer);
                assert_eq!(connection.get("/").await.unwrap().text(), "hello from the zoo\n");
            }
            for path in ["/never", "/spin"] {
                let mut other = connection.clone();
                let waiting = tokio::spawn(async move { other.send(get(path)).await.map(drop) });
                let addr = server.addr;
                tokio::task::spawn_blocking(move || wait_until_taken(addr)).await.unwrap();
                waiting.abort();
                assert_eq!(connection.get("/").await.unwrap().text(), "hello from the zoo\n");
            }
        });
        wait_until_it_rests(server.worker());
    });
}

#[test]
fn a_stop_does_not_wait_for_a_client_that_has_left() {
    for zoo in ["zoo-p2", "zoo-p3"] {
        let server =
            Server::of(zoo).instances(1).args(["--timeout", "none", "--kill-timeout", "50s"]).start();
        let mut client = server.connect();
        client.send_head("GET", "/stream?chunks=1000000&ms=10", &[]);
        client.try_head().unwrap().expect_status(200);
        drop(client);
        server.signal(Signal::SIGTERM);
        server.wait_within(Duration::from_secs(20)).expect_code(0);
    }
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

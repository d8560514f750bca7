//! What a client gets of a response.

use std::io::ErrorKind;

use http_body_util::{BodyExt, Empty};
use hyper::{Request, StatusCode};

use crate::support::{Answer, Connection, Response, Server, block_on};

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

fn spins_in_chunks(server: &Server, ms: u32) -> bool {
    let answer = server.get(&format!("/spin-after-head?ms={ms}")).expect_status(200);
    assert_eq!(answer.text(), format!("spun {ms} ms\n"));
    answer.header("transfer-encoding").is_some()
}

/// A tick that comes while a guest computes between head and body is no reason to send in chunks what would have been complete
/// a moment later.
#[test]
fn a_guest_that_is_interrupted_in_its_body_still_has_a_length() {
    Server::of_both_zoos(&[], |server| {
        // A tick comes every 10 ms, so it hits half of them. Where others use the processor, too, it hits one twice.
        let hit_twice = (0..40).filter(|_| spins_in_chunks(server, 5)).count();
        assert!(hit_twice <= 5, "{hit_twice} of 40 in chunks");
    });
}

/// In 0.3 there is an answer only when the guest waits.
#[test]
fn a_guest_that_computes_for_long_in_its_body_has_its_head_go_ahead() {
    assert!(spins_in_chunks(&Server::of("zoo-p2").start(), 300));
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

/// try: a body longer or shorter than its `content-length` | 500 or a cut, never a response that looks complete | nobody
#[test]
fn a_body_of_another_length_than_declared_is_never_taken_for_complete() {
    Server::of_both_zoos(&[], |server| {
        // That of a worker which is killed for it would be an end of the connection, too.
        let workers = server.workers();
        for path in ["/length?n=5&declared=9", "/length?n=9&declared=5", "/length?n=300000&declared=300001"] {
            let mut client = server.connect();
            match client.try_get(path) {
                Ok(answer) => assert_eq!(answer.status, 500, "{path}"),
                Err(error) => assert_eq!(error.kind(), ErrorKind::UnexpectedEof, "{path}"),
            }
        }
        server.get("/").expect_status(200);
        assert_eq!(server.workers(), workers, "{}", server.explain());
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
                let differs = |name: &str| ["date", "transfer-encoding", "x-request-id"].contains(&name);
                headers.filter(|(name, _)| !differs(name)).cloned().collect()
            };
            assert_eq!(comparable(&head), comparable(&get), "{path}");
        }
        assert_eq!(client.get("/").text(), "hello from the zoo\n");
    });
}

#[test]
fn a_handler_may_answer_head_with_a_length_and_no_body() {
    Server::of_both_zoos(&[], |server| {
        let mut client = server.connect();
        client.send_head("HEAD", "/length?n=0&declared=70000", &[]);
        let head = client.response_to_head();
        assert_eq!((head.status, head.header("content-length")), (200, Some("70000")));
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

/// try: status 100, 101, 103, 199 | 500, and that is said | not looked at
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

/// try: 30,000 headers in a response, or one of 20 MB | 500 with a head of less than 1 kB | nobody
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

/// Asks for a response with one header, and fails unless the guest is refused it in every way to set one, and the client gets
/// what it gets without.
#[track_caller]
fn expect_no_field(server: &Server, name: &str, value: &str, refusal: &str) {
    let escaped = |text: &str| text.bytes().map(|byte| format!("%{byte:02x}")).collect::<String>();
    let path = format!("/field?name={}&value={}", escaped(name), escaped(value));
    let mut client = server.connect();
    let answer = client.get(&path).expect_status(200);
    for way in ["append", "set", "from-list"] {
        let refused = format!("{way}: Err(HeaderError::{refusal}");
        assert!(answer.text().contains(&refused), "{name:?}: {value:?} got {}", answer.text());
    }
    let mut names: Vec<_> = answer.headers.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["content-length", "date"], "{name:?}: {value:?} got {}", answer.head);
    // Nor has anything come behind it.
    assert_eq!(client.get("/").expect_status(200).text(), "hello from the zoo\n");
}

/// try: CR, LF or NUL in a header of a response, and another header or response behind it | refused to the guest | nobody
#[test]
fn no_header_makes_two_of_one() {
    Server::of_both_zoos(&[], |server| {
        let worker = server.worker();
        for injected in [
            "\r\nset-cookie: a=b",
            "\nset-cookie: a=b",
            "\rset-cookie: a=b",
            "\r\n folded",
            "\0",
            "\x7f",
            "\r\n",
        ] {
            expect_no_field(server, "x-field", &format!("value{injected}"), "InvalidSyntax");
            expect_no_field(server, &format!("x-field: value{injected}"), "value", "InvalidSyntax");
        }
        let response = "\r\ncontent-length: 0\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nsee";
        expect_no_field(server, "x-field", response, "InvalidSyntax");
        for name in ["", " x-field", "x-field ", "x field", "x-field:", "x-\u{fc}"] {
            expect_no_field(server, name, "value", "InvalidSyntax");
        }
        assert_eq!(server.worker(), worker);
    });
}

/// try: `connection`, `transfer-encoding`, `upgrade`, `host` and the like in a response | refused to the guest | nobody
#[test]
fn headers_of_the_connection_are_not_for_the_guest() {
    Server::of_both_zoos(&[], |server| {
        let worker = server.worker();
        for (name, value) in [
            ("connection", "close"),
            ("Connection", "upgrade"),
            ("keep-alive", "timeout=1"),
            ("proxy-connection", "close"),
            ("proxy-authenticate", "Basic"),
            ("transfer-encoding", "chunked"),
            ("TRANSFER-ENCODING", "identity"),
            ("upgrade", "websocket"),
            ("http2-settings", "AAMAAABkAAQAAP__"),
            ("host", "elsewhere.invalid"),
        ] {
            expect_no_field(server, name, value, "Forbidden");
        }
        assert_eq!(server.worker(), worker);
    });
}

/// To show that these tests would see it.
#[test]
fn a_header_of_the_guest_is_sent() {
    Server::of_both_zoos(&[], |server| {
        let answer = server.get("/field?name=x-field&value=a%20b").expect_status(200);
        assert_eq!(answer.header("x-field"), Some("a b"));
        assert_eq!(answer.text(), "append: Ok(())\nset: Ok(())\nfrom-list: Ok(())\n");
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

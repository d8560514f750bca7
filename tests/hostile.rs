//! What a client should never send, and what it costs: nothing to anybody else.
//!
//! After each attack the same worker must answer the next request at once.

use std::io::{self, ErrorKind, Write};
use std::net::Shutdown;
use std::thread;
use std::time::{Duration, Instant};

use nix::libc::linger;
use nix::sys::signal::Signal::SIGCONT;
use nix::sys::socket::{setsockopt, sockopt};

use crate::support::{PATIENCE, RawClient, Server, eventually, open_files, resident_memory, signal, stop};

/// How long an answer may take that should come at once. A loaded machine is no failure.
const AT_ONCE: Duration = Duration::from_secs(5);

/// Runs `attack` on both zoos, and makes sure that they do not notice.
#[track_caller]
fn survived(args: &[&str], attack: impl Fn(&Server)) {
    Server::of_both_zoos(args, |server| {
        let worker = server.worker();
        attack(server);
        expect_unharmed(server, worker);
    });
}

#[track_caller]
fn expect_unharmed(server: &Server, worker: u32) {
    let asked = Instant::now();
    server.get("/").expect_status(200);
    let took = asked.elapsed();
    assert!(took < AT_ONCE, "the next request took {took:?}");
    assert_eq!(server.worker(), worker, "the worker was replaced");
}

/// Everything that comes back for these bytes until the server closes.
#[track_caller]
fn everything_after(server: &Server, bytes: &[u8]) -> String {
    let mut client = server.connect();
    client.set_timeout(2 * AT_ONCE);
    // It may close before it has read all of it.
    let _ = client.try_send(bytes);
    let mut answer = Vec::new();
    loop {
        match client.try_some() {
            Ok(some) if !some.is_empty() => answer.extend(some),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                panic!("the connection stays open after {:?}", String::from_utf8_lossy(bytes))
            }
            Ok(_) | Err(_) => return String::from_utf8_lossy(&answer).into_owned(),
        }
    }
}

/// Fails unless these bytes get one response of this status, and then a close.
#[track_caller]
fn expect_refusal(server: &Server, bytes: impl AsRef<[u8]>, status: u16) {
    let answer = everything_after(server, bytes.as_ref());
    let shown = String::from_utf8_lossy(bytes.as_ref()).chars().take(200).collect::<String>();
    let expected = format!("HTTP/1.1 {status} ");
    assert!(answer.starts_with(&expected), "{shown:?} got {answer:?}");
    assert_eq!(answer.matches("HTTP/1.").count(), 1, "{shown:?} got {answer:?}");
    assert!(answer.to_ascii_lowercase().contains("connection: close\r\n"), "{shown:?} got {answer:?}");
}

#[test]
fn no_host_is_refused() {
    survived(&[], |server| {
        expect_refusal(server, "GET / HTTP/1.1\r\n\r\n", 400);
        expect_refusal(server, "GET / HTTP/1.1\r\nx-host: a\r\n\r\n", 400);
    });
}

#[test]
fn an_absolute_form_does_not_excuse_from_a_host() {
    survived(&[], |server| expect_refusal(server, "GET http://a/ HTTP/1.1\r\n\r\n", 400));
}

#[test]
fn a_target_that_is_only_a_host_is_refused() {
    survived(&[], |server| {
        for target in ["a", "a:80", "inspect"] {
            expect_refusal(server, format!("GET {target} HTTP/1.1\r\nhost: a\r\n\r\n"), 400);
        }
    });
}

#[test]
fn two_hosts_are_refused_even_if_they_agree() {
    survived(&[], |server| {
        expect_refusal(server, "GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", 400);
        expect_refusal(server, "GET / HTTP/1.1\r\nHost: a\r\nx: y\r\nHOST: a\r\n\r\n", 400);
        expect_refusal(server, "GET http://a/ HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", 400);
    });
}

#[test]
fn a_host_that_names_no_host_is_refused() {
    survived(&[], |server| {
        for host in ["a b", "a/b", "", "a:port", "a:1:2", "[::1", "a@", "http://a", "u:p@a", "a\u{7f}"] {
            expect_refusal(server, format!("GET / HTTP/1.1\r\nhost: {host}\r\n\r\n"), 400);
        }
    });
}

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

#[test]
fn a_head_that_is_too_large_is_refused() {
    survived(&[], |server| {
        let long = "a".repeat(100_000);
        expect_refusal(server, format!("GET / HTTP/1.1\r\nhost: a\r\nx: {long}\r\n\r\n"), 431);
        expect_refusal(server, format!("GET / HTTP/1.1\r\nhost: a\r\n{long}: x\r\n\r\n"), 431);
        let many: String = (0..20_000).map(|number| format!("x-{number}: y\r\n")).collect();
        expect_refusal(server, format!("GET / HTTP/1.1\r\nhost: a\r\n{many}\r\n"), 431);
        let line = "a".repeat(1_000_000);
        expect_refusal(server, format!("GET /{line} HTTP/1.1\r\nhost: a\r\n\r\n"), 431);
        // Without an end it is as large.
        expect_refusal(server, line, 431);
    });
}

#[test]
fn a_head_within_the_bounds_is_served() {
    survived(&[], |server| {
        let long = "a".repeat(60_000);
        let mut client = server.connect();
        client.send_head("GET", "/", &[("x", &long)]);
        client.response().expect_status(200);
        client.send_head("GET", &format!("/inspect?{long}"), &[]);
        client.response().expect_status(200);
    });
}

#[test]
fn lines_may_end_without_a_return_but_not_without_a_newline() {
    survived(&[], |server| {
        let mut client = server.connect();
        client.send("GET /inspect HTTP/1.1\nhost: a\nx-one: 1\n\n");
        let answer = client.response().expect_status(200);
        assert!(answer.text().ends_with("\nx-one: 1\n"), "{}", answer.text());
        for bytes in ["GET / HTTP/1.1\r\nhost: a\rx: y\r\n\r\n", "GET / HTTP/1.1\rhost: a\r\r"] {
            expect_refusal(server, bytes, 400);
        }
    });
}

#[test]
fn what_is_not_http_is_refused() {
    survived(&[], |server| {
        let tls_hello = [&[0x16, 3, 1, 0, 0xa5, 1, 0, 0, 0xa1, 3, 3][..], &[0; 160]].concat();
        let every_byte: Vec<u8> = (0..=255).collect();
        for bytes in [
            &b"hello\r\n\r\n"[..],
            &tls_hello,
            &every_byte,
            &[0; 4096],
            b"GET /\r\n\r\n",
            b"GET / HTTP/1.2\r\nhost: a\r\n\r\n",
            b"GET / HTTP/2.0\r\nhost: a\r\n\r\n",
            b"GET / HTCPCP/1.0\r\nhost: a\r\n\r\n",
            b"GET / HTTP/1.1 \r\nhost: a\r\n\r\n",
            b"G@T@ / HTTP/1.1\r\nhost: a\r\n\r\n",
            b"GET\0/ HTTP/1.1\r\nhost: a\r\n\r\n",
            b"GET /a\0b HTTP/1.1\r\nhost: a\r\n\r\n",
            b"GET ?a HTTP/1.1\r\nhost: a\r\n\r\n",
            b"GET http:///a HTTP/1.1\r\nhost: a\r\n\r\n",
            b"PRI * HTTP/1.1\r\n\r\n",
        ] {
            expect_refusal(server, bytes, 400);
        }
    });
}

#[test]
fn what_is_no_header_is_refused() {
    survived(&[], |server| {
        for line in [
            &b"x-a : b"[..],
            b"x-a: b\r\n folded",
            b"x-a: b\r\n\tfolded",
            b"x\0a: b",
            b"x-a: b\0c",
            b"x-a: \x01",
            b"x-a: \x7f",
            b"x a: b",
            b": b",
            b"no colon",
            b"x\xffa: b",
        ] {
            expect_refusal(server, [b"GET / HTTP/1.1\r\nhost: a\r\n", line, b"\r\n\r\n"].concat(), 400);
        }
    });
}

#[test]
fn nobody_is_connected_through() {
    survived(&[], |server| {
        expect_refusal(server, "CONNECT a:80 HTTP/1.1\r\nhost: a:80\r\n\r\n", 501);
        let more = "GET /inspect HTTP/1.1\r\nhost: a\r\n\r\n";
        expect_refusal(server, format!("CONNECT a:80 HTTP/1.1\r\nhost: a:80\r\n\r\n{more}"), 501);
    });
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

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

#[test]
fn a_connection_after_a_long_silence_is_served() {
    Server::of_both_zoos(&["--header-timeout", "300ms"], |server| {
        server.get("/").expect_status(200);
        // Silence is what this is about: there is nothing to wait for.
        thread::sleep(Duration::from_secs(1));
        server.get("/").expect_status(200);
    });
}

/// One second, for heads, bodies and requests.
const SHORT: [&str; 4] = ["--header-timeout", "1s", "--body-timeout", "1s"];

/// Fails unless the server closes, without a word, after about a second.
#[track_caller]
fn expect_close_in_time(client: &mut RawClient, began: Instant) {
    client.expect_close();
    let took = began.elapsed();
    // It looks four times a second.
    let in_time = Duration::from_millis(700)..AT_ONCE;
    assert!(in_time.contains(&took), "closed after {took:?}");
}

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

#[test]
fn an_idle_connection_is_kept_for_the_keep_alive_timeout() {
    survived(&["--keep-alive-timeout", "1s"], |server| {
        let mut client = server.connect();
        client.get("/").expect_status(200);
        let began = Instant::now();
        expect_close_in_time(&mut client, began);
    });
}

#[test]
fn a_preface_of_http2_and_then_silence_is_an_idle_connection() {
    survived(&["--keep-alive-timeout", "1s"], |server| {
        let began = Instant::now();
        everything_after(server, &[PREFACE, b"\0\0\0\x04\0\0\0\0\0"].concat());
        assert!(began.elapsed() < PATIENCE / 2, "closed after {:?}", began.elapsed());
    });
}

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

/// A connection with little room for what the server sends.
#[track_caller]
fn narrow(server: &Server) -> RawClient {
    let client = server.connect();
    setsockopt(client.stream(), sockopt::RcvBuf, &4096).unwrap();
    client
}

#[test]
fn a_client_that_reads_nothing_is_cut_and_costs_little_memory() {
    for limit in [["--body-timeout", "1s"], ["--timeout", "1s"]] {
        survived(&limit, |server| {
            let worker = server.worker();
            server.get("/huge?mib=1").expect_status(200);
            let before = resident_memory(worker);
            let open = open_files(server.worker());
            let clients: Vec<_> = (0..20)
                .map(|_| {
                    let mut client = narrow(server);
                    client.send_head("GET", "/huge?mib=1000", &[]);
                    client
                })
                .collect();
            server.get("/").expect_status(200);
            eventually("all of them cut", || {
                // Each may hold what fits its guest, its response and its connection.
                let grown = resident_memory(worker).saturating_sub(before);
                assert!(grown < 20 * (4 << 20), "the worker grew by {grown} bytes");
                (open_files(server.worker()) <= open).then_some(())
            });
            drop(clients);
        });
    }
}

#[test]
fn a_client_that_pipelines_and_reads_nothing_is_cut() {
    survived(&["--body-timeout", "1s"], |server| {
        let open = open_files(server.worker());
        let mut client = narrow(server);
        client.stream().set_write_timeout(Some(Duration::from_millis(300))).unwrap();
        let requests = "GET /length?n=60000 HTTP/1.1\r\nhost: a\r\n\r\n".repeat(100);
        while client.try_send(&requests).is_ok() {}
        eventually("it is cut", || (open_files(server.worker()) <= open).then_some(()));
    });
}

#[test]
fn half_a_body_and_then_silence_is_a_timeout_of_the_client() {
    let server = Server::of("zoo-p2").instances(1).args(SHORT).start();
    let worker = server.worker();
    for framing in ["content-length: 10\r\n\r\nhello", "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n"] {
        let began = Instant::now();
        expect_refusal(&server, format!("POST /discard HTTP/1.1\r\nhost: a\r\n{framing}"), 408);
        assert!(began.elapsed() > Duration::from_millis(700), "after {:?}", began.elapsed());
    }
    expect_unharmed(&server, worker);
    assert_eq!(server.stderr().lines().count(), 1, "clients can fill the log: {}", server.stderr());
}

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

#[test]
fn an_aborted_upload_ends_its_guest() {
    const ALONE: [&str; 4] = ["--max-concurrent-requests", "1", "--timeout", "none"];
    survived(&ALONE, |server| {
        for path in ["/discard", "/echo", "/ignore-body"] {
            for reset in [false, true] {
                let mut client = server.connect();
                client.send_head("POST", path, &[("content-length", "1000000")]);
                client.send(vec![b'x'; 100_000]);
                if reset {
                    let at_once = linger { l_onoff: 1, l_linger: 0 };
                    setsockopt(client.stream(), sockopt::Linger, &at_once).unwrap();
                }
                drop(client);
                server.get("/").expect_status(200);
            }
        }
    });
}

#[test]
fn an_aborted_upload_that_its_guest_does_not_read_ends_with_its_time() {
    // Nobody looks at the connection while the guest holds the body, so nobody can know that the client has left.
    survived(&["--max-concurrent-requests", "1", "--timeout", "1s"], |server| {
        let mut client = server.connect();
        client.send_head("POST", "/hold-body?ms=10000000", &[("content-length", "1000000")]);
        client.send(vec![b'x'; 100_000]);
        drop(client);
        eventually("its guest is gone", || (server.get("/").status == 200).then_some(()));
    });
}

#[test]
fn a_client_that_has_said_all_it_will_is_still_answered() {
    survived(&[], |server| {
        let mut client = server.connect();
        // So that the worker finds the request and the end in one look.
        stop(server.worker());
        client.send_head("GET", "/", &[]);
        client.stream().shutdown(Shutdown::Write).unwrap();
        signal(server.worker(), SIGCONT);
        client.response().expect_status(200);
        client.expect_close();
    });
}

#[test]
fn clients_that_come_and_go_leave_nothing_open() {
    survived(&[], |server| {
        server.get("/").expect_status(200);
        let open = open_files(server.worker());
        for number in 0..1000 {
            let mut client = server.connect();
            match number % 4 {
                0 => {}
                1 => client.send("GET / HT"),
                2 => client.send_head("GET", "/stream?ms=1000000", &[]),
                _ => client.send_head("POST", "/discard", &[("content-length", "5")]),
            }
        }
        eventually("all of them closed", || (open_files(server.worker()) <= open).then_some(()));
    });
}

#[test]
fn a_client_that_goes_on_sending_what_nobody_reads_is_left() {
    survived(&[], |server| {
        for path in ["/ignore-body", "/trap"] {
            let mut client = server.connect();
            client.send_head("POST", path, &[("content-length", "1000000000000")]);
            let began = Instant::now();
            let megabyte = vec![0; 1 << 20];
            while client.try_send(&megabyte).is_ok() {
                assert!(began.elapsed() < PATIENCE, "it is still listened to");
            }
        }
    });
}

/// A frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

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

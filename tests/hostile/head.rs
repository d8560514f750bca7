//! Heads of HTTP/1.1 that are none, or too large, or ask for what is not there.

use super::{expect_refusal, survived};

/// try: HTTP/1.1 without a `host` | 400 and a close | nobody
#[test]
fn no_host_is_refused() {
    survived(&[], |server| {
        expect_refusal(server, "GET / HTTP/1.1\r\n\r\n", 400);
        expect_refusal(server, "GET / HTTP/1.1\r\nx-host: a\r\n\r\n", 400);
    });
}

/// try: an absolute target in place of a `host` | 400 and a close | nobody
#[test]
fn an_absolute_form_does_not_excuse_from_a_host() {
    survived(&[], |server| expect_refusal(server, "GET http://a/ HTTP/1.1\r\n\r\n", 400));
}

/// try: a target that is only a host | 400 and a close | nobody
#[test]
fn a_target_that_is_only_a_host_is_refused() {
    survived(&[], |server| {
        for target in ["a", "a:80", "inspect"] {
            expect_refusal(server, format!("GET {target} HTTP/1.1\r\nhost: a\r\n\r\n"), 400);
        }
    });
}

/// try: two hosts, also beside an absolute target | 400 and a close | nobody
#[test]
fn two_hosts_are_refused_even_if_they_agree() {
    survived(&[], |server| {
        expect_refusal(server, "GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", 400);
        expect_refusal(server, "GET / HTTP/1.1\r\nHost: a\r\nx: y\r\nHOST: a\r\n\r\n", 400);
        expect_refusal(server, "GET http://a/ HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", 400);
    });
}

/// try: a `host` with spaces, slashes, userinfo, half an address, nothing | 400 and a close | nobody
#[test]
fn a_host_that_names_no_host_is_refused() {
    survived(&[], |server| {
        for host in ["a b", "a/b", "", "a:port", "a:1:2", "[::1", "a@", "http://a", "u:p@a", "a\u{7f}"] {
            expect_refusal(server, format!("GET / HTTP/1.1\r\nhost: {host}\r\n\r\n"), 400);
        }
    });
}

/// try: a field of 100 kB, 20,000 fields, a target of 1 MB, 1 MB without an end | 431 and a close | nobody
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
    survived(&["--max-target-size", "63KiB"], |server| {
        let long = "a".repeat(60_000);
        let mut client = server.connect();
        client.send_head("GET", "/", &[("x", &long)]);
        client.response().expect_status(200);
        client.send_head("GET", &format!("/inspect?{long}"), &[]);
        client.response().expect_status(200);
    });
}

/// try: lines that end with a bare CR | 400 and a close | nobody
#[test]
fn lines_may_end_without_a_return_but_not_without_a_newline() {
    survived(&[], |server| {
        let mut client = server.connect();
        client.send("GET /inspect HTTP/1.1\nhost: a\nx-one: 1\n\n");
        let answer = client.response().expect_status(200);
        assert!(answer.text().contains("\nx-one: 1\n"), "{}", answer.text());
        for bytes in ["GET / HTTP/1.1\r\nhost: a\rx: y\r\n\r\n", "GET / HTTP/1.1\rhost: a\r\r"] {
            expect_refusal(server, bytes, 400);
        }
    });
}

/// try: garbage, zeros, a TLS hello, HTTP/0.9, HTTP/1.2, NUL in a target | 400 and a close | nobody
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

/// try: a space before the colon, folded lines, control characters, no colon, no name | 400 and a close | nobody
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

/// try: `CONNECT`, alone and with a second request behind | one 501 and a close | nobody
#[test]
fn nobody_is_connected_through() {
    survived(&[], |server| {
        expect_refusal(server, "CONNECT a:80 HTTP/1.1\r\nhost: a:80\r\n\r\n", 501);
        let more = "GET /inspect HTTP/1.1\r\nhost: a\r\n\r\n";
        expect_refusal(server, format!("CONNECT a:80 HTTP/1.1\r\nhost: a:80\r\n\r\n{more}"), 501);
    });
}

//! What a guest sees of a request.

use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Bytes;
use hyper::{HeaderMap, Request};

use super::seen;
use crate::support::{Answer, Connection, Response, Server, block_on};

/// The answer to a request that is sent as it stands.
#[track_caller]
fn ask(server: &Server, request: impl AsRef<[u8]>) -> Response {
    let mut client = server.connect();
    client.send(request);
    client.response()
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

/// try: a target that claims `https` | the guest sees `http` | not looked at
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

/// try: `connection`, `upgrade`, `proxy-connection`, `transfer-encoding` | the guest does not see them | not looked at
#[test]
fn the_guest_sees_the_headers_of_the_message_and_not_those_of_the_connection() {
    Server::of_both_zoos(&[], |server| {
        let answer = ask(
            server,
            "POST /inspect HTTP/1.1\r\nHost: a\r\nX-Twice: 1\r\nConnection: keep-alive\r\nKeep-Alive: 5\r\n\
             Upgrade: h2c\r\nX-Empty:\r\nProxy-Connection: keep-alive\r\nx-twice: 2\r\nX-Spaces:   a b \t\r\n\
             Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        );
        let told = ["x-forwarded-for: ", "x-forwarded-proto: ", "x-request-id: "];
        let is_sent = |line: &&str| !told.iter().any(|told| line.starts_with(told));
        let headers: Vec<_> = answer.text().lines().skip(4).filter(is_sent).collect();
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

//! One request after the other on a connection, and what makes one its last.

use std::io::Write;
use std::thread;

use super::seen;
use crate::support::Server;

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

/// try: 20 MB of a body that the guest does not read | the answer; a connection that ends says so | others are served
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

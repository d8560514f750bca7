//! Where an app listens, and how that is said.

use std::net::TcpListener;

use crate::support::{RawClient, Server, program};

#[test]
fn addresses_can_be_said_in_many_ways() {
    for addr in ["127.0.0.1:0", ":0", "0", "localhost:0", "0.0.0.0:0"] {
        let server = Server::of("hello-p2").instances(1).addr(addr).start();
        assert_ne!(server.addr.port(), 0, "{addr}");
        let port = server.addr.port();
        assert_eq!(RawClient::connect(([127, 0, 0, 1], port).into()).get("/").status, 200, "{addr}");
    }
}

#[test]
fn listen_is_another_word_for_addr() {
    let server = Server::of("hello-p2").instances(1).no_addr().args(["--listen", "127.0.0.1:0"]).start();
    assert_eq!(server.get("/").status, 200);
}

#[test]
fn an_address_that_is_none_is_refused() {
    for addr in ["nonsense", "127.0.0.1", "127.0.0.1:99999", "::1:80", ""] {
        let refused = program(["serve", &format!("--addr={addr}")]).run();
        refused.expect_usage("for `--addr`");
    }
}

#[test]
fn ipv6_is_served() {
    if TcpListener::bind("[::1]:0").is_err() {
        eprintln!("skipped: no IPv6 on this machine");
        return;
    }
    let server = Server::of("zoo-p2").instances(1).addr("[::1]:0").start();
    assert!(server.addr.is_ipv6());
    let inspected = server.get("/inspect").expect_status(200);
    assert!(inspected.text().contains(&format!("authority: {}\n", server.addr)), "{}", inspected.text());
    // All interfaces of IPv6 are all of IPv4 as well.
    let both = Server::of("hello-p2").instances(1).addr("[::]:0").start();
    let port = both.addr.port();
    assert_eq!(RawClient::connect(([127, 0, 0, 1], port).into()).get("/").status, 200);
    assert_eq!(RawClient::connect(format!("[::1]:{port}").parse().unwrap()).get("/").status, 200);
}

#[test]
fn the_variable_port_chooses_the_port() {
    // Port 0 rather than a number: a free one cannot be named beforehand. The default would be 8080.
    let server = Server::of("hello-p2").instances(1).no_addr().env("PORT", "0").start();
    assert!(server.addr.ip().is_loopback());
    assert_ne!(server.addr.port(), 8080);
    program(["serve"]).env("PORT", "http").run().expect_usage("variable `PORT`");
}

#[test]
fn an_address_wins_over_the_variable_port() {
    let server = Server::of("hello-p2").instances(1).addr("127.0.0.1:0").env("PORT", "http").start();
    assert_eq!(server.get("/").status, 200);
}

#[test]
fn the_address_is_free_again_after_a_stop() {
    let first = Server::of("hello-p2").start();
    let addr = first.addr;
    assert_eq!(first.get("/").status, 200);
    first.stop();
    let second = Server::of("hello-p2").addr(addr).start();
    assert_eq!(second.addr, addr);
    assert_eq!(second.get("/").status, 200);
}

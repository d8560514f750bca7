//! A client that leaves takes its guest with it.

use std::net::SocketAddr;
use std::time::Duration;

use hyper::StatusCode;
use nix::sys::signal::Signal;

use super::{get, wait_until_it_rests};
use crate::support::{Connection, RawClient, Server, block_on, eventually};

/// Waits until the only place for a request is taken.
#[track_caller]
fn wait_until_taken(addr: SocketAddr) {
    eventually("a request that has to wait", || {
        let mut other = RawClient::connect(addr);
        other.set_timeout(Duration::from_millis(100));
        other.try_get("/").is_err().then_some(())
    });
}

/// try: leaving a guest that waits, computes, streams or writes 100 GB | it ends: the only place is free | others are served
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

/// try: the same by the reset of a stream | it ends: the only place is free | others on the connection are served
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

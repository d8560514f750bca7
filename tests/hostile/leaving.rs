//! Clients that leave in the middle.

use std::net::Shutdown;

use nix::libc::linger;
use nix::sys::signal::Signal::SIGCONT;
use nix::sys::socket::{setsockopt, sockopt};

use super::survived;
use crate::support::{eventually, open_files, signal, stop};

/// try: an upload broken off, by a close or a reset | its guest ends: the only place is free | nobody
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

/// try: the same to a guest that does not read on | its guest ends with `--timeout` | nobody
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
        for path in ["/", "/slow?ms=50", "/spin?ms=30", "/stream?chunks=3&ms=50"] {
            let mut client = server.connect();
            // So that the worker finds the request and the end in one look.
            stop(server.worker());
            client.send_head("GET", path, &[]);
            client.stream().shutdown(Shutdown::Write).unwrap();
            signal(server.worker(), SIGCONT);
            client.response().expect_status(200);
            client.expect_close();
        }
        let mut client = server.connect();
        client.send_head("POST", "/discard", &[("content-length", "4")]);
        client.send("body");
        client.stream().shutdown(Shutdown::Write).unwrap();
        assert_eq!(client.response().expect_status(200).text(), "4\n");
        // More than the sockets hold, taken slowly: its end waits in the worker when the guest is through.
        let mut client = server.connect();
        client.send_head("GET", "/huge?mib=32", &[]);
        client.stream().shutdown(Shutdown::Write).unwrap();
        let answer = client.response().expect_status(200);
        assert_eq!(answer.body.len(), 32 << 20);
        client.expect_close();
    });
}

/// try: 1,000 connections left at once, in a head, a body or a response | every descriptor comes back | nobody
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

//! Clients that do not read what they are sent, or send what nobody reads.

use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};

use super::survived;
use crate::support::{PATIENCE, RawClient, Server, eventually, open_files, resident_memory};

/// A connection with little room for what the server sends.
#[track_caller]
fn narrow(server: &Server) -> RawClient {
    let client = server.connect();
    setsockopt(client.stream(), sockopt::RcvBuf, &4096).unwrap();
    client
}

/// try: 20 clients that ask for 1,000 MiB each and read nothing | cut in time; less than 4 MiB of memory each | nobody
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

/// try: requests without end, answers unread | cut, with a `--body-timeout` of 1 s | nobody
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

/// try: 1 TB of a body to a guest that ignores it or has trapped | the connection ends | nobody
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

//! The end of an app by a signal: what is under way is finished, and how long that may take. The command is in
//! `control/stop.rs`.

use std::time::Duration;

use nix::sys::signal::Signal;

use crate::support::frames::{DATA, END_HEADERS, FrameClient, GOAWAY, HEADERS};
use crate::support::{RawClient, Server, children, eventually, expect_gone, listens, signal};

const STOPPING: &str = "stopping: requests in flight are finished first";

#[test]
fn term_finishes_what_is_in_flight() {
    stops_gracefully_by(Signal::SIGTERM);
}

#[test]
fn int_finishes_what_is_in_flight() {
    stops_gracefully_by(Signal::SIGINT);
}

#[test]
fn quit_finishes_what_is_in_flight() {
    stops_gracefully_by(Signal::SIGQUIT);
}

#[track_caller]
fn stops_gracefully_by(which: Signal) {
    let server = Server::of("zoo-p2").start();
    // By now it is being answered: the head is out, and the body takes another second.
    let mut clients: Vec<_> = (0..4).map(|_| streaming(&server, "/stream?chunks=6&ms=100&size=4")).collect();
    server.signal(which);
    server.wait_for_stderr(STOPPING);
    for client in &mut clients {
        let mut body = Vec::new();
        while let Some(chunk) = client.try_chunk().unwrap() {
            body.extend(chunk);
        }
        assert_eq!(body, b"aaaabbbbccccddddeeeeffff");
    }
    let addr = server.addr;
    let finished = server.wait();
    finished.expect_code(0);
    assert!(!listens(addr));
    assert!(!finished.stderr.contains("cut"), "{}", finished.explain());
}

#[test]
fn a_signal_before_it_serves_is_heard() {
    // The memory of a fresh cache: this one is compiling when it is told to stop, or has just begun to serve.
    let running = Server::of("zoo-p3").own_cache().program().start();
    eventually("a child", || (!children(running.pid()).is_empty()).then_some(()));
    signal(running.pid(), Signal::SIGTERM);
    running.wait().expect_code(0);
}

#[test]
fn signals_in_one_breath_are_one_wish() {
    let server = Server::of("zoo-p2").start();
    let mut client = streaming(&server, "/stream?chunks=5&ms=100&size=1");
    // As `timeout` and some init systems do: the process, and then its group.
    server.signal(Signal::SIGTERM);
    server.signal(Signal::SIGTERM);
    server.signal(Signal::SIGINT);
    let mut body = Vec::new();
    while let Some(chunk) = client.try_chunk().unwrap() {
        body.extend(chunk);
    }
    assert_eq!(body, b"abcde");
    server.wait().expect_code(0);
}

#[test]
fn a_service_manager_that_signals_every_process_cuts_nothing() {
    let server = Server::of("zoo-p2").start();
    let mut clients: Vec<_> = (0..4).map(|_| streaming(&server, "/stream?chunks=5&ms=100&size=1")).collect();
    // As systemd does, unless told otherwise.
    for pid in [vec![server.pid()], server.workers()].concat() {
        signal(pid, Signal::SIGTERM);
    }
    for client in &mut clients {
        let mut body = Vec::new();
        while let Some(chunk) =
            client.try_chunk().unwrap_or_else(|error| panic!("{error}{}", server.explain()))
        {
            body.extend(chunk);
        }
        assert_eq!(body, b"abcde");
    }
    server.wait().expect_code(0);
}

#[test]
fn who_connected_before_the_end_and_asks_after_it_is_served() {
    let server = Server::of("hello-p2").instances(1).start();
    let mut client = server.connect();
    server.signal(Signal::SIGTERM);
    // From here on idle connections are closed, and this one is not left alone for long.
    eventually("nobody listens", || (!listens(server.addr)).then_some(()));
    let answer = client.get("/").expect_status(200);
    assert!(answer.closes());
    server.wait().expect_code(0);
}

#[test]
fn a_second_signal_stops_at_once() {
    let server = Server::of("zoo-p2").args(["--kill-timeout", "1h", "--timeout", "none"]).start();
    let _waiting = streaming(&server, "/stream?chunks=1000000&ms=100");
    server.signal(Signal::SIGTERM);
    server.wait_for_stderr(STOPPING);
    // Signals within a tenth of a second are one wish, so only time makes this the second one.
    std::thread::sleep(Duration::from_millis(250));
    let workers = server.workers();
    assert!(!workers.is_empty(), "it waits for the request{}", server.explain());
    server.signal(Signal::SIGTERM);
    server.wait_within(Duration::from_secs(10)).expect_code(0).expect_stderr("stopping at once");
    expect_gone(&workers);
}

#[test]
fn what_is_left_at_the_kill_timeout_is_cut_and_counted() {
    let server =
        Server::of("zoo-p2").instances(1).args(["--kill-timeout", "600ms", "--timeout", "none"]).start();
    let _waiting: Vec<_> = (0..3).map(|_| streaming(&server, "/stream?chunks=1000000&ms=50")).collect();
    server.signal(Signal::SIGTERM);
    let finished = server.wait_within(Duration::from_secs(20));
    finished.expect_code(0).expect_stderr("3 requests cut at the deadline");
}

#[test]
fn answers_given_while_stopping_end_their_connection() {
    let server = Server::of("zoo-p2").instances(1).start();
    // Its head is sent once it has slept, and by then the stop has been noticed.
    let mut client = server.connect();
    assert!(!client.get("/").closes());
    client.send_head("GET", "/slow?ms=600", &[]);
    let _under_way = streaming(&server, "/stream?chunks=2&ms=10");
    server.signal(Signal::SIGTERM);
    let answer = client.response().expect_status(200);
    assert_eq!(answer.text(), "slept 600 ms\n");
    assert!(answer.closes(), "{}", answer.head);
    client.expect_close();
    server.wait().expect_code(0);
}

#[test]
fn idle_connections_do_not_hold_up_a_stop() {
    let server = Server::of("hello-p2").instances(1).args(["--kill-timeout", "1h"]).start();
    let mut idle = server.connect();
    assert_eq!(idle.get("/").status, 200);
    let mut silent = server.connect();
    server.signal(Signal::SIGTERM);
    server.wait_within(Duration::from_secs(10)).expect_code(0);
    idle.expect_close();
    silent.expect_close();
}

#[test]
fn http2_learns_of_a_stop_by_goaway_and_gets_its_answer() {
    let server = Server::of("zoo-p2").instances(1).start();
    let mut client = FrameClient::connect(server.addr);
    client.send_get(1, "/slow?ms=600");
    let _under_way = streaming(&server, "/stream?chunks=2&ms=10");
    server.signal(Signal::SIGTERM);

    let frames = client.rest();
    let goaways: Vec<_> = frames.iter().filter(|frame| frame.kind == GOAWAY).collect();
    let answered =
        |kind, flag| frames.iter().any(|f| f.kind == kind && f.stream == 1 && f.flags & flag == flag);
    assert!(answered(HEADERS, END_HEADERS), "{frames:?}");
    assert!(
        frames.iter().any(|frame| frame.kind == DATA && frame.payload == b"slept 600 ms\n"),
        "{frames:?}"
    );
    assert!(!goaways.is_empty(), "{frames:?}");
    // The error code: this is no error.
    assert!(goaways.iter().all(|goaway| goaway.payload[4..8] == [0; 4]), "{frames:?}");
    server.wait().expect_code(0);
}

/// A request whose answer has begun.
#[track_caller]
fn streaming(server: &Server, path: &str) -> RawClient {
    let mut client = server.connect();
    client.send_head("GET", path, &[]);
    let head = client.try_head().unwrap_or_else(|error| panic!("{path}: {error}{}", server.explain()));
    assert_eq!(head.status, 200);
    client
}

//! Ten thousand clients at once.

use std::net::Ipv4Addr;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::{expect_reached, reached};
use crate::support::{RawClient, Server, eventually, open_files};

/// Has this process open as many descriptors as that, beside those of other tests. What it may open is no limit of the program:
/// where it is too little, nothing was shown, and the test fails.
#[track_caller]
fn may_open(many: u64) {
    const OTHERS: u64 = 2_000;
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    let wanted = many + OTHERS;
    assert!(hard >= wanted, "{wanted} descriptors are needed, and {hard} are allowed; raise `ulimit -Hn`");
    if soft < wanted {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    }
}

/// Connections of some addresses in turn.
#[track_caller]
fn crowd(server: &Server, size: usize, addresses: u8) -> Vec<RawClient> {
    let addresses = (1..=addresses).map(|last| Ipv4Addr::new(127, 0, 7, last)).cycle();
    addresses.take(size).map(|from| RawClient::connect_from(from, server.addr)).collect()
}

/// try: 10,000 connections that say nothing, where so many may be | they are held | nobody: a quick request is answered
#[test]
fn that_is_let_in_is_held() {
    const CROWD: usize = 10_000;
    may_open(CROWD as u64);
    let args =
        ["--max-connections", "10100", "--max-connections-per-address", "1000", "--header-timeout", "10m"];
    let server = Server::of("hello-p2").instances(1).args(args).start();
    let worker = server.worker();
    let mut crowd = crowd(&server, CROWD, 10);
    eventually("all of them", || (open_files(worker) > CROWD).then_some(()));
    for _ in 0..10 {
        server.get("/").expect_status(200);
    }
    // They are served whenever they come to ask.
    for client in crowd.iter_mut().step_by(CROWD / 100) {
        client.get("/").expect_status(200);
    }
    assert_eq!(reached(&server).len(), 0, "{:?}", reached(&server));
    drop(crowd);
    eventually("their descriptors", || (open_files(worker) < 100).then_some(()));
    server.get("/").expect_status(200);
    assert_eq!(server.worker(), worker, "{}", server.explain());
}

/// try: 5,000 connections of four addresses, where 4,096 may be | the rest waits, counted | those that are in are served
#[test]
fn that_is_too_large_waits_outside() {
    const CROWD: usize = 5_000;
    const IN: usize = 4_096;
    may_open(CROWD as u64);
    let server = Server::of("hello-p2").instances(1).args(["--header-timeout", "10m"]).start();
    let worker = server.worker();
    let before = open_files(worker);
    let mut crowd = crowd(&server, CROWD, 4);
    eventually("as many as may be", || (open_files(worker) >= before + IN).then_some(()));
    expect_reached(&server, &[("max-connections", 1)]);
    let last = crowd.last_mut().unwrap();
    last.send_head("GET", "/", &[]);
    for client in crowd[..IN].iter_mut().step_by(IN / 100) {
        client.get("/").expect_status(200);
    }
    assert_eq!(open_files(worker), before + IN);
    // There is room when others go.
    let mut waiting = crowd.split_off(CROWD - IN);
    drop(crowd);
    waiting.pop().unwrap().response().expect_status(200);
    for client in waiting.iter_mut().step_by(IN / 100) {
        client.get("/").expect_status(200);
    }
    assert_eq!(server.worker(), worker, "{}", server.explain());
}

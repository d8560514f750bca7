//! Whether a request finds anything that another one left.

use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{
    RawClient, Server, Starting, eventually, faults, handler_around, program, resident_memory,
};

/// Sends `count` requests to `/counter` over one connection, many at a time, and hands each answer to `check`.
#[track_caller]
fn count(server: &Server, count: usize, mut check: impl FnMut(usize, &str)) {
    const AT_ONCE: usize = 100;
    let mut client = server.connect();
    let request = format!("GET /counter HTTP/1.1\r\nhost: {}\r\n\r\n", server.addr);
    let mut stream = client.stream().try_clone().unwrap();
    thread::scope(|scope| {
        scope.spawn(move || {
            let batch = request.repeat(AT_ONCE);
            let (batches, rest) = (count / AT_ONCE, count % AT_ONCE);
            for _ in 0..batches {
                stream.write_all(batch.as_bytes()).unwrap();
            }
            stream.write_all(request.repeat(rest).as_bytes()).unwrap();
        });
        for number in 0..count {
            let answer = client.response().expect_status(200);
            check(number, answer.text().trim_end());
        }
    });
}

/// What `/counter` answers on a connection that is kept.
#[track_caller]
fn next(client: &mut RawClient) -> u64 {
    let answer = client.get("/counter").expect_status(200);
    answer.text().trim_end().parse().unwrap_or_else(|_| panic!("{}", answer.text()))
}

/// Every request looks at 1.3 MB of its memory before it dirties it, which takes a while without optimisation.
fn requests() -> usize {
    if std::env::var_os("WASMCLUSTER_LONG_TESTS").is_some() { 100_000 } else { 20_000 }
}

#[track_caller]
fn every_request_finds_memory_as_it_was_born(isolation: &str) {
    let server = Server::of("zoo-p2").instances(1).args(["--isolation", isolation]).start();
    let worker = server.worker();
    let began = Instant::now();
    count(&server, requests(), |number, answer| assert_eq!(answer, "1", "request {number}"));
    eprintln!("{} requests, `--isolation {isolation}`: {:?}", requests(), began.elapsed());
    assert_eq!(server.worker(), worker);
}

/// try: 20,000 times a look for what an earlier request left | memory as it was born | nobody
#[test]
fn every_request_of_0_2_finds_memory_as_it_was_born_with_fast_isolation() {
    every_request_finds_memory_as_it_was_born("fast");
}

/// try: the same with `--isolation strict` | memory as it was born | nobody
#[test]
fn every_request_of_0_2_finds_memory_as_it_was_born_with_strict_isolation() {
    every_request_finds_memory_as_it_was_born("strict");
}

/// try: the same 2,000 times in 0.3 without reuse, fast and strict | memory as it was born | not looked at
#[test]
fn every_request_of_0_3_without_reuse_finds_memory_as_it_was_born() {
    for isolation in ["fast", "strict"] {
        let args = ["--isolation", isolation, "--max-instance-reuse-count", "1"];
        let server = Server::of("zoo-p3").instances(1).args(args).start();
        count(&server, requests() / 10, |number, answer| assert_eq!(answer, "1", "request {number}"));
    }
}

/// try: the same beside guests that trap, recurse, allocate, exit and are left | memory as it was born | not looked at
#[test]
fn memory_is_fresh_among_guests_that_run_fail_and_are_left_at_the_same_time() {
    for isolation in ["fast", "strict"] {
        let args = ["--isolation", isolation, "--max-instance-reuse-count", "1", "--timeout", "20s"];
        Server::of_both_zoos(&args, |server| {
            thread::scope(|scope| {
                for path in
                    ["/allocate?mib=40", "/slow?ms=10", "/trap", "/recurse", "/echo", "/exit", "/spin?ms=5"]
                {
                    scope.spawn(move || {
                        for _ in 0..20 {
                            server.get(path);
                        }
                    });
                }
                scope.spawn(|| {
                    for _ in 0..50 {
                        server.connect().send_head("GET", "/huge?mib=100", &[]);
                        server.connect().send_head("GET", "/never", &[]);
                    }
                });
                for _ in 0..4 {
                    scope.spawn(|| {
                        count(server, 300, |number, answer| assert_eq!(answer, "1", "request {number}"))
                    });
                }
            });
        });
    }
}

/// A guest that traps unless it finds memory as it was born, in eighty places and between them, and then writes to all of
/// these, and now and then, if it is to do so, to what is between them.
fn scattered(between: bool) -> Vec<u8> {
    // Of sixteen times.
    let when = if between { 0 } else { 16 };
    handler_around(&format!(
        r#"(import "wasi:clocks/monotonic-clock@0.2.0" (instance $clock (export "now" (func (result u64)))))
           (core func $now (canon lower (func $clock "now")))
           (core module $m
               (import "host" "now" (func $now (result i64)))
               (memory 48)
               (data (i32.const 16384) "born")
               (data (i32.const 20480) "born")
               (data (i32.const 3141632) "so that all before it is mapped in small pages")
               (func $expect (param $at i32) (param $value i32)
                   (if (i32.ne (i32.load (local.get $at)) (local.get $value)) (then unreachable)))
               (func (export "handle") (param i32 i32)
                   (local $at i32) (local $both i32)
                   (local.set $both (i64.eq
                       (i64.and (i64.shr_u (call $now) (i64.const 10)) (i64.const 15)) (i64.const {when})))
                   (call $expect (i32.const 16384) (i32.const 0x6e726f62))
                   (call $expect (i32.const 20480) (i32.const 0x6e726f62))
                   (loop $next
                       (call $expect (i32.add (local.get $at) (i32.const 64)) (i32.const 0))
                       (call $expect (i32.add (local.get $at) (i32.const 4160)) (i32.const 0))
                       (i32.store (i32.add (local.get $at) (i32.const 64)) (i32.const 1))
                       (if (local.get $both)
                           (then
                               (i32.store (i32.const 20480) (i32.const 2))
                               (i32.store (i32.add (local.get $at) (i32.const 4160)) (i32.const 1))))
                       (local.set $at (i32.add (local.get $at) (i32.const 8192)))
                       (br_if $next (i32.lt_u (local.get $at) (i32.const 655360))))
                   (i32.store (i32.const 16384) (i32.const 3))))
           (core instance $i (instantiate $m (with "host" (instance (export "now" (func $now))))))"#
    ))
}

/// try: write to memory in more places than the kernel tells at a time | memory as it was born, and no faults | not looked at
#[test]
fn memory_that_is_written_here_and_there_is_as_it_was_born_and_stays_where_it_is() {
    for (isolation, between) in [("fast", false), ("fast", true), ("strict", true)] {
        let program = program(["serve", "app.wasm", "--addr", "127.0.0.1:0", "--isolation", isolation]);
        let server = Starting::of(program.file("app.wasm", scattered(between))).instances(1).start();
        let worker = server.worker();
        let mut client = server.connect();
        let mut ask = |times: u64| (0..times).for_each(|_| drop(client.get("/").expect_status(500)));
        ask(100);
        let before = faults(worker);
        ask(500);
        let each = (faults(worker) - before) / 500;
        assert!(!server.stderr().contains("trap"), "{}", server.explain());
        if !between && !server.stderr().contains("which is slower") {
            assert!(each < 5, "{each} faults a request");
        }
    }
}

#[test]
fn an_instance_serves_as_many_requests_as_it_may() {
    Server::of_both_zoos(&["--max-instance-reuse-count", "3"], |server| {
        count(server, 30, |number, answer| assert_eq!(answer, (number % 3 + 1).to_string()));
    });
}

#[test]
fn an_instance_of_0_3_serves_128_requests_unless_told_otherwise() {
    let server = Server::of("zoo-p3").instances(1).start();
    count(&server, 300, |number, answer| assert_eq!(answer, (number % 128 + 1).to_string()));
}

#[test]
fn an_instance_of_0_2_serves_one_request_unless_told_otherwise() {
    let server = Server::of("zoo-p2").instances(1).start();
    count(&server, 300, |_, answer| assert_eq!(answer, "1"));
}

/// try: a request while others hold instances that are reused | another instance | not looked at
#[test]
fn requests_at_the_same_time_never_share_an_instance() {
    Server::of_both_zoos(&["--max-instance-reuse-count", "1000"], |server| {
        let mut clients: Vec<RawClient> = (0..10).map(|_| server.connect()).collect();
        for client in &mut clients {
            client.send_head("GET", "/stream?chunks=2&ms=3600000", &[]);
            client.try_head().unwrap().expect_status(200);
        }
        // Each of those holds one, and none of them may be given to this.
        let mut other = server.connect();
        for expected in 1..=5 {
            assert_eq!(next(&mut other), expected);
        }
    });
}

#[test]
fn an_instance_that_waits_too_long_is_forgotten() {
    let args = ["--max-instance-reuse-count", "1000", "--idle-instance-timeout", "300ms"];
    Server::of_both_zoos(&args, |server| {
        let mut client = server.connect();
        assert_eq!((next(&mut client), next(&mut client)), (1, 2));
        // It is idleness that ends it: asking whether it has ended would keep it.
        thread::sleep(Duration::from_secs(2));
        assert_eq!(next(&mut client), 1);
    });
}

/// try: a trap, panic, recursion or exit in an instance that is reused | 500, and the next has a new one | not looked at
#[test]
fn an_instance_that_failed_is_not_used_again() {
    Server::of_both_zoos(
        &["--max-instance-reuse-count", "1000", "--idle-instance-timeout", "1h"],
        |server| {
            for path in ["/trap", "/panic", "/recurse", "/exit", "/exit?code=1"] {
                let mut client = server.connect();
                assert_eq!((next(&mut client), next(&mut client)), (1, 2), "before {path}");
                client.get(path).expect_status(500);
                assert_eq!(next(&mut client), 1, "after {path}");
                // So that the next turn starts afresh.
                client.get("/trap").expect_status(500);
            }
        },
    );
}

#[test]
fn an_instance_that_gave_no_answer_is_not_used_again() {
    let args = ["--max-instance-reuse-count", "1000", "--idle-instance-timeout", "1h"];
    let server = Server::of("zoo-p2").instances(1).args(args).start();
    let mut client = server.connect();
    assert_eq!((next(&mut client), next(&mut client)), (1, 2));
    client.get("/no-response").expect_status(500);
    assert_eq!(next(&mut client), 1);
    // One that answers with an error has answered.
    client.get("/error").expect_status(500);
    assert_eq!(next(&mut client), 2);
}

/// try: leaving a response of an instance that is reused | the next has a new one | not looked at
#[test]
fn an_instance_whose_client_left_or_whose_time_was_up_is_not_used_again() {
    let args = [
        "--max-instance-reuse-count",
        "1000",
        "--idle-instance-timeout",
        "1h",
        "--timeout",
        // Longer than it takes to tell a client that left from one that has said its last word.
        "3s",
        "--max-concurrent-requests",
        "1",
    ];
    Server::of_both_zoos(&args, |server| {
        let mut client = server.connect();
        assert_eq!((next(&mut client), next(&mut client)), (1, 2));
        client.get("/never").expect_status(504);
        assert_eq!((next(&mut client), next(&mut client)), (1, 2));
        let mut leaving = server.connect();
        leaving.send_head("GET", "/stream?chunks=2&ms=3600000", &[]);
        leaving.try_head().unwrap().expect_status(200);
        drop(leaving);
        assert_eq!(next(&mut client), 1);
    });
}

/// try: 100 MiB, five times | given back, but for less than 32 MiB | not looked at
#[test]
fn memory_of_an_instance_that_is_gone_is_given_back() {
    for isolation in ["fast", "strict"] {
        Server::of_both_zoos(&["--isolation", isolation, "--idle-instance-timeout", "100ms"], |server| {
            let worker = server.worker();
            server.get("/").expect_status(200);
            let before = resident_memory(worker);
            for _ in 0..5 {
                assert_eq!(server.get("/allocate?mib=100").expect_status(200).text(), "allocated 100 MiB\n");
            }
            let mut least = u64::MAX;
            eventually("memory that is given back", || {
                least = least.min(resident_memory(worker).saturating_sub(before));
                (least < 32 << 20).then_some(())
            });
        });
    }
}

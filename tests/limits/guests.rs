//! What a guest may have, each with a guest that wants more: what it costs, what is said, and that it is counted.

use std::thread;
use std::time::{Duration, Instant};

use super::{expect_blank, expect_reached};
use crate::support::{
    Elsewhere, Program, Server, Starting, eventually, handler, handler_around, program, resident_memory,
};

/// try: memory without end | 500, the log names the flag, counted | others are served
#[test]
fn memory() {
    Server::of_both_zoos(&["--max-memory-size", "16MiB"], |server| {
        expect_blank(&server.get("/allocate"), 500, "the handler failed\n");
        server.wait_for_stderr("the guest wanted more than 16777216 bytes of memory");
        server.wait_for_stderr("hint: raise `--max-memory-size` if that is to be expected");
        server.get("/").expect_status(200);
        expect_reached(server, &[("max-memory-size", 1)]);
    });
}

/// `serve` of a component.
pub(super) fn serve(component: Vec<u8>) -> Program {
    let program = program(["serve", "app.wasm", "--addr", "127.0.0.1:0", "--instances", "1"]);
    program.file("app.wasm", component)
}

/// One that grows a table by so many elements when it starts, and traps when it may not.
fn grows_a_table(from: u32, by: u32) -> Program {
    serve(handler(&format!(
        "(table $t {from} funcref)
         (func $start
             (if (i32.eq (table.grow $t (ref.null func) (i32.const {by})) (i32.const -1))
                 (then unreachable)))
         (start $start)"
    )))
}

/// try: a table past `--max-table-elements`, when it starts | no start, exit code 3, the reason is said | not looked at
#[test]
fn elements_of_a_table() {
    let refused = grows_a_table(10, 19_991).run();
    refused.expect_code(3).expect_stderr("traps while starting");
    refused.expect_stderr("the guest wanted more than 20000 elements in a table");
    let refused = grows_a_table(20_001, 0).run();
    let (error, hint) = refused.expect_refusal(3);
    assert_eq!(error, "the component needs 20001 elements in a table to start, and may have 20000");
    assert_eq!(hint, "raise `--max-table-elements`");
    for (from, by) in [(10, 19_991), (20_001, 0)] {
        let granted = grows_a_table(from, by).args(["--max-table-elements", "20001"]);
        Starting::of(granted).start().get("/").expect_status(500);
    }
}

/// One that consists of so many core instances.
fn core_instances(many: usize, handle: &str) -> Vec<u8> {
    let others = "(core instance (instantiate $empty))".repeat(many - 1);
    handler_around(&format!(
        r#"(core module $empty)
           {others}
           (core module $m (func (export "handle") (param i32 i32) {handle}))
           (core instance $i (instantiate $m))"#
    ))
}

/// try: more core instances than `--max-core-instances` | no start, exit code 3, the reason is said | not looked at
#[test]
fn core_instances_of_a_component() {
    let refused = serve(core_instances(101, "")).run();
    let (error, hint) = refused.expect_refusal(3);
    assert_eq!(error, "the component has more than the 100 core instances that it may have");
    assert_eq!(hint, "raise `--max-core-instances`");
    let server = Starting::of(serve(core_instances(100, ""))).start();
    server.get("/").expect_status(500);
    let pushed = server.command(["push", "more.wasm"]).file("more.wasm", core_instances(101, "")).run();
    pushed.expect_code(10).expect_stderr("more than the 100 core instances");
    expect_reached(&server, &[("max-core-instances", 1)]);
    let granted = serve(core_instances(900, "")).args(["--max-core-instances", "1000"]);
    Starting::of(granted).start().get("/").expect_status(500);
}

/// A worker has room for all that it lets in.
#[test]
fn core_instances_of_all_requests_at_once() {
    let component = core_instances(100, "(loop $forever (br $forever))");
    let args = ["--max-concurrent-requests", "8", "--timeout", "1s"];
    let server = Starting::of(serve(component).args(args)).start();
    thread::scope(|scope| {
        for request in [(); 8].map(|()| scope.spawn(|| server.get("/"))) {
            request.join().unwrap().expect_status(504);
        }
    });
}

#[test]
fn memories_and_tables_of_many_modules() {
    let parts = r#"(core instance (instantiate $part))"#.repeat(50);
    let component = handler_around(&format!(
        r#"(core module $part (memory 1) (table 1 funcref))
           {parts}
           (core module $m (func (export "handle") (param i32 i32)))
           (core instance $i (instantiate $m))"#
    ));
    Starting::of(serve(component)).start().get("/").expect_status(500);
}

/// try: more than `--max-hostcall-size` in one call | 500, the log names the flag, counted | others are served
#[test]
fn what_is_given_to_the_host_in_one_call() {
    Server::of_both_zoos(&["--max-hostcall-size", "64KiB", "--max-field-size", "16MiB"], |server| {
        server.get("/headers?size=60000").expect_status(200);
        expect_blank(&server.get("/headers?size=70000"), 500, "the handler failed\n");
        server.wait_for_stderr("the guest gave the host more in one call than it may");
        server.wait_for_stderr("hint: raise `--max-hostcall-size`");
        server.get("/").expect_status(200);
        expect_reached(server, &[("max-hostcall-size", 1)]);
    });
    Server::of_both_zoos(&[], |server| {
        expect_blank(&server.get("/headers?size=17000000"), 500, "the handler failed\n");
        // Bodies are no such thing, however large.
        assert_eq!(server.get("/huge?mib=40").expect_status(200).body.len(), 40 << 20);
    });
}

/// try: fields past `--max-field-size` | 500, the log names the flag, counted | others are served
#[test]
fn header_fields() {
    Server::of_both_zoos(&["--max-field-size", "1KiB"], |server| {
        server.get("/headers?size=400&count=2").expect_status(200);
        server.get("/headers?size=400&count=3").expect_status(500);
        server.wait_for_stderr("hint: raise `--max-field-size` if that is to be expected");
        server.get("/").expect_status(200);
        expect_reached(server, &[("max-field-size", 1)]);
    });
    Server::of_both_zoos(&[], |server| {
        server.get("/headers?size=1000&count=120").expect_status(200);
        server.get("/headers?size=1000&count=140").expect_status(500);
    });
}

/// try: handles without end | 500, counted | not looked at
#[test]
fn handles() {
    Server::of_both_zoos(&["--max-resources", "100"], |server| {
        server.get("/handles").expect_status(500);
        expect_reached(server, &[("max-resources", 1)]);
    });
}

/// try: ten outgoing requests at once where three may be | the fourth is denied, said, counted | not looked at
#[test]
fn requests_to_others_at_once() {
    let elsewhere = Elsewhere::start();
    let addr = elsewhere.addr.to_string();
    let args = ["--allow-outbound", &addr, "--max-concurrent-outbound-requests", "3"];
    Server::of_both_zoos(&args, |server| {
        let held = |n: u32| server.get(&format!("/outbound-held?n={n}&url=http://{addr}/"));
        assert_eq!(held(3).expect_status(200).text(), "held 3\n");
        assert_eq!(held(10).expect_status(200).text(), "held 3\n");
        server.wait_for_stderr("the guest asked for more than 3 requests at once");
        // One after the other there may be more.
        server.get(&format!("/outbound?n=10&url=http://{addr}/")).expect_status(200);
        expect_reached(server, &[("max-concurrent-outbound-requests", 1)]);
    });
}

/// try: four outgoing requests where three may be | an error to the guest, counted | not looked at
#[test]
fn requests_to_others_in_all() {
    let elsewhere = Elsewhere::start();
    let addr = elsewhere.addr.to_string();
    Server::of_both_zoos(&["--allow-outbound", &addr, "--max-outbound-requests", "3"], |server| {
        server.get(&format!("/outbound?n=4&url=http://{addr}/")).expect_status(502);
        expect_reached(server, &[("max-outbound-requests", 1)]);
    });
}

/// try: one byte more to others than `--max-outbound-size` | cut, the log names the flag, counted | others are served
#[test]
fn bytes_to_others() {
    let elsewhere = Elsewhere::start();
    let addr = elsewhere.addr.to_string();
    Server::of_both_zoos(&["--allow-outbound", &addr, "--max-outbound-size", "1MiB"], |server| {
        let send =
            |bytes: u32| server.get(&format!("/outbound?method=POST&bytes={bytes}&url=http://{addr}/"));
        send(1 << 20).expect_status(200);
        assert!(!server.stderr().contains("the guest sent more than"), "{}", server.explain());
        // What becomes of it depends on when the other side answers; that it is cut does not.
        send((1 << 20) + 1);
        server.wait_for_stderr("the guest sent more than 1048576 bytes while it serves one request");
        server.wait_for_stderr("hint: raise `--max-outbound-size`");
        server.get("/").expect_status(200);
        expect_reached(server, &[("max-outbound-size", 1)]);
    });
}

/// try: a response larger than `--max-response-size` | cut, or 500 where nothing was sent; said, counted | not looked at
#[test]
fn a_response() {
    Server::of_both_zoos(&["--max-response-size", "1MiB"], |server| {
        assert_eq!(server.get("/huge?mib=1").expect_status(200).body.len(), 1 << 20);
        let mut client = server.connect();
        client.send_head("GET", "/huge?mib=2", &[]);
        client.try_response("GET").expect_err("it must not look complete");
        server.wait_for_stderr("the guest's response was larger than it may be");
        server.wait_for_stderr("hint: raise `--max-response-size`");
        expect_reached(server, &[("max-response-size", 1)]);
    });
    Server::of_both_zoos(&["--max-response-size", "10"], |server| {
        // Nothing of it was sent, so that it can be said.
        expect_blank(&server.get("/stream?chunks=2&size=8&ms=0"), 500, "the handler failed\n");
        server.get("/stream?chunks=1&size=8").expect_status(200);
        expect_reached(server, &[("max-response-size", 1)]);
    });
}

/// try: 20 MiB under a `--max-response-rate` of 1 MiB | it takes its time | others are served
#[test]
fn the_pace_of_a_response() {
    Server::of_both_zoos(&["--max-response-rate", "1MiB"], |server| {
        let began = Instant::now();
        assert_eq!(server.get("/huge?mib=2").expect_status(200).body.len(), 2 << 20);
        let took = began.elapsed();
        assert!(took > Duration::from_millis(1_700), "2 MiB at 1 MiB in a second came after {took:?}");
        let began = Instant::now();
        let mut client = server.connect();
        client.send_head("GET", "/huge?mib=20", &[]);
        client.try_head().unwrap();
        server.get("/").expect_status(200);
        assert!(began.elapsed() < Duration::from_secs(15), "others wait with it");
    });
}

/// try: 1,000 lines in a second where 100 may be | the rest is thrown away and counted | not looked at
#[test]
fn lines_of_its_log() {
    for args in [["--max-log-lines", "100"], ["--max-log-size", "8KiB"]] {
        Server::of_both_zoos(&args, |server| {
            server.get("/log?lines=1000&bytes=79").expect_status(200);
            let line = server.wait_for_stderr("guests printed more than they may in a second");
            let lost: usize =
                line.split("threw away ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
            assert!((800..=900).contains(&lost), "{line}");
            eventually("those that were not lost", || {
                (server.stdout().lines().filter(|line| line.ends_with("xxx")).count() == 1000 - lost)
                    .then_some(())
            });
            expect_reached(server, &[(&args[0][2..], lost as u64)]);
        });
    }
}

/// A guest that fails at every request must not fill a disk with it.
/// try: 3,000 traps in a row | each said or counted, and not all said | not looked at
#[test]
fn lines_about_it() {
    Server::of_both_zoos(&[], |server| {
        let mut client = server.connect();
        let traps = 3_000;
        for _ in 0..traps {
            client.get("/trap").expect_status(500);
        }
        let counted = || {
            let stderr = server.stderr();
            let said = stderr.lines().filter(|line| line.contains("the guest trapped: ")).count();
            let left_out = stderr.lines().filter_map(|line| {
                line.split_once("left out ")?
                    .1
                    .split_once(" reports like those above")?
                    .0
                    .parse::<usize>()
                    .ok()
            });
            (said, left_out.sum::<usize>())
        };
        eventually("each trap said or counted", || {
            let (said, left_out) = counted();
            (said + left_out == traps).then_some(())
        });
        assert!(counted().1 > 0, "{:?}", counted());
    });
}

/// try: computing for ever in a start function | killed after `--listen-timeout`, exit code 7 | no process is left
/// try: pushing a component that does so | taken back, exit code 10 | nobody: the same worker
#[test]
fn a_start_that_computes_for_ever() {
    let spins = handler("(func $start (loop (br 0))) (start $start)");
    let gave_up = serve(spins.clone()).args(["--listen-timeout", "1s", "--max-restarts", "0"]).run();
    gave_up.expect_code(7).expect_nothing_left();

    let server = Server::of("hello-p2").instances(1).args(["--listen-timeout", "3s"]).start();
    let worker = server.worker();
    let taken_back = server.command(["push", "app.wasm"]).file("app.wasm", spins).run();
    taken_back.expect_code(10).expect_stderr("; generation 1 serves");
    server.get("/").expect_status(200);
    assert_eq!(server.worker(), worker);
}

/// try: a panic on every tenth request of a connection | 500 each, and the connection goes on | the other 180 get their 200
#[test]
fn a_panic_on_every_tenth_request() {
    Server::of_both_zoos(&[], |server| {
        let worker = server.worker();
        let mut client = server.connect();
        for number in 1..=200 {
            let (path, status) = if number % 10 == 0 { ("/panic", 500) } else { ("/", 200) };
            client.get(path).expect_status(status);
        }
        assert_eq!(server.worker(), worker);
    });
}

/// try: a response of 10 GiB | cut after `--max-response-size`; less than 64 MiB of memory | others are served
#[test]
fn a_response_of_ten_gigabytes() {
    Server::of_both_zoos(&["--max-response-size", "8MiB"], |server| {
        server.get("/huge?mib=1").expect_status(200);
        let before = resident_memory(server.worker());
        let mut client = server.connect();
        client.send_head("GET", "/huge?mib=10240", &[]);
        client.try_response("GET").expect_err("it must not look complete");
        let grown = resident_memory(server.worker()).saturating_sub(before);
        assert!(grown < 64 << 20, "the worker grew by {grown} bytes");
        server.get("/").expect_status(200);
    });
}

/// try: a line of 64 MB | broken into pieces, and thrown away past `--max-log-size` | others are served
#[test]
fn a_line_that_is_longer_than_all_that_may_be_printed() {
    Server::of_both_zoos(&[], |server| {
        server.get("/log?bytes=64000000").expect_status(200);
        server.wait_for_stderr("guests printed more than they may in a second");
        let longest = server.stdout().lines().map(str::len).max();
        assert!(longest <= Some("slot 0 stdout | ".len() + 8191), "{longest:?}");
        server.get("/").expect_status(200);
    });
}

/// try: 1,001 outgoing requests for one of its own | the last is denied, and counted | not looked at
#[test]
fn a_thousand_requests_to_others_and_one() {
    let elsewhere = Elsewhere::start();
    let addr = elsewhere.addr.to_string();
    Server::of_both_zoos(&["--allow-outbound", &addr], |server| {
        let (_, before) = elsewhere.counts();
        server.get(&format!("/outbound?n=1001&url=http://{addr}/")).expect_status(502);
        assert_eq!(elsewhere.counts().1 - before, 1000);
        expect_reached(server, &[("max-outbound-requests", 1)]);
    });
}

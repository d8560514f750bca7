//! `wasmcluster serve`: what a person sees who starts it, asks it and stops it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::signal::Signal;
use nix::unistd::{Pid, SysconfVar, sysconf};
use serde_json::Value;

use crate::support::frames::{DATA, END_HEADERS, FrameClient, GOAWAY, HEADERS};
use crate::support::{
    Connection, Program, RawClient, Server, Starting, block_on, children, component, descendants, eventually,
    expect_gone, listens, program, signal,
};

const STOPPING: &str = "stopping: requests in flight are finished first";

#[test]
fn without_a_file_the_demo_page_is_served() {
    let server = Server::demo().start();
    let page = server.get("/").expect_status(200);
    assert!(page.header("content-type").is_some_and(|kind| kind.starts_with("text/html")), "{}", page.head);
    for words in ["slot that answered", "worker process", "generation", "requests so far in this instance"] {
        assert!(page.text().contains(words), "no `{words}` on the page");
    }
    for command in ["wasmcluster serve app.wasm --instances 4", "wasmcluster serve --help", "/json"] {
        assert!(page.text().contains(command), "no `{command}` on the page");
    }
    assert!(page.text().contains(&format!("curl http://{}/json", server.addr)), "the page knows its address");
    server.wait_for_stderr("this is the built-in demo");
}

#[test]
fn the_demo_tells_programs_who_answered() {
    let server = Server::demo().instances(1).start();
    let who = server.who();
    assert_eq!(who["slot"], 0);
    assert_eq!(who["pid"], server.workers()[0]);
    assert_eq!(who["generation"], 1);
    assert_eq!(who["requests"], 1, "a fresh instance");
}

#[test]
fn a_file_is_served_as_it_is_named() {
    for guest in ["hello-p2", "hello-p3"] {
        let server = Server::of(guest).instances(1).start();
        assert_eq!(server.get("/").expect_status(200).text(), "hello from wasm\n", "{guest}");
    }
}

#[test]
fn the_first_line_names_the_address_and_stdout_stays_empty() {
    let server = Server::of("hello-p2").start();
    let line = format!("Serving HTTP on http://{}/", server.addr);
    assert_eq!(server.stderr().lines().next(), Some(line.as_str()));
    assert_eq!(server.stop().stdout, "");
}

#[test]
fn it_says_that_it_serves_only_when_all_slots_do() {
    let server = Server::of("hello-p2").instances(4).arg("--json").start();
    let records = records(&server.stderr());
    let serving = position(&records, |record| record["record"] == "serving");
    for slot in 0..4 {
        let ready = position(&records, |record| record["notice"] == "worker_ready" && record["slot"] == slot);
        assert!(ready < serving, "slot {slot} after the line{}", server.explain());
    }
    assert_eq!(records[serving]["instances"], 4);
}

#[test]
fn as_many_workers_as_instances() {
    for instances in [1, 3] {
        let server = Server::of("hello-p2").instances(instances).start();
        assert_eq!(server.workers().len(), instances, "{}", server.explain());
    }
}

#[test]
fn max_is_as_many_workers_as_cpus() {
    let server = Server::of("hello-p2").instances("max").start();
    assert_eq!(server.workers().len(), cpus().min(256), "{}", server.explain());
}

#[test]
fn auto_is_no_more_workers_than_cpus_and_the_default() {
    let server = Server::of("hello-p2").instances("auto").start();
    let count = server.workers().len();
    assert!((1..=cpus()).contains(&count), "{count} workers{}", server.explain());
    let default = program(["serve", "--addr", "127.0.0.1:0"]);
    let default = Starting::of(default).start();
    assert_eq!(default.workers().len(), count, "{}", default.explain());
}

#[test]
fn auto_is_one_worker_on_one_cpu() {
    let allowed = sched_getaffinity(Pid::from_raw(0)).unwrap();
    let first = (0..CpuSet::count()).find(|&cpu| allowed.is_set(cpu).unwrap()).unwrap();
    let mut one = CpuSet::new();
    one.set(first).unwrap();
    // What this thread may use, the server inherits.
    sched_setaffinity(Pid::from_raw(0), &one).unwrap();
    let server = Server::of("hello-p2").instances("auto").start();
    sched_setaffinity(Pid::from_raw(0), &allowed).unwrap();
    assert_eq!(server.workers().len(), 1, "{}", server.explain());
}

#[test]
fn auto_is_one_worker_for_half_a_cpu() {
    let Some(group) = HalfACpu::new() else {
        eprintln!("skipped: no control group with a CPU quota can be made here");
        return;
    };
    let mut shell = Command::new("sh");
    shell.args(["-c", "echo $$ >\"$0/cgroup.procs\" && exec \"$@\""]).arg(&group.0);
    let program = Program::through(shell).args([env!("CARGO_BIN_EXE_wasmcluster"), "serve"]);
    let server = Starting::of(program.args(["--addr", "127.0.0.1:0", "--instances", "auto"])).start();
    assert_eq!(server.workers().len(), 1, "{}", server.explain());
    server.stop();
}

/// A control group, gone when dropped.
struct HalfACpu(PathBuf);

impl HalfACpu {
    /// None where we may not, or where that is organised in a way of its own.
    fn new() -> Option<Self> {
        let name = format!("wasmcluster-tests-{}", std::process::id());
        // The kernel makes the files of a group: where there are none, the directory is none.
        let set = |group: &Self, file: &str, value: &str| {
            let file = File::options().write(true).open(group.0.join(file));
            file.is_ok_and(|mut file| file.write_all(value.as_bytes()).is_ok())
        };
        let at = |root: &str| {
            let directory = Path::new(root).join(&name);
            fs::create_dir(&directory).is_ok().then_some(Self(directory))
        };
        at("/sys/fs/cgroup/cpu")
            .filter(|v1| set(v1, "cpu.cfs_period_us", "100000") && set(v1, "cpu.cfs_quota_us", "50000"))
            .or_else(|| at("/sys/fs/cgroup").filter(|v2| set(v2, "cpu.max", "50000 100000")))
            .filter(|group| group.0.join("cgroup.procs").exists())
    }
}

impl Drop for HalfACpu {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

#[test]
fn numbers_of_instances_that_make_no_sense_are_refused() {
    for (value, reason) in [
        ("0", "at least 1 instance is needed"),
        ("1000", "at most 256 instances are possible"),
        ("x", "expected a number from 1 to 256, `max` or `auto`"),
        ("-1", "expected a number from 1 to 256, `max` or `auto`"),
        ("1.5", "expected a number from 1 to 256, `max` or `auto`"),
    ] {
        let refused = program(["serve", &format!("--instances={value}")]).run();
        refused.expect_usage(&format!("invalid value '{value}' for '--instances <N>': {reason}"));
    }
}

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
        refused.expect_usage("for '--addr <HOST:PORT>'");
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

#[test]
fn http1_and_http2_are_spoken_on_one_port() {
    let server = Server::of("hello-p2").start();
    block_on(async {
        for mut connection in [Connection::http1(server.addr).await, Connection::http2(server.addr).await] {
            for _ in 0..3 {
                let answer = connection.get("/").await.unwrap();
                assert_eq!(answer.text(), "hello from wasm\n");
                assert_eq!(answer.headers["content-length"], "16");
            }
        }
    });
}

#[test]
fn the_largest_head_can_be_chosen() {
    let status = |starting: Starting| {
        let server = starting.start();
        let mut client = server.connect();
        client.send_head("GET", "/", &[("x-long", &"a".repeat(12 << 10))]);
        client.response().status
    };
    assert_eq!(status(Server::of("hello-p2").instances(1)), 200);
    assert_eq!(status(Server::of("hello-p2").instances(1).args(["--max-header-size", "8KiB"])), 431);
}

#[test]
fn connections_are_spread_over_all_slots() {
    const CONNECTIONS: usize = 1000;
    let server = Server::demo().instances(4).start();
    let mut counts = BTreeMap::new();
    for _ in 0..CONNECTIONS {
        *counts.entry(server.who()["slot"].as_u64().unwrap()).or_insert(0) += 1;
    }
    // Chance alone keeps each within 6 % of its share most of the time.
    let share = CONNECTIONS / 4;
    assert!(
        counts.len() == 4 && counts.values().all(|&n| n > share * 2 / 3 && n < share * 4 / 3),
        "{counts:?}"
    );
}

#[test]
fn with_json_every_line_of_both_streams_is_an_object() {
    let server = Server::of("zoo-p2").instances(2).arg("--json").start();
    server.get("/log?lines=3").expect_status(200);
    server.get("/log?lines=3&stream=stderr").expect_status(200);
    server.get("/trap").expect_status(500);
    server.wait_for_stdout("xxxx");
    server.wait_for_stderr("xxxx");
    let stopped = server.stop();
    let all = [records(&stopped.stdout), records(&stopped.stderr)].concat();
    for record in &all {
        assert!(record["record"].is_string(), "no kind: {record}");
        assert!(record["time"].as_str().is_some_and(|time| time.ends_with('Z')), "no time: {record}");
    }
    let outputs = |stream: &str| {
        let matching = all.iter().filter(|record| record["record"] == "output" && record["stream"] == stream);
        matching.filter(|record| record["text"].as_str().is_some_and(|text| text.starts_with("xxx"))).count()
    };
    assert_eq!((outputs("stdout"), outputs("stderr")), (3, 3), "{}", stopped.explain());
    let kinds = ["serving", "cluster", "worker", "stopping"];
    for kind in kinds {
        assert!(all.iter().any(|record| record["record"] == kind), "no `{kind}`{}", stopped.explain());
    }
}

#[test]
fn with_json_a_refusal_is_an_object_too() {
    let refused = program(["serve", "--json", "missing.wasm"]).run();
    refused.expect_code(3);
    let records = records(&refused.stderr);
    let [error] = records.as_slice() else { panic!("one line{}", refused.explain()) };
    assert_eq!((&error["record"], &error["exit"]), (&"error".into(), &3.into()));
    assert!(error["message"].is_string() && error["hint"].is_string(), "{error}");
}

#[test]
fn guests_lines_come_with_their_slot_and_stream() {
    let server = Server::of("zoo-p2").instances(1).start();
    server.get("/log?lines=1&bytes=4").expect_status(200);
    server.get("/log?lines=1&bytes=5&stream=stderr").expect_status(200);
    assert_eq!(server.wait_for_stdout("xxxx"), "slot 0 stdout | xxxx");
    assert_eq!(server.wait_for_stderr("xxxxx"), "slot 0 stderr | xxxxx");
}

#[test]
fn a_file_gets_no_escape_codes() {
    let server = Server::demo().instances(1).start();
    assert!(!server.stop().stderr.contains('\x1b'));
    let refused = program(["serve", "missing.wasm"]).run();
    assert!(!refused.stderr.contains('\x1b'), "{}", refused.explain());
}

#[test]
fn a_terminal_gets_colours_and_a_hint_about_other_interfaces() {
    let Some(server) = on_a_terminal(&[]) else { return };
    let shown = server.wait_for_stdout("--addr 0.0.0.0:");
    assert!(shown.contains('\x1b'), "{shown:?}");
}

#[test]
fn no_color_is_respected() {
    let Some(server) = on_a_terminal(&[("NO_COLOR", "1")]) else { return };
    let shown = server.wait_for_stdout("--addr 0.0.0.0:");
    assert!(!shown.contains('\x1b'), "{shown:?}");
}

#[test]
fn there_are_completions_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let finished = program(["completions", shell]).run();
        finished.expect_code(0).expect_stdout("max-memory-size");
        assert_eq!(finished.stderr, "");
    }
    program(["completions", "tcl"]).run().expect_usage("invalid value 'tcl'");
}

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
fn it_serves_on_when_nobody_reads_its_log() {
    let mut shell = Command::new("sh");
    // The shell waits for both; the reader is gone after the first line.
    shell.args(["-c", "\"$0\" \"$@\" 2>&1 >/dev/null | head -n 1 >&2"]);
    let program = Program::through(shell).args([env!("CARGO_BIN_EXE_wasmcluster"), "serve"]);
    let program = program.arg(component("zoo-p2")).args(["--addr", "127.0.0.1:0", "--instances", "1"]);
    let server = Starting::of(program.arg("--min-uptime=0s")).start();
    for _ in 0..3 {
        server.get("/log?lines=2000&stream=stderr").expect_status(200);
    }
    let ours = |pid: &u32| {
        fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm == "wasmcluster/0\n")
    };
    let worker = descendants(server.pid()).into_iter().find(ours).unwrap();
    signal(worker, Signal::SIGKILL);
    server.get("/").expect_status(200);
}

#[test]
fn workers_inherit_no_file_and_of_the_variables_only_how_to_panic() {
    let mut shell = Command::new("sh");
    shell.args(["-c", "exec 9</proc/version && exec \"$0\" \"$@\""]);
    let program = Program::through(shell).args([env!("CARGO_BIN_EXE_wasmcluster"), "serve"]);
    let program = program.args(["--addr", "127.0.0.1:0", "--instances", "2"]).env("SECRET", "hunter2");
    let program = program.env("RUST_BACKTRACE", "1").env("RUST_LIB_BACKTRACE", "1");
    let server = Starting::of(program).start();
    for pid in server.workers() {
        let files = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
        let files: Vec<_> = files.filter_map(|file| fs::read_link(file.path()).ok()).collect();
        assert!(!files.iter().any(|file| file.ends_with("proc/version")), "{files:?}");
        let environment = fs::read_to_string(format!("/proc/{pid}/environ")).unwrap();
        let mut variables: Vec<_> = environment.split_terminator('\0').collect();
        variables.sort_unstable();
        // Errors are a guest's to make, as many as it likes.
        assert_eq!(variables, ["RUST_BACKTRACE=1", "RUST_LIB_BACKTRACE=0"]);
        // Whoever lists processes learns nothing from the arguments.
        assert_eq!(fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap(), "wasmcluster\0__worker\0");
    }
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

/// The demo on a terminal, whose screen is stdout here. None, having said so, where nothing can make a terminal.
fn on_a_terminal(env: &[(&str, &str)]) -> Option<Server> {
    if !Command::new("script").arg("--version").output().is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: `script` is not installed");
        return None;
    }
    let mut script = Command::new("script");
    let serve = format!("exec {} serve --instances 1 --addr 127.0.0.1:0", env!("CARGO_BIN_EXE_wasmcluster"));
    script.args(["--quiet", "--return", "--command", &serve, "/dev/null"]);
    let mut starting = Starting::of(Program::through(script));
    for (name, value) in env {
        starting = starting.env(name, value);
    }
    Some(starting.start_on_stdout())
}

/// CPUs of this machine.
fn cpus() -> usize {
    sysconf(SysconfVar::_NPROCESSORS_ONLN).unwrap().unwrap().try_into().unwrap()
}

#[track_caller]
fn records(text: &str) -> Vec<Value> {
    let parse = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    text.lines().map(parse).collect()
}

#[track_caller]
fn position(records: &[Value], matches: impl Fn(&Value) -> bool) -> usize {
    records.iter().position(matches).unwrap_or_else(|| panic!("no such record: {records:#?}"))
}

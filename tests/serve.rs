//! `wasmcluster serve`: what is served, and by whom.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use crate::support::{Connection, Program, Server, Starting, binary, block_on, program};

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
fn there_are_completions_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let finished = program(["completions", shell]).run();
        finished.expect_code(0).expect_stdout("max-memory-size");
        assert_eq!(finished.stderr, "");
    }
    program(["completions", "tcl"]).run().expect_usage("invalid value `tcl` for `<SHELL>`");
}

#[test]
fn workers_inherit_no_file_and_of_the_variables_only_how_to_panic() {
    let mut shell = Command::new("sh");
    shell.args(["-c", "exec 9</proc/version && exec \"$0\" \"$@\""]);
    let program = Program::through(shell).args([binary(), "serve"]);
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

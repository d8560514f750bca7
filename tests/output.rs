//! What `wasmcluster serve` prints: lines for people, objects for programs, colours for a terminal.

use std::fs;
use std::process::Command;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::support::{Program, Server, Starting, binary, component, descendants, program, signal};

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
fn it_serves_on_when_nobody_reads_its_log() {
    let mut shell = Command::new("sh");
    // The shell waits for both; the reader is gone after the first line.
    shell.args(["-c", "\"$0\" \"$@\" 2>&1 >/dev/null | head -n 1 >&2"]);
    let program = Program::through(shell).args([binary(), "serve"]);
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
fn a_file_gets_no_escape_codes() {
    let server = Server::demo().instances(1).start();
    assert!(!server.stop().stderr.contains('\x1b'));
    let refused = program(["serve", "missing.wasm"]).run();
    assert!(!refused.stderr.contains('\x1b'), "{}", refused.explain());
}

#[test]
fn a_terminal_gets_colours_and_a_hint_about_other_interfaces() {
    let Some(server) = on_a_terminal("", &[]) else { return };
    let shown = server.wait_for_stdout("--addr 0.0.0.0:");
    assert!(shown.contains('\x1b'), "{shown:?}");
}

#[test]
fn no_color_is_respected() {
    let Some(server) = on_a_terminal("", &[("NO_COLOR", "1")]) else { return };
    let shown = server.wait_for_stdout("--addr 0.0.0.0:");
    assert!(!shown.contains('\x1b'), "{shown:?}");
}

#[test]
fn the_tools_of_a_build_are_told_that_their_colours_are_seen() {
    let hello = component("hello-p2");
    let build = r#"printf "\033[32m%s\033[0m\n" "<$CLICOLOR_FORCE $FORCE_COLOR $CARGO_TERM_COLOR>""#;
    let arguments = format!("app.wasm --dev --build '{build}; cp {} app.wasm'", hello.display());
    for (env, expected) in [
        (&[("CI", "")][..], "\x1b[32m<1 1 always>\x1b[0m"),
        (&[("FORCE_COLOR", "0")], "\x1b[32m<1 0 always>\x1b[0m"),
        (&[("NO_COLOR", "1")], "\\u{1b}[32m<  >\\u{1b}[0m"),
    ] {
        let Some(server) = on_a_terminal(&arguments, env) else { return };
        server.wait_for_stdout(expected);
    }
}

/// What serves on a terminal, whose screen is stdout here; the demo, if nothing else is said. None, having said so, where nothing
/// can make a terminal.
fn on_a_terminal(arguments: &str, env: &[(&str, &str)]) -> Option<Server> {
    if !Command::new("script").arg("--version").output().is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: `script` is not installed");
        return None;
    }
    let mut script = Command::new("script");
    let serve = format!("exec {} serve --instances 1 --addr 127.0.0.1:0 {arguments}", binary());
    script.args(["--quiet", "--return", "--command", &serve, "/dev/null"]);
    let mut starting = Starting::of(Program::through(script));
    for (name, value) in env {
        starting = starting.env(name, value);
    }
    Some(starting.start_on_stdout())
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

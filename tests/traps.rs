//! What is left of a guest that trapped: a line in the log, a backtrace, and a core dump where one is wanted.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal::{SIGCONT, SIGSTOP};
use serde_json::Value;
use wasmparser::{Parser, Payload};

use crate::support::{Server, Starting, eventually, handler_around, handler_with, program, signal};

/// A guest that traps two calls deep. Nobody else has what is in its memory.
fn traps() -> Vec<u8> {
    handler_with(
        r#"(memory 2)
           (data (i32.const 70000) "only this guest has that")
           (func $innermost (param i32) unreachable)
           (func $handle (param i32 i32) (call $innermost (local.get 0)))"#,
    )
}

fn serve(component: &[u8]) -> Starting {
    let program = program(["serve", "app.wasm", "--addr", "127.0.0.1:0", "--instances", "1"]);
    Starting::of(program.file("app.wasm", component))
}

/// The records of one kind that the log has, in JSON.
fn traps_in(log: &str) -> Vec<Value> {
    let records = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    records.filter(|record| record["kind"] == "trap").collect()
}

/// The core dumps in a directory.
fn dumps(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let files = entries.map(|entry| entry.unwrap().path());
    files.filter(|file| file.extension().is_some_and(|is| is == "coredump")).collect()
}

#[test]
fn the_log_says_where() {
    let server = serve(&traps()).start();
    server.get("/").expect_status(500);
    server.wait_for_stderr("at handle (");
    let log = server.stderr();
    let lines: Vec<_> = log.lines().skip_while(|line| !line.contains("the guest trapped: ")).collect();
    assert!(
        lines[0].contains("the guest trapped: wasm `unreachable` instruction executed (request "),
        "{log}"
    );
    assert!(lines[1].starts_with("    at innermost (m+0x"), "{log}");
    assert!(lines[2].starts_with("    at handle (m+0x"), "{log}");
}

#[test]
fn machines_get_it_in_parts() {
    let server = serve(&traps()).arg("--json").start();
    server.get("/").expect_status(500);
    server.wait_for_stderr("innermost");
    let log = server.stderr();
    let trap = &traps_in(&log)[0];
    let functions: Vec<_> =
        trap["backtrace"].as_array().unwrap().iter().map(|frame| &frame["function"]).collect();
    assert_eq!(functions, ["innermost", "handle"]);
    assert_eq!(trap["backtrace"][0]["index"], 0);
    assert_eq!(trap["message"], "the guest trapped: wasm `unreachable` instruction executed");
}

/// try: recursion without end | 500, twenty frames of it in the log | others are served
#[test]
fn a_backtrace_has_an_end() {
    Server::of_both_zoos(&["--json"], |server| {
        server.get("/recurse").expect_status(500);
        server.wait_for_stderr("call stack exhausted");
        let log = server.stderr();
        assert_eq!(traps_in(&log)[0]["backtrace"].as_array().unwrap().len(), 20);
        server.get("/").expect_status(200);
    });
}

/// try: a trap in a function with colours, new lines and 100,000 letters in its name | 256, escaped | not looked at
#[test]
fn names_are_not_what_a_guest_likes() {
    let name = format!("\\1b[31mred\\0aslot 7: {}", "long".repeat(25_000));
    let component = handler_with(&format!(r#"(func $handle (@name "{name}") (param i32 i32) unreachable)"#));
    let server = serve(&component).start();
    server.get("/").expect_status(500);
    server.wait_for_stderr("longlong");
    let log = server.stderr();
    let line = log.lines().find(|line| line.starts_with("    at ")).unwrap();
    assert!(line.contains(r"\u{1b}[31mred\nslot 7: long") && line.len() < 400, "{line}");
}

#[test]
fn a_component_that_traps_while_starting_says_where() {
    let component = handler_with(
        "(func $first unreachable) (func $start (call $first)) (start $start) (func $handle (param i32 i32))",
    );
    let program = program(["serve", "app.wasm", "--instances", "1", "--coredump", "dumps"]);
    let refused = program.file("app.wasm", component).run();
    refused.expect_code(3).expect_stderr("the component traps while starting: wasm `unreachable`");
    refused.expect_stderr("    at first (m+0x").expect_stderr("    at start (m+0x");
    assert_eq!(dumps(&refused.place.path().join("work/dumps")).len(), 1, "{}", refused.explain());
}

/// The kinds of sections that a core dump has by its format.
fn custom_sections(dump: &[u8]) -> Vec<String> {
    let payloads = Parser::new(0).parse_all(dump).map(Result::unwrap);
    let names = payloads.filter_map(|payload| match payload {
        Payload::CustomSection(section) => Some(section.name().to_owned()),
        _ => None,
    });
    names.collect()
}

#[test]
fn a_core_dump_is_kept_where_it_was_wanted() {
    let server = serve(&traps()).args(["--coredump", "new/dumps", "--sandbox", "required"]).start();
    let directory = server.place().join("work/new/dumps");
    server.get("/").expect_status(500);
    let log = server.wait_for_stderr("core dump of the guest in `");
    let [file] = &dumps(&directory)[..] else { panic!("{log}") };
    assert!(log.contains(&format!("core dump of the guest in `{}` (", file.display())), "{log}");
    let dump = fs::read(file).unwrap();
    assert_eq!(custom_sections(&dump), ["core", "coremodules", "coreinstances", "corestack"]);
    assert!(dump.windows(24).any(|bytes| bytes == b"only this guest has that"));
    assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
    // The next one is some seconds away, and so nobody fills the disk.
    for _ in 0..20 {
        server.get("/").expect_status(500);
    }
    let finished = server.stop();
    assert_eq!(dumps(&directory).len(), 1, "{}", finished.explain());
}

/// try: traps, with `--coredump` | one core dump, for its owner to read | others are served
#[test]
fn a_core_dump_of_every_guest() {
    Server::of_both_zoos(&["--coredump", "dumps", "--timeout", "100ms"], |server| {
        let directory = server.place().join("work/dumps");
        for harmless in ["/", "/exit", "/spin", "/never"] {
            server.get(harmless);
        }
        server.get("/trap").expect_status(500);
        server.wait_for_stderr("core dump of the guest in `");
        let dump = fs::read(&dumps(&directory)[0]).unwrap();
        assert!(custom_sections(&dump).contains(&"corestack".to_owned()));
        server.get("/").expect_status(200);
    });
}

/// Between its parts are adapters that the compiler made.
#[test]
fn a_core_dump_that_the_engine_cannot_write_costs_nothing_else() {
    let component = handler_around(
        r#"(component $part
                (core module $m (func (export "f") (param i32) (result i32) unreachable))
                (core instance $i (instantiate $m))
                (func (export "f") (param "x" u32) (result u32) (canon lift (core func $i "f"))))
            (instance $part (instantiate $part))
            (core func $f (canon lower (func $part "f")))
            (core module $m
                (import "" "f" (func $f (param i32) (result i32)))
                (memory 1)
                (func (export "handle") (param i32 i32) (drop (call $f (local.get 0)))))
            (core instance $i (instantiate $m (with "" (instance (export "f" (func $f))))))"#,
    );
    let server = serve(&component).args(["--coredump", "dumps"]).start();
    let worker = server.worker();
    server.get("/").expect_status(500);
    server.wait_for_stderr(
        "the engine cannot write core dumps of a component that was put together from others",
    );
    server.get("/").expect_status(500);
    assert!(!server.stderr().contains("panicked"));
    assert_eq!((server.worker(), dumps(&server.place().join("work/dumps"))), (worker, vec![]));
}

#[test]
fn a_core_dump_that_cannot_be_kept_is_said_to_be_lost() {
    let server =
        serve(&traps()).args(["--coredump", "dumps"]).directory("dumps").file("dumps/0.coredump", "").start();
    let directory = server.place().join("work/dumps");
    for number in 1..16 {
        fs::write(directory.join(format!("{number}.coredump")), "").unwrap();
    }
    server.get("/").expect_status(500);
    server.wait_for_stderr("the guest's core dump is lost: `");
    server.wait_for_stderr("has 16 of them already");
    server.wait_for_stderr("hint: remove those that nobody needs any more");
    assert_eq!(dumps(&directory).len(), 16);

    let server = serve(&traps()).args(["--coredump", "dumps"]).start();
    fs::write(server.place().join("work/dumps"), "a file").unwrap();
    server.get("/").expect_status(500);
    server.wait_for_stderr("the guest's core dump is lost: cannot write `");
    server.wait_for_stderr("hint: check the directory that `--coredump` names");
    server.get("/").expect_status(500);
}

#[test]
fn an_upgrade_waits_for_one_that_is_being_written() {
    let large = handler_with("(memory 3200) (func $handle (param i32 i32) unreachable)");
    let server = serve(&large).args(["--coredump", "dumps", "--bake", "0s"]).start();
    let (directory, worker) = (server.place().join("work/dumps"), server.worker());
    let mut client = server.connect();
    client.send_head("GET", "/", &[]);
    let file = eventually("a core dump", || dumps(&directory).pop());
    // In the middle of it, for as long as an upgrade needs otherwise.
    signal(worker, SIGSTOP);
    assert!(fs::metadata(&file).unwrap().len() < 3200 << 16);
    let upgrade = server.command(["upgrade"]).start();
    server.wait_for_stderr("is to go on, version");
    signal(worker, SIGCONT);
    upgrade.wait().expect_code(0).expect_stdout("generation 2 serves");
    server.wait_for_stderr("core dump of the guest in `");
    assert!(custom_sections(&fs::read(&file).unwrap()).contains(&"corestack".to_owned()));
}

#[test]
fn another_program_goes_on_with_it() {
    let server = serve(&traps()).args(["--coredump", "dumps"]).start();
    let directory = server.place().join("work/dumps");
    server.command(["upgrade"]).run().expect_code(0);
    server.get("/").expect_status(500);
    eventually("a core dump", || (!dumps(&directory).is_empty()).then_some(()));
}

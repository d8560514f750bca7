//! `wasmcluster componentize`: components of core modules.

use std::fs;

use crate::support::{Program, Starting, program, repository};

const REJECTED: i32 = 3;

/// What a compiler makes that knows only WASI 0.1: a module that writes what it is started with, and answers nothing.
fn module(handle: &str) -> Vec<u8> {
    let text = format!(
        r#"(module
            (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
            (memory (export "memory") 4)
            (global $next (mut i32) (i32.const 65536))
            (data (i32.const 16) "the module wrote this\n")
            (data (i32.const 0) "\10\00\00\00\16\00\00\00")
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
                global.get $next
                (global.set $next (i32.add (global.get $next) (i32.and (i32.add (local.get 3) (i32.const 15)) (i32.const -16)))))
            (func (export "{handle}") (param i32 i32)
                (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"#
    );
    wat::parse_str(text).unwrap()
}

const HANDLE: &str = "wasi:http/incoming-handler@0.2.12#handle";

fn componentize(module: &[u8], world: &str) -> Program {
    program(["componentize", "core.wasm", "--output", "app.wasm", "--world", world, "--wit"])
        .arg(repository("wit"))
        .file("core.wasm", module)
}

#[test]
fn what_it_makes_is_served() {
    let made = componentize(&module(HANDLE), "handler").run();
    made.expect_code(0).expect_stdout("app.wasm: a component of ");
    let work = made.place.path().join("work");
    let program = program(["serve", "app.wasm", "--addr", "127.0.0.1:0", "--instances", "1"]);
    let server = Starting::of(program.file("app.wasm", fs::read(work.join("app.wasm")).unwrap())).start();
    server.get("/").expect_status(500);
    server.wait_for_stdout("the module wrote this");
    let names: Vec<_> = fs::read_dir(&work).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "{names:?}");
}

/// Refused with these words, and what was there stays.
#[track_caller]
fn expect_refused(program: Program, expected: &str) {
    let refused = program.file("app.wasm", "what was there").run();
    let (error, _) = refused.expect_refusal(REJECTED);
    assert!(error.starts_with(expected), "{error}");
    let left = fs::read_to_string(refused.place.path().join("work/app.wasm")).unwrap();
    assert_eq!(left, "what was there");
}

#[test]
fn what_it_cannot_make_a_component_of() {
    expect_refused(componentize(b"", "handler"), "`core.wasm` is not WebAssembly");
    expect_refused(componentize(b"\0asm\x0d\0\x01\0", "handler"), "`core.wasm` is a component already");
    expect_refused(
        componentize(&module("other"), "handler"),
        "`core.wasm` does not fit the world `handler`: ",
    );
    expect_refused(componentize(&module(HANDLE), "nothing"), "cannot find a world in `");
    let missing = program(["componentize", "missing.wasm", "--output", "app.wasm", "--wit", "."]);
    expect_refused(missing, "failed to read `missing.wasm`: ");
    let torn = program(["componentize", "core.wasm", "--output", "app.wasm", "--wit", "torn.wit"]);
    let torn =
        torn.file("core.wasm", module(HANDLE)).file("torn.wit", "package a:b;\nworld w {\n  import\n}\n");
    expect_refused(torn, "cannot find a world in `torn.wit`: ");
}

#[test]
fn a_place_that_cannot_be_written_is_said() {
    let program =
        program(["componentize", "core.wasm", "--output", "nowhere/app.wasm", "--world", "handler", "--wit"]);
    let refused = program.arg(repository("wit")).file("core.wasm", module(HANDLE)).run();
    refused.expect_code(1).expect_stderr("error: failed to write `nowhere/app.wasm`: ");
}

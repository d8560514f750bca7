//! Components that were written for other hosts: drafts of WASI, interfaces of Spin and wasmCloud.

use std::fs;

use crate::support::{Server, Starting, component, handler_around, program};

/// Memory for what comes and goes, and what a handler is made of.
const LIBC: &str = r#"
    (core module $libc
        (memory (export "memory") 1)
        (data (i32.const 16) "greetingapp")
        (global $next (mut i32) (i32.const 1024))
        (func (export "realloc") (param i32 i32 i32 i32) (result i32)
            (global.get $next)
            (global.set $next (i32.add (global.get $next) (i32.and (i32.add (local.get 3) (i32.const 15)) (i32.const -16))))))
    (core instance $libc (instantiate $libc))
    (import "wasi:logging/logging@0.1.0-draft" (instance $logging
        (type $l (enum "trace" "debug" "info" "warn" "error" "critical"))
        (export "level" (type $level (eq $l)))
        (export "log" (func (param "level" $level) (param "context" string) (param "message" string)))))
    (core func $log (canon lower (func $logging "log") (memory $libc "memory")))"#;

/// One that logs what `get` gives for `greeting`, whose result stands at 64, with the text's place and length at `text`.
fn greets(imported: &str, text: u32) -> Vec<u8> {
    handler_around(&format!(
        r#"{LIBC}
           {imported}
           (core func $get (canon lower (func $config "get") (memory $libc "memory") (realloc (func $libc "realloc"))))
           (core module $m
               (import "libc" "memory" (memory 1))
               (import "host" "get" (func $get (param i32 i32 i32)))
               (import "host" "log" (func $log (param i32 i32 i32 i32 i32)))
               (func (export "handle") (param i32 i32)
                   (call $get (i32.const 16) (i32.const 8) (i32.const 64))
                   (call $log (i32.const 3) (i32.const 24) (i32.const 3)
                       (i32.load (i32.const {text})) (i32.load (i32.const {length})))))
           (core instance $i (instantiate $m
               (with "libc" (instance $libc))
               (with "host" (instance (export "get" (func $get)) (export "log" (func $log))))))"#,
        length = text + 4,
    ))
}

fn serve(component: &[u8], args: &[&str]) -> Server {
    let program = program(["serve", "app.wasm", "--addr", "127.0.0.1:0", "--instances", "1"]);
    Starting::of(program.file("app.wasm", component).args(args)).start()
}

#[test]
fn variables_of_the_configuration_have_other_names_elsewhere() {
    let config = |interface: &str| {
        let imported = format!(
            r#"(import "{interface}" (instance $config
                (type $e (variant (case "upstream" string) (case "io" string)))
                (export "error" (type $error (eq $e)))
                (export "get" (func (param "key" string) (result (result (option string) (error $error)))))))"#
        );
        // Ok, Some, and then the text.
        greets(&imported, 72)
    };
    let spin = r#"(import "fermyon:spin/variables@2.0.0" (instance $config
        (type $e (variant (case "invalid-name" string) (case "undefined" string) (case "provider" string) (case "other" string)))
        (export "error" (type $error (eq $e)))
        (export "get" (func (param "name" string) (result (result string (error $error)))))))"#;
    for component in [
        config("wasi:config/store@0.2.0-draft-2024-09-27"),
        config("wasi:config/store@0.2.0-rc.1"),
        config("wasi:config/runtime@0.2.0-draft"),
        greets(spin, 68),
    ] {
        let server = serve(&component, &["--config-var", "greeting=good morning"]);
        server.get("/").expect_status(500);
        server.wait_for_stderr("warn app: good morning");
    }
}

/// A handler that calls what only another host has, or never does.
fn of_another_host(call: &str) -> Vec<u8> {
    handler_around(&format!(
        r#"(import "fermyon:spin/key-value@2.0.0" (instance $store
               (export "store" (type $store (sub resource)))
               (export "open" (func (param "a" u32) (result (own $store))))))
           (core func $open (canon lower (func $store "open")))
           (core module $m
               (import "host" "open" (func $open (param i32) (result i32)))
               (func (export "handle") (param i32 i32) {call}))
           (core instance $i (instantiate $m (with "host" (instance (export "open" (func $open))))))"#
    ))
}

#[test]
fn what_only_another_host_has_is_refused_when_it_is_called() {
    let server = serve(&of_another_host("(drop (call $open (i32.const 1)))"), &[]);
    let worker = server.worker();
    server.get("/").expect_status(500);
    server.wait_for_stderr(
        "the guest trapped: it called `fermyon:spin/key-value@2.0.0#open`, which this host does not have",
    );
    assert_eq!(server.worker(), worker);
    let server = serve(&of_another_host(""), &[]);
    server.get("/").expect_status(500);
    assert!(!server.stderr().contains("does not have"), "{}", server.explain());
}

#[test]
fn what_nobody_has_is_refused_before_anything_is_served() {
    let bytes =
        replaced(&of_another_host(""), b"fermyon:spin/key-value@2.0.0", b"fermyon:spam/key-value@2.0.0");
    let refused = program(["serve", "app.wasm"]).file("app.wasm", bytes).run();
    let (error, _) = refused.expect_refusal(3);
    assert_eq!(error, "`app.wasm` imports `fermyon:spam/key-value@2.0.0`, which nothing provides");
}

/// Whatever another host's own library makes of a handler, it is served as it is.
#[test]
fn what_was_written_for_another_host_with_its_own_library_runs() {
    for (host, greets_with, said, store) in [
        (
            "spin",
            "hello from Spin\n",
            "slot 0 stdout | GET /",
            "fermyon:spin/key-value@2.0.0#[static]store.open",
        ),
        (
            "wasmcloud",
            "hello from wasmCloud\n",
            "slot 0 stderr | info: GET /",
            "wasi:keyvalue/store@0.2.0-draft#open",
        ),
    ] {
        let server = serve(&fs::read(component(host)).unwrap(), &["--config-var", "greeting=good morning"]);
        assert_eq!(server.get("/").expect_status(200).text(), greets_with);
        if host == "spin" {
            server.wait_for_stdout(said)
        } else {
            server.wait_for_stderr(said)
        };
        assert_eq!(server.get("/greeting").expect_status(200).text(), "good morning\n");
        let body = "0123456789".repeat(10_000);
        assert!(server.connect().post("/echo", &body).expect_status(200).text() == body);
        server.get("/nowhere").expect_status(404);
        server.get("/store").expect_status(500);
        server.wait_for_stderr(&format!(
            "the guest trapped: it called `{store}`, which this host does not have"
        ));
        assert_eq!(server.get("/").expect_status(200).text(), greets_with);
    }
}

#[test]
fn what_another_hosts_library_asks_outside_is_denied_by_name() {
    let server = serve(&fs::read(component("spin")).unwrap(), &[]);
    server.get("/outside").expect_status(500);
    server.wait_for_stderr("the guest asked for `outside.example:80`, which it was not granted");
}

/// `bytes` with `to`, which is as long, wherever there was `from`.
fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let places: Vec<_> = (0..bytes.len() - from.len()).filter(|at| bytes[*at..].starts_with(from)).collect();
    assert!(!places.is_empty() && from.len() == to.len());
    for at in places {
        bytes[at..at + to.len()].copy_from_slice(to);
    }
    bytes
}

//! Components that are hard to compile: what it costs, what is said, and that nobody else notices.

use super::expect_reached;
use super::guests::serve;
use crate::support::{Server, component, handler, handler_around};

/// One of a few hundred bytes, whose parts are made of twice as many parts, which are made of twice as many.
fn bomb() -> Vec<u8> {
    let twice =
        |part: String| format!("(component {part} (instance (instantiate 0)) (instance (instantiate 0)))");
    let parts = (0..22).fold("(component)".to_owned(), |part, _| twice(part));
    handler_around(&format!(
        r#"(component $parts {parts} (instance (instantiate 0)))
           (instance (instantiate $parts))
           (core module $m (func (export "handle") (param i32 i32)))
           (core instance $i (instantiate $m))"#
    ))
}

/// One that takes up more than the smallest compiler may have, as it is.
fn large() -> Vec<u8> {
    handler(&format!(r#"(memory 1200) (data (i32.const 0) "{}")"#, "large".repeat(14 << 20)))
}

/// One that takes up little, and much when it is compiled.
fn swelling() -> Vec<u8> {
    let function = format!("(func (param i32) (result i32) local.get 0 {})", "i32.popcnt ".repeat(400_000));
    handler(&function.repeat(2))
}

/// Fails unless it is refused by a limit, where it is served first and where it is pushed.
#[track_caller]
fn expect_refused(bytes: &[u8], args: [&str; 2], expected: &str) {
    let limit = args[0].trim_start_matches('-');
    let refused = serve(bytes.to_vec()).args(args).run();
    let hint = format!("hint: raise `{}`", args[0]);
    refused.expect_code(3).expect_stderr(&format!("error: {expected}")).expect_stderr(&hint);
    refused.expect_nothing_left();

    let server = Server::of("hello-p2").args(args).start();
    let workers = server.workers();
    let pushed = server.command(["push", "app.wasm"]).file("app.wasm", bytes);
    pushed.run().expect_code(3).expect_stderr(expected).expect_stderr(&hint);
    assert_eq!(server.workers(), workers);
    server.get("/").expect_status(200);
    server.command(["push"]).arg(component("hello-p3")).run().expect_code(0);
    expect_reached(&server, &[(limit, 1)]);
}

/// try: 1 KB that a compiler is busy with for minutes | refused after `--max-compile-time`, counted | not looked at
#[test]
fn time() {
    let bomb = bomb();
    assert!(bomb.len() < 1200, "{}", bomb.len());
    expect_refused(
        &bomb,
        ["--max-compile-time", "1s"],
        "compiling `app.wasm` takes more than 1s of CPU time",
    );
}

/// try: a component that takes more than `--max-compile-memory` | refused, said, counted | not looked at
#[test]
fn memory() {
    for bytes in [large(), swelling()] {
        expect_refused(
            &bytes,
            ["--max-compile-memory", "64MiB"],
            "compiling `app.wasm` takes more than 67108864 bytes of memory",
        );
    }
}

/// What a limit is for is not what most people write.
#[test]
fn a_component_of_the_usual_size_needs_little() {
    let server = Server::of("zoo-p2").args(["--max-compile-memory", "256MiB", "--max-compile-time", "1m"]);
    server.start().get("/").expect_status(200);
}

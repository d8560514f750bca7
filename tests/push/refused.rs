//! What cannot be served, does not start or does not stay: the old version goes on.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use nix::sys::signal::Signal::SIGKILL;
use serde_json::Value;

use super::{GIVEN_UP, REJECTED, of_hello, push, push_bytes};
use crate::support::{Program, component, shared_cache, signal};

const NOBODY: u32 = 65534;

/// try: files that are no component, or a damaged one, pushed to an app | refused, exit code 3 | nobody: the same workers
#[test]
fn whatever_cannot_be_served_is_refused_and_the_old_version_goes_on() {
    let server = of_hello(2, "0s").start();
    let workers = server.workers();
    let whole = fs::read(component("zoo-p2")).unwrap();
    let text = |text: &str| wat::parse_str(text).unwrap();
    let is_compiled = |path: &std::path::PathBuf| path.extension().is_some_and(|kind| kind == "cwasm");
    let artifact =
        fs::read_dir(shared_cache()).unwrap().flatten().map(|entry| entry.path()).find(is_compiled);
    let import = r#"(component
        (import "acme:shop/prices@2.1.0" (instance))
        (instance $i)
        (export "wasi:http/incoming-handler@0.2.0" (instance $i)))"#;
    let unlike = r#"(component (instance $i) (export "wasi:http/handler@0.3.0" (instance $i)))"#;
    let bad: Vec<(Vec<u8>, &str)> = vec![
        (Vec::new(), "is not WebAssembly"),
        (b"#!/bin/sh".to_vec(), "is not WebAssembly"),
        (whole[..whole.len() / 2].to_vec(), "is damaged"),
        (text("(module (func (export \"handle\")))"), "is a core module"),
        (text("(component)"), "has no HTTP handler"),
        (text(import), "imports `acme:shop/prices@2.1.0`"),
        (text(unlike), "handle"),
        (fs::read(artifact.unwrap()).unwrap(), "is compiled code"),
    ];
    for (content, words) in bad {
        let refused = push_bytes(&server, content).run();
        let (error, hint) = refused.expect_refusal(REJECTED);
        assert!(error.starts_with("`app.wasm` ") && error.contains(words), "{error}");
        assert!(error.ends_with("; generation 1 serves") && !hint.is_empty(), "{error}");
    }
    assert_eq!(server.workers(), workers);
    assert_eq!(server.get("/").text(), "hello from wasm\n");
    push(&server, "zoo-p2").run().expect_code(0).expect_stdout("generation 2 ");
}

#[test]
fn a_file_that_is_none_never_reaches_the_app() {
    let server = of_hello(1, "0s").start();
    for (file, message) in
        [("missing.wasm", "there is no file `missing.wasm`"), (".", "`.` is a directory, not a component")]
    {
        let refused = server.command(["push", file]).run();
        assert_eq!(refused.expect_refusal(REJECTED).0, message);
    }
    match Program::as_user(NOBODY) {
        Ok(program) => {
            let program = program.args(["push", "app.wasm"]).file("app.wasm", "");
            fs::set_permissions(program.work().join("app.wasm"), Permissions::from_mode(0o000)).unwrap();
            let refused = program.run();
            assert!(refused.expect_refusal(REJECTED).0.starts_with("failed to open `app.wasm`: "));
        }
        Err(error) => eprintln!("skipped, in part: cannot run as another user: {error}"),
    }
    assert_eq!(server.said(), 1, "{}", server.explain());
    server.command(["push"]).run().expect_code(2).expect_stderr("<FILE>");
}

/// try: pushing a component that traps while it starts | taken back, exit code 10 | nobody: the same workers
#[test]
fn a_version_that_refuses_to_start_is_taken_back() {
    for refuses in ["refuses-p2", "refuses-p3"] {
        let server = of_hello(2, "0s").start();
        let workers = server.workers();
        let failed = push(&server, refuses).run();
        failed.expect_code(GIVEN_UP);
        let error = failed.stderr.lines().find(|line| line.starts_with("error: ")).unwrap_or_default();
        assert!(
            error.starts_with("error: generation 2 was given up: the component traps while starting")
                && error.ends_with("; generation 1 serves"),
            "{}",
            failed.explain()
        );
        assert_eq!(server.workers(), workers);
        assert_eq!(server.get("/").text(), "hello from wasm\n");
        let failed = push(&server, refuses).args(["--json"]).run();
        let last: Value = serde_json::from_str(failed.stdout.lines().last().unwrap()).unwrap();
        assert_eq!((&last["outcome"], &last["abort"]), (&"given_up".into(), &"refused".into()), "{last}");
        assert_eq!((&last["generation"], &last["serving"]), (&3.into(), &1.into()), "{last}");
    }
}

#[test]
fn a_canary_that_ends_takes_its_version_with_it() {
    let server = of_hello(2, "1h").start();
    let before = server.workers();
    let waiting = push(&server, "zoo-p2").start();
    server.wait_for_stderr("is watched for 1h");
    let canary = server.workers().into_iter().find(|pid| !before.contains(pid)).unwrap();
    signal(canary, SIGKILL);
    let failed = waiting.wait();
    failed.expect_code(GIVEN_UP);
    failed.expect_stderr(
        "error: generation 2 was given up: a worker ended with signal 9; generation 1 serves\n",
    );
    // Said when it is true.
    assert_eq!(server.get("/").text(), "hello from wasm\n");
    assert_eq!(server.get("/").text(), "hello from wasm\n");
}

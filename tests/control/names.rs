//! Names of apps: who has which, and which app a command means.

use std::fs;

use nix::sys::signal::Signal;
use serde_json::Value;

use super::{Apps, json};
use crate::support::{Server, Starting, component, program, signal};

#[test]
fn with_several_apps_a_name_is_needed() {
    let apps = Apps::new();
    let (shop, blog) = (apps.start("shop", 1), apps.start("blog", 1));
    for command in ["status", "stop"] {
        let refused = apps.command([command]).run();
        let (error, hint) = refused.expect_refusal(2);
        assert_eq!(error, "several apps are running: `blog`, `shop`");
        assert!(hint.contains("--app"), "{hint}");
    }
    assert_eq!(json(apps.command(["status", "--app", "shop", "--json"]))["pid"], shop.pid());
    apps.command(["stop", "--app", "shop"]).run().expect_code(0);
    shop.wait().expect_code(0);
    // Now one is enough to know which is meant.
    assert_eq!(json(apps.command(["status", "--json"]))["pid"], blog.pid());
}

/// try: `..`, `../up`, `a/b` as the name of an app | refused, exit code 2 | not looked at
#[test]
fn names_that_are_none_are_refused() {
    for args in [["serve", "--name"], ["status", "--app"], ["stop", "--app"]] {
        for name in ["", ".", "..", "../up", "a/b", "-x", "two words"] {
            program(args).arg(name).run().expect_code(2);
        }
    }
}

#[test]
fn a_name_that_is_taken_is_refused() {
    let apps = Apps::new();
    let server = apps.start("shop", 1);
    let refused = apps.starting("shop", 1).program().run();
    let (error, hint) = refused.expect_refusal(8);
    assert_eq!(error, format!("an app with the name `shop` is running (pid {})", server.pid()));
    assert!(hint.contains("--name") && hint.contains("wasmcluster stop --app shop"), "{hint}");
    assert_eq!(server.get("/").status, 200);
    server.stop();
    apps.start("shop", 1);
}

#[test]
fn the_default_name_is_the_files_or_the_next_that_is_free() {
    let apps = Apps::new();
    let place = tempfile::tempdir().unwrap();
    let copy = place.path().join("my shop.wasm");
    fs::copy(component("hello-p2"), &copy).unwrap();
    let start = |starting: Starting| starting.instances(1).run_dir(apps.path()).start();
    let servers = [Server::demo(), Server::demo(), Server::demo(), Server::of_file(&copy)].map(start);
    let listed = json(apps.command(["list", "--json"]));
    let names = listed.as_array().unwrap().iter().map(|app| app["name"].as_str().unwrap());
    assert_eq!(names.collect::<Vec<_>>(), ["demo", "demo-2", "demo-3", "my-shop"]);
    // Each is who it says it is.
    assert_eq!(json(apps.command(["status", "--json", "--app", "demo-2"]))["pid"], servers[1].pid());
}

#[test]
fn what_a_killed_supervisor_leaves_is_nobody_and_is_taken_over() {
    let apps = Apps::new();
    let server = apps.start("shop", 1);
    signal(server.pid(), Signal::SIGKILL);
    assert_eq!(server.wait().status.code(), None);
    let socket = apps.socket("shop");
    assert!(socket.exists(), "it could not clean up");
    assert_eq!(json(apps.command(["list", "--json"])), Value::Array(Vec::new()));
    apps.command(["status", "--app", "shop"]).run().expect_code(9);
    let server = apps.start("shop", 1);
    assert_eq!(json(apps.command(["status", "--json"]))["pid"], server.pid());
    server.stop();
    assert!(!socket.exists());
}

#[test]
fn the_users_runtime_directory_is_where_apps_are_found() {
    let runtime = tempfile::tempdir().unwrap();
    let serve = program(["serve", "--addr", "127.0.0.1:0", "--instances", "1"]).default_run_dir();
    let server = Starting::of(serve.env("XDG_RUNTIME_DIR", runtime.path())).start();
    assert!(runtime.path().join("wasmcluster/demo/control.sock").exists());
    let status = program(["status", "--json"]).default_run_dir().env("XDG_RUNTIME_DIR", runtime.path());
    assert_eq!(json(status)["pid"], server.pid());
}

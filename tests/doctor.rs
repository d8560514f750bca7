//! `wasmcluster doctor`: what a machine gives, and what would make it better.

use serde_json::Value;

use crate::support::{Server, program};

/// What it found for machines, by what was looked at.
fn found(checks: &str) -> impl Fn(&str) -> Value {
    let checks: Vec<Value> = serde_json::from_str(checks).unwrap();
    move |name| {
        let check = checks.iter().find(|check| check["check"] == name);
        check.unwrap_or_else(|| panic!("no `{name}` in {checks:?}")).clone()
    }
}

#[test]
fn it_says_what_workers_get_and_leaves_nothing() {
    let doctor = program(["doctor", "--json"]).env("PATH", "").run();
    let found = found(&doctor.expect_code(0).stdout);
    doctor.expect_nothing_left();
    assert_eq!(doctor.stderr, "");
    assert!(found("kernel")["found"].as_str().unwrap().starts_with("Linux "));
    // The same that an app says of itself.
    let server = Server::of("hello-p2").instances(1).start();
    let status = server.command(["status", "--json"]).run();
    let status: Value = serde_json::from_str(&status.expect_code(0).stdout).unwrap();
    assert_eq!(found("sandbox")["fix"].is_null(), status["confinement"] == "full");
    for check in ["descriptors", "mappings", "backlog", "memory", "rust", "go", "python"] {
        found(check);
    }
}

#[test]
fn tools_that_are_not_there_come_with_the_way_to_them() {
    let doctor = program(["doctor"]).env("PATH", "").run();
    doctor
        .expect_code(0)
        .expect_stdout("Go 1.24 or newer is needed, and there is none")
        .expect_stdout("https://go.dev/dl");
}

#[test]
fn what_keeps_an_app_from_serving_is_its_failure_too() {
    let doctor = program(["doctor", "--json"]).file("cache", "").env("WASMCLUSTER_CACHE_DIR", "cache").run();
    let found = found(&doctor.expect_code(5).stdout);
    assert!(found("serving")["found"].as_str().unwrap().contains("cache"));
    assert!(found("serving")["fix"].is_string());
    let doctor = program(["doctor", "--json"]).env("WASMCLUSTER_MAX_RESTARTS", "many").run();
    doctor.expect_code(2).expect_stdout("many");
}

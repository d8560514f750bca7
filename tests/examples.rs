//! The applications in `guest-examples/*/router`: one application in four languages, built, tested, served, and replaced
//! under load.
//!
//! ```console
//! $ cargo test --test tests examples:: -- --ignored --nocapture --test-threads 1
//! ```
//!
//! As with [the starters](crate::starters) it takes the tools of each language, and a language without them is skipped,
//! unless `WASMCLUSTER_TEST_TOOLS=all`. What is built is left in the directory that `WASMCLUSTER_TEST_EXAMPLES` names, for
//! `wasmcluster-load --languages`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::figures::shown;
use crate::starters::{expect_success, keep_busy, push_under_load};
use crate::support::{Response, Server, repository};

/// What is said of a request that cannot be answered as it was meant.
const PROBLEM: &str = "";

/// Everything that is asked, and what all of them answer: the status, and JSON but for the start page.
const ANSWERS: [(&str, &str, &str, u16, &str); 13] = [
    ("GET", "/", "", 200, "try /users/7 and /events\n"),
    ("GET", "/users/7", "", 200, r#"{"id": 7, "name": "user 7"}"#),
    ("GET", "/users/seven", "", 404, PROBLEM),
    ("GET", "/nowhere", "", 404, PROBLEM),
    ("POST", "/users", r#"{"name": "Ada"}"#, 201, r#"{"id": 8, "name": "Ada"}"#),
    ("POST", "/users", "no json", 400, PROBLEM),
    ("POST", "/users", "", 400, PROBLEM),
    ("POST", "/users", "{}", 400, PROBLEM),
    ("POST", "/users", r#"{"name": ""}"#, 400, PROBLEM),
    ("POST", "/", "", 405, PROBLEM),
    ("DELETE", "/users/7", "", 405, PROBLEM),
    ("GET", "/users", "", 405, PROBLEM),
    ("DELETE", "/events", "", 405, PROBLEM),
];

/// What a user may be long, in bytes.
const LARGEST: usize = 64 << 10;

#[test]
#[ignore = "takes a toolchain, and minutes"]
fn rust() {
    walk("rust");
}

#[test]
#[ignore = "takes a toolchain, and minutes"]
fn go() {
    walk("go");
}

#[test]
#[ignore = "takes a toolchain, and minutes"]
fn ts() {
    walk("ts");
}

#[test]
#[ignore = "takes a toolchain, and minutes"]
fn python() {
    walk("python");
}

#[track_caller]
fn walk(language: &str) {
    let components = std::env::var_os("WASMCLUSTER_TEST_EXAMPLES")
        .map_or_else(|| Path::new(env!("CARGO_TARGET_TMPDIR")).join("examples"), PathBuf::from);
    let component = components.join(format!("{language}-router.wasm"));
    // One of an earlier run would hide that there was none in this.
    fs::remove_file(&component).ok();
    let mut build = Command::new(repository("guest-examples/build"));
    build.arg("--out").arg(&components).args(["--test", language]);
    let began = Instant::now();
    let said = expect_success(build);
    if let Some(skipped) = said.lines().find(|line| line.starts_with("skipped: ")) {
        eprintln!("\n{skipped}");
        return;
    }
    let built = began.elapsed();

    // Names of requests are taken from proxies alone, and this test stands for one.
    let mut server = Server::of_file(&component).args(["--bake", "100ms", "--trust-proxy", "127.0.0.1"]);
    let config = repository("guest-examples").join(language).join("router/wasmcluster.toml");
    if config.is_file() {
        server = server.arg("--config").arg(config);
    }
    let server = server.start();
    for (method, path, body, status, expected) in ANSWERS {
        expect(&ask(&server, method, path, body), status, expected);
    }
    expect(&ask(&server, "POST", "/users", &format!("{}{{}}", " ".repeat(LARGEST))), 413, PROBLEM);
    in_chunks(&server);
    methods(&server);
    request_ids(&server);
    events(&server);
    let each = keep_busy(&server);
    push_under_load(&server, &components.join(format!("{language}-starter.wasm")));
    assert_eq!(server.get("/").expect_status(200).text(), "Hello from starter\n");
    let log = server.stderr();
    assert!(!log.contains("trapped"), "{log}");
    eprintln!("\n| {language} | built and tested in {} | {} a request |", shown(built), shown(each));
    server.stop();
}

/// One request over a connection of its own, and its answer, which has the name of the request.
#[track_caller]
fn ask(server: &Server, method: &str, path: &str, body: &str) -> Response {
    let (length, mut client) = (body.len().to_string(), server.connect());
    let fields = [("x-request-id", "abc-1"), ("content-length", &length)];
    client.send_head(method, path, if method == "POST" { &fields } else { &fields[..1] });
    client.send(body);
    let answer = client.response();
    assert_eq!(answer.header("x-request-id"), Some("abc-1"), "{method} {path}: {}", answer.head);
    answer
}

#[track_caller]
fn expect(answer: &Response, status: u16, expected: &str) {
    let (head, text) = (&answer.head, answer.text());
    assert_eq!(answer.status, status, "{head}\n{text}");
    if !expected.starts_with('{') && expected != PROBLEM {
        return assert_eq!(text, expected);
    }
    let json: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {head}\n{text}"));
    assert_eq!(answer.header("content-type"), Some("application/json"), "{head}");
    match expected {
        PROBLEM => assert!(json["error"].as_str().is_some_and(|error| !error.is_empty()), "{text}"),
        _ => assert_eq!(json, serde_json::from_str::<Value>(expected).unwrap()),
    }
}

/// A body whose length nobody says before.
#[track_caller]
fn in_chunks(server: &Server) {
    for (body, status) in [(r#"{"name": "Ada"}"#, 201), (" ".repeat(LARGEST + 1).as_str(), 413)] {
        let mut client = server.connect();
        client.send_head("POST", "/users", &[("transfer-encoding", "chunked")]);
        client.send(format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len()));
        client.response().expect_status(status);
    }
}

/// Whoever asks by a wrong method is told the right one.
#[track_caller]
fn methods(server: &Server) {
    for (path, allowed) in [("/", "GET"), ("/users/7", "GET"), ("/users", "POST"), ("/events", "GET")] {
        let answer = ask(server, "DELETE", path, "").expect_status(405);
        let listed = answer.header("allow").unwrap_or_default();
        assert!(listed.split(", ").any(|method| method == allowed), "{path}: {listed}");
    }
}

/// A request that has no name fit for logs gets one.
#[track_caller]
fn request_ids(server: &Server) {
    let given = |fields: &[(&str, &str)]| {
        let mut client = server.connect();
        client.send_head("GET", "/", fields);
        client.response().header("x-request-id").expect("a name").to_owned()
    };
    let (first, second, odd) = (given(&[]), given(&[]), given(&[("x-request-id", "no good")]));
    assert!(!first.is_empty() && first != second && odd != "no good", "{first}, {second}, {odd}");
}

/// The first line comes when it is made, and not with the last.
#[track_caller]
fn events(server: &Server) {
    let mut client = server.connect();
    client.send_head("GET", "/events", &[]);
    let head = client.try_head().unwrap().expect_status(200);
    assert_eq!(head.header("transfer-encoding"), Some("chunked"), "{}", head.head);
    let (mut first, mut text) = (None, Vec::new());
    while let Some(chunk) = client.try_chunk().unwrap() {
        first.get_or_insert_with(Instant::now);
        text.extend(chunk);
    }
    assert_eq!(String::from_utf8_lossy(&text), "event 1\nevent 2\nevent 3\nevent 4\nevent 5\n");
    let apart = first.unwrap().elapsed();
    assert!(apart >= Duration::from_millis(600), "the first line came {apart:?} before the last");
}

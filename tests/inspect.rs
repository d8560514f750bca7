//! `wasmcluster inspect`: what a component is, and what it would get.

use serde_json::Value;

use crate::support::{Finished, Starting, component, handler_around, program};

const COMPONENT: i32 = 3;

fn inspect<'a>(args: impl IntoIterator<Item = &'a str>) -> Finished {
    program(["inspect"]).args(args).run()
}

/// What it says to machines of a component of the tests.
#[track_caller]
fn report(name: &str, args: &[&str]) -> Value {
    let finished = program(["inspect", "--json"]).arg(component(name)).args(args).run();
    serde_json::from_str(&finished.expect_code(0).stdout).unwrap()
}

/// What the component gets of each interface, by its name without a version.
fn gets(report: &Value, interface: &str) -> Value {
    let imports = report["imports"].as_array().unwrap();
    let named = |import: &&Value| import["name"].as_str().unwrap().split('@').next() == Some(interface);
    let mut import =
        imports.iter().find(named).unwrap_or_else(|| panic!("no `{interface}` in {report}")).clone();
    import.as_object_mut().unwrap().remove("name");
    import
}

#[test]
fn both_versions_are_told_with_their_reuse() {
    for (name, wasi, reuse) in [("hello-p2", "0.2", 1), ("hello-p3", "0.3", 128)] {
        let report = report(name, &[]);
        assert_eq!(report["wasi"], wasi);
        assert_eq!(report["max_instance_reuse_count"], reuse);
        let bytes = std::fs::read(component(name)).unwrap();
        assert_eq!(report["bytes"], bytes.len());
        assert_eq!(report["sha256"].as_str().unwrap().len(), 64);
        let exports = report["exports"].as_array().unwrap();
        assert!(exports.iter().any(|export| export.as_str().unwrap().starts_with("wasi:http/")), "{report}");
        let made_by = report["made_by"].as_array().unwrap();
        let linker = made_by.iter().find(|by| by["name"] == "wit-component").unwrap();
        assert_eq!(linker["field"], "processed-by");
        assert!(linker["version"].as_str().unwrap().starts_with("0."), "{linker}");
    }
    assert_eq!(report("hello-p2", &["--max-instance-reuse-count", "7"])["max_instance_reuse_count"], 7);
}

#[test]
fn what_is_imported_stands_beside_what_was_granted() {
    let nothing = |flag: &str| serde_json::json!({ "gets": "nothing", "flag": flag });
    let granted = |what: &str| serde_json::json!({ "gets": "granted", "what": [what] });
    for (name, outgoing) in [("zoo-p2", "wasi:http/outgoing-handler"), ("zoo-p3", "wasi:http/client")] {
        let bare = report(name, &[]);
        assert_eq!(gets(&bare, outgoing), nothing("allow-outbound"));
        assert_eq!(gets(&bare, "wasi:cli/environment"), nothing("env"));
        assert_eq!(gets(&bare, "wasi:filesystem/preopens"), nothing("dir"));
        assert_eq!(gets(&bare, "wasi:http/types")["gets"], "all");
        let flags =
            ["--allow-outbound", "api.example.org:443", "--env", "KEY=secret", "--dir", "/tmp::/data::ro"];
        let rich = report(name, &flags);
        assert_eq!(gets(&rich, outgoing), granted("api.example.org:443"));
        assert_eq!(gets(&rich, "wasi:cli/environment"), granted("KEY"));
        assert_eq!(gets(&rich, "wasi:filesystem/preopens"), granted("/data (read only)"));
        assert!(!rich.to_string().contains("secret"), "a value is nobody's business");
    }
}

#[test]
fn what_an_instance_costs_is_measured_when_it_is_asked_for() {
    for name in ["hello-p2", "hello-p3"] {
        assert_eq!(report(name, &[]).get("start_us"), None);
        let measured = report(name, &["--measure"])["start_us"].as_u64().unwrap();
        assert!((1..1_000_000).contains(&measured), "{measured}");
    }
    let said = program(["inspect", "--measure"]).arg(component("hello-p2")).run();
    said.expect_code(0);
    let line =
        said.stdout.lines().find(|line| line.starts_with("  start    a fresh instance takes ")).unwrap();
    assert!(line.ends_with('s'), "{line}");
    said.expect_nothing_left();
    // What would not start is refused in the words of `serve`.
    let refused = program(["inspect", "--measure", "--json"]).arg(component("refuses-p2")).run();
    refused.expect_code(COMPONENT).expect_stderr("traps while starting");
}

/// What a component has that `componentize-js` made of a listener for fetch events.
fn fetch_event(also: &str) -> Vec<u8> {
    handler_around(&format!(
        r#"(@producers (processed-by "ComponentizeJS" "0.23.0"))
           (core module $m
               (func (export "handle") (param i32 i32))
               (func (export "wasi:http/incoming-handler@0.2.10#handle"))
               {also})
           (core instance $i (instantiate $m))"#
    ))
}

#[test]
fn fetch_events_are_answered_once_whatever_is_wanted() {
    let reuse = ["--max-instance-reuse-count", "1000"];
    let inspected = |component: &[u8]| {
        let program = program(["inspect", "app.wasm"]).args(reuse).file("app.wasm", component);
        program.run().expect_code(0).stdout.clone()
    };
    let raw = fetch_event(r#"(func (export "cabi_post_wasi:http/incoming-handler@0.2.10#handle"))"#);
    assert!(inspected(&raw).contains("  reuse    an instance serves up to 1000 requests\n"));
    let component = fetch_event("");
    assert!(inspected(&component).contains("  reuse    none: it answers fetch events"));
    let program = program(["serve", "app.wasm", "--addr", "127.0.0.1:0", "--instances", "1"]).args(reuse);
    let server = Starting::of(program.file("app.wasm", component)).start();
    server.wait_for_stderr(
        "an instance of `app.wasm` serves one request, whatever `--max-instance-reuse-count` says",
    );
    server.wait_for_stderr("hint: export `incomingHandler`");
}

#[test]
fn the_configuration_counts_as_it_does_for_serve() {
    let file = "max-instance-reuse-count = 3\nallow-outbound = [\"*\"]\n";
    let finished =
        program(["inspect", "--json"]).arg(component("zoo-p2")).file("wasmcluster.toml", file).run();
    let report: Value = serde_json::from_str(&finished.expect_code(0).stdout).unwrap();
    assert_eq!(report["max_instance_reuse_count"], 3);
    assert_eq!(gets(&report, "wasi:http/outgoing-handler")["gets"], "granted");
    let wrong = program(["inspect"]).file("wasmcluster.toml", "max-restart = 1\n").run();
    let (error, hint) = wrong.expect_refusal(2);
    assert_eq!(error, "`wasmcluster.toml`, line 1: there is no key `max-restart`");
    assert_eq!(hint, "did you mean `max-restarts`?");
}

#[test]
fn people_are_told_in_a_few_lines() {
    let finished = inspect(["--env", "NAME=value"]);
    let text = &finished.expect_code(0).stdout;
    let mut lines = text.lines();
    assert!(lines.next().unwrap().starts_with("the built-in demo: a component of "), "{text}");
    for expected in [
        "  handler  wasi:http 0.2\n",
        "  reuse    none: each request gets a fresh instance\n",
        "  made by  wit-component 0.",
        "NAME\n",
        "all of it\n",
    ] {
        assert!(text.contains(expected), "no {expected:?} in\n{text}");
    }
}

#[test]
fn what_is_missing_is_shown_and_refused() {
    let text = r#"(component
        (import "acme:thing/store@1.0.0" (instance))
        (import "wasi:io/error@0.2.0" (instance))
        (core module $m (func (export "handle") (param i32 i32)))
        (instance $handler)
        (export "wasi:http/incoming-handler@0.2.0" (instance $handler)))"#;
    let bytes = wat::parse_str(text).unwrap();
    let refused = program(["inspect", "app.wasm"]).file("app.wasm", &bytes).run();
    refused.expect_code(COMPONENT).expect_stdout("acme:thing/store@1.0.0  it is not there\n");
    refused.expect_stdout("wasi:io/error@0.2.0     all of it\n");
    refused
        .expect_stderr("error: `app.wasm` imports `acme:thing/store@1.0.0`, which nothing provides\nhint: ");

    let refused = program(["inspect", "--json", "app.wasm"]).file("app.wasm", &bytes).run();
    let report: Value = serde_json::from_str(&refused.expect_code(COMPONENT).stdout).unwrap();
    assert_eq!(gets(&report, "acme:thing/store")["gets"], "missing");
}

#[test]
fn what_serve_refuses_is_refused_in_the_same_words() {
    for content in [&b""[..], b"\0asm\x01\0\0\0", b"\0asm\x0d\0\x01\0\xff"] {
        let of = |command: &str| {
            let refused = program([command, "app.wasm"]).file("app.wasm", content).run();
            let (error, hint) = refused.expect_refusal(COMPONENT);
            (error.to_owned(), hint.to_owned())
        };
        assert_eq!(of("inspect"), of("serve"));
    }
    let missing = inspect(["missing.wasm"]);
    let (error, _) = missing.expect_refusal(COMPONENT);
    assert_eq!(error, "there is no file `missing.wasm`");
}

//! `wasmcluster new`: projects to begin with.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use crate::support::{Program, program};

const LANGUAGES: [&str; 6] = ["rust", "rust-p3", "js", "ts", "go", "python"];

fn new(args: &[&str]) -> Program {
    program(["new"]).args(args)
}

#[test]
fn every_language_has_a_project_that_serve_understands() {
    for language in LANGUAGES {
        let made = new(&[language, "my-app"]).run();
        made.expect_code(0).expect_stdout("created `my-app`, a handler in ");
        made.expect_stdout("\nnext:\n  cd my-app\n").expect_stdout("\n  wasmcluster serve\n");
        made.expect_stdout("\n  wasmcluster push ").expect_stdout("\n  wasmcluster serve --dev\n");
        let project = made.place.path().join("work/my-app");
        for file in ["README.md", ".gitignore", "wasmcluster.toml"] {
            assert!(project.join(file).is_file(), "{language} has no {file}");
        }
        let configuration = fs::read_to_string(project.join("wasmcluster.toml")).unwrap();
        assert!(configuration.contains("name = \"my-app\"\n"), "{configuration}");
        // Nothing is wrong with it but that nobody has built the component.
        let unbuilt = program(["inspect", "--config"]).arg(project.join("wasmcluster.toml")).run();
        unbuilt.expect_code(3).expect_stderr("error: there is no file `");
        let component = configuration.lines().find_map(|line| line.strip_prefix("component = \"")).unwrap();
        unbuilt.expect_stderr(component.trim_end_matches('"'));
    }
}

#[test]
fn a_path_is_where_it_goes_and_its_end_is_its_name() {
    let made = new(&["rust", "some/where/app"]).run();
    made.expect_code(0).expect_stdout("  cd some/where/app\n");
    let manifest = fs::read_to_string(made.place.path().join("work/some/where/app/Cargo.toml")).unwrap();
    assert!(manifest.contains("name = \"app\"\n"), "{manifest}");
}

#[test]
fn nothing_is_overwritten() {
    let refused = new(&["rust", "app"]).directory("app").file("app/Cargo.toml", "mine").run();
    let (error, hint) = refused.expect_refusal(1);
    assert_eq!(error, "there is a `app` already");
    assert_eq!(hint, "choose another name; nothing is overwritten");
    assert_eq!(fs::read_to_string(refused.place.path().join("work/app/Cargo.toml")).unwrap(), "mine");
}

#[test]
fn a_place_that_cannot_be_written_is_left_as_it_was() {
    let refused = new(&["rust", "file/app"]).file("file", "a file").run();
    refused.expect_code(1).expect_stderr("error: failed to write `file/app`: ");
    assert_eq!(fs::read_to_string(refused.place.path().join("work/file")).unwrap(), "a file");
}

#[test]
fn languages_and_names_that_are_none() {
    let refused = new(&["cobol", "app"]).run();
    let (error, _) = refused.expect_refusal(2);
    assert!(
        error.starts_with("invalid value `cobol` for `<LANG>`: expected one of `rust`, `rust-p3`"),
        "{error}"
    );
    for name in ["My-App", "2app", "app.js", ".."] {
        let refused = new(&["rust", name]).run();
        let (error, _) = refused.expect_refusal(2);
        assert!(error.contains(&format!("`{name}`")) && error.contains("lower-case"), "{error}");
    }
}

#[test]
fn tools_that_are_missing_or_too_old_are_named() {
    let without = new(&["rust", "app"]).env("PATH", "").run();
    without
        .expect_code(0)
        .expect_stderr("warning: Rust 1.91 or newer is needed, and there is none\nhint: `rustup");
    let old = new(&["rust", "app"]).file("rustc", "#!/bin/sh\necho rustc 1.70.0 '(90c541806 2023-05-31)'\n");
    let path = old.work();
    fs::set_permissions(path.join("rustc"), Permissions::from_mode(0o755)).unwrap();
    old.env("PATH", path).run().expect_stderr("warning: Rust 1.91 or newer is needed, and this is 1.70\n");
    let half =
        new(&["rust", "app"]).file("rustc", "#!/bin/sh\n[ $1 = --print ] && echo / || echo rustc 1.95.0\n");
    let path = half.work();
    fs::set_permissions(path.join("rustc"), Permissions::from_mode(0o755)).unwrap();
    let warned = half.env("PATH", path).run();
    warned.expect_stderr("warning: Rust has no standard library for wasm32-wasip2\n");
    warned.expect_stderr("hint: `rustup target add wasm32-wasip2`\n");
}

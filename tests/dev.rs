//! `serve --dev`: what is being written is built, served and explained, and nothing of that is left behind.

mod errors;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal::{self, SIGINT, SIGKILL, SIGTERM};
use serde_json::Value;

use crate::support::{
    Load, Program, Server, Starting, alive, component, eventually, expect_gone, program, running_in, signal,
};

/// Copies the component whose path is in `source`. One that is to take for ever says by which process.
const BUILD: &str = r#"name=$(cat source); echo "building $name"
[ "$name" != stuck ] || { sleep 600 & echo $! > .stuck; wait; }
cp "$name" app.wasm"#;

fn path(name: &str) -> String {
    component(name).into_os_string().into_string().unwrap()
}

/// A project that is built from the component of this name, and was not yet.
fn project(name: &str) -> Starting {
    let starting = Server::of_file(Path::new("app.wasm")).no_instances();
    starting.file("source", path(name)).args(["--dev", "--build", BUILD])
}

fn file(server: &Server, name: &str) -> PathBuf {
    server.place().join("work").join(name)
}

/// Writes another source.
fn write(server: &Server, source: &str) {
    fs::write(file(server, "source"), source).unwrap();
}

/// The process that a build waits for, in the directory where it runs.
fn stuck(work: &Path) -> u32 {
    eventually("a build that takes its time", || {
        fs::read_to_string(work.join(".stuck")).ok()?.trim().parse().ok()
    })
}

#[test]
fn what_was_never_built_is_built_and_served() {
    let server = project("hello-p2").start();
    assert_eq!(server.get("/").text(), "hello from wasm\n");
    assert_eq!(server.workers().len(), 1, "one is enough for one{}", server.explain());
    let log = server.stderr();
    let at = |text: &str| log.find(text).unwrap_or_else(|| panic!("no `{text}`{}", server.explain()));
    let lines = ["building: name=$(cat source)", "build | building ", "built after ", "Serving HTTP on "];
    assert!(lines.is_sorted_by_key(|line| at(line)), "{log}");
    assert!(!log.contains("again"), "{log}");
    assert!(server.stop().stdout.is_empty(), "stdout is the guest's");
}

#[test]
fn what_is_built_already_is_served_as_it_is() {
    let server = project("hello-p2").file("app.wasm", fs::read(component("zoo-p2")).unwrap()).start();
    assert_eq!(server.get("/").text(), "hello from the zoo\n");
    assert!(!server.stderr().contains("build"), "{}", server.explain());
}

#[test]
fn a_change_is_built_and_served_and_loses_nothing() {
    let server = project("hello-p2").start();
    let loads =
        [Load::fresh(server.addr, 4).rate(50).start(), Load::keep_alive(server.addr, 4).rate(100).start()];
    write(&server, &path("zoo-p2"));
    server.wait_for_stderr("building again: `source` has changed");
    // Without a while in which it is only tried.
    server.wait_for_stderr("every slot serves generation 2");
    write(&server, &path("hello-p3"));
    server.wait_for_stderr("every slot serves generation 3");
    for load in loads {
        let outcome = load.stop();
        assert!(outcome.lost() == 0 && outcome.ok > 0, "{outcome}");
    }
    assert_eq!(server.get("/").text(), "hello from wasm\n");
}

#[test]
fn a_build_that_fails_is_shown_and_the_old_version_goes_on() {
    let server = project("hello-p2").start();
    let workers = server.workers();
    write(&server, "missing.wasm");
    server.wait_for_stderr("build | cp: ");
    server.wait_for_stderr("error: the build failed (exit status 1)");
    server.wait_for_stderr("hint: the old version is still served; the next change is built again");
    assert_eq!((server.get("/").text(), server.workers()), ("hello from wasm\n", workers));
    write(&server, &path("zoo-p2"));
    server.wait_for_stderr("every slot serves generation 2");
}

#[test]
fn a_first_build_that_fails_is_tried_again_at_the_next_change() {
    let server = project("hello-p2").file("source", "missing.wasm").start_after(|running, stderr| {
        stderr("error: the build failed (exit status 1)");
        stderr("hint: nothing is served yet; the next change is built again");
        // One that makes something that is no component.
        fs::write(running.place().join("work/source"), "source").unwrap();
        stderr("error: `app.wasm` is ");
        fs::write(running.place().join("work/source"), path("hello-p2")).unwrap();
    });
    assert_eq!(server.get("/").text(), "hello from wasm\n");
    server.stop();
}

#[test]
fn a_build_that_makes_something_else_has_failed() {
    let nothing = Server::of_file(Path::new("app.wasm")).args(["--dev", "--build", "true"]).program().start();
    let said = |text: &str| {
        nothing.stderr.wait_for(crate::support::PATIENCE, |log| log.contains(text).then_some(()))
    };
    said("error: the build made no `app.wasm`\n").unwrap_or_else(|| panic!("{}", nothing.explain()));
    signal(nothing.pid(), SIGTERM);
    nothing.wait().expect_code(0).expect_nothing_left();
}

#[test]
fn a_change_ends_a_build_that_does_not_end() {
    let server = project("hello-p2").start();
    write(&server, "stuck");
    let left = stuck(&server.place().join("work"));
    write(&server, &path("zoo-p2"));
    server.wait_for_stderr("every slot serves generation 2");
    expect_gone(&[left]);
    assert!(!server.stderr().contains("error: "), "{}", server.explain());
}

#[test]
fn a_stop_ends_a_build() {
    for is_fast in [false, true] {
        let server = project("zoo-p2").start();
        write(&server, "stuck");
        let left = stuck(&server.place().join("work"));
        let mut client = server.connect();
        if is_fast {
            client.send_head("GET", "/never", &[]);
        }
        server.signal(SIGTERM);
        if is_fast {
            server.wait_for_stderr("stopping: ");
            // It does not wait for requests either.
            expect_gone(&[left]);
            server.command(["stop", "--fast"]).run().expect_code(0);
        }
        server.wait().expect_code(0).expect_nothing_left();
        expect_gone(&[left]);
    }
}

#[test]
fn a_stop_before_anything_is_served_ends_a_build() {
    for which in [SIGTERM, SIGINT, Signal::SIGQUIT] {
        let running = project("hello-p2").file("source", "stuck").program().start();
        let left = stuck(&running.place().join("work"));
        signal(running.pid(), which);
        running.wait().expect_code(0).expect_nothing_left();
        expect_gone(&[left]);
    }
}

#[test]
fn a_build_does_not_outlive_a_supervisor_that_is_killed() {
    let server = project("hello-p2").start();
    write(&server, "stuck");
    stuck(&server.place().join("work"));
    let all = running_in(server.place());
    server.signal(SIGKILL);
    server.wait();
    expect_gone(&all);
}

#[test]
fn what_a_build_leaves_running_ends_with_it() {
    let build = "sleep 600 & echo $! > .left; cp \"$(cat source)\" app.wasm";
    let server = Server::of_file(Path::new("app.wasm")).file("source", path("hello-p2"));
    let server = server.args(["--dev", "--build", build]).start();
    let left = fs::read_to_string(file(&server, ".left")).unwrap().trim().parse().unwrap();
    assert!(!alive(left), "{}", server.explain());
}

#[test]
fn a_file_that_each_build_writes_is_no_reason_for_another() {
    let build = r#"date +%N > made; cp "$(cat source)" app.wasm"#;
    let server = Server::of_file(Path::new("app.wasm")).no_instances().file("source", path("hello-p2"));
    let server = server.args(["--dev", "--build", build]).start();
    let line = server.wait_for_stderr("changes with every build");
    assert_eq!(line, "warning: `made` changes with every build, which is no reason for another");
    server.wait_for_stderr("hint: list it in `.gitignore` if it is no source");
    write(&server, &path("zoo-p2"));
    server.wait_for_stderr("every slot serves generation 2");
    let builds = |log: String| log.lines().filter(|line| line.starts_with("building")).count();
    assert_eq!(builds(server.stderr()), 6, "{}", server.explain());
}

#[test]
fn a_file_that_each_build_writes_as_it_was_is_no_reason_for_another() {
    let build = r#"echo generated > made; cp "$(cat source)" app.wasm"#;
    let server = Server::of_file(Path::new("app.wasm")).no_instances().file("source", path("hello-p2"));
    let server = server.args(["--dev", "--build", build]).start();
    server.wait_for_stderr("building again: `made` has changed");
    write(&server, &path("zoo-p2"));
    server.wait_for_stderr("every slot serves generation 2");
    let log = server.stderr();
    let again = |file: &str| log.matches(&format!("building again: `{file}` has changed\n")).count();
    assert_eq!((again("made"), again("source")), (1, 1), "{}", server.explain());
    assert!(!log.contains("warning"), "{}", server.explain());
}

#[test]
fn another_program_goes_on_with_it() {
    let server = Server::installed_file("app.wasm").no_instances().file("source", path("hello-p2"));
    let server = server.args(["--dev", "--build", BUILD]).start();
    write(&server, "stuck");
    let left = stuck(&server.place().join("work"));
    fs::remove_file(file(&server, ".stuck")).unwrap();
    server.command(["upgrade"]).run().expect_code(0);
    expect_gone(&[left]);
    // It begins with what the one before has not finished.
    let again = stuck(&server.place().join("work"));
    write(&server, &path("zoo-p2"));
    server.wait_for_stderr("every slot serves generation 3");
    assert_eq!(server.get("/").text(), "hello from the zoo\n");
    server.stop().expect_nothing_left();
    expect_gone(&[again]);
}

#[test]
fn machines_get_it_in_parts() {
    let server = project("hello-p2").arg("--json").start();
    write(&server, "missing.wasm");
    server.wait_for_stderr("build_failed");
    let log = server.stderr();
    let records = |kind: &str| -> Vec<Value> {
        let all = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        all.filter(|record| record["record"] == kind).collect()
    };
    let building = records("building");
    assert_eq!(building[0]["command"], BUILD);
    assert_eq!([&building[0]["changed"], &building[1]["changed"]], [&Value::Null, &"source".into()]);
    assert!(records("built")[0]["took_ms"].is_u64(), "{log}");
    let output = &records("build_output")[0];
    assert_eq!(output["stream"], "stdout");
    assert_eq!(output["text"], format!("building {}", path("hello-p2")));
    let failed = &records("build_failed")[0];
    assert_eq!(failed["message"], "the build failed (exit status 1)");
    assert!(failed["hint"].as_str().unwrap().starts_with("the old version "), "{failed}");
}

#[test]
fn a_project_says_it_in_its_configuration() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    let configuration = "component = 'made/app.wasm'\naddr = '127.0.0.1:0'\ninstances = 2\n\
        build = 'mkdir -p made && cp \"$(cat source)\" made/app.wasm'\n";
    fs::write(at("app.toml"), configuration).unwrap();
    fs::write(at("source"), path("hello-p2")).unwrap();
    let serve = |args: &[&str]| program(["serve", "--config"]).arg(at("app.toml")).args(args);
    // By itself the command means nothing.
    serve(&[]).run().expect_code(3).expect_stderr("there is no file `");
    let server = Starting::of(serve(&["--dev"])).start();
    assert_eq!(server.workers().len(), 2, "what is said counts more{}", server.explain());
    fs::write(at("source"), path("zoo-p2")).unwrap();
    server.wait_for_stderr("every slot serves generation 2");
}

#[test]
fn a_change_of_the_configuration_is_read_and_not_built() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    let configure = |rest: &str| {
        let common = "component = 'app.wasm'\naddr = '127.0.0.1:0'\nenv-file = ['.env']\n";
        fs::write(at("app.toml"), format!("{common}{rest}")).unwrap();
    };
    for build in ["build = 'cp \"$(cat source)\" app.wasm'\n", ""] {
        configure(build);
        fs::write(at(".env"), "NAME=Ada\n").unwrap();
        fs::write(at("source"), path("zoo-p2")).unwrap();
        fs::copy(component("zoo-p2"), at("app.wasm")).unwrap();
        let serve = program(["serve", "--dev", "--config"]).arg(at("app.toml"));
        let server = Starting::of(serve).no_addr().no_instances().start();
        let variables = || server.get("/env").text().to_owned();
        assert!(variables().contains("NAME=Ada\n") && !variables().contains("GREETING"), "{}", variables());

        configure(&format!("{build}[env]\nGREETING = 'hello'\n"));
        server.wait_for_stderr("reading the configuration again: `app.toml` has changed");
        server.wait_for_stderr("every slot serves generation 2");
        assert!(variables().contains("GREETING=hello\n"), "{}", variables());

        fs::write(at(".env"), "NAME=Grace\n").unwrap();
        server.wait_for_stderr("reading the configuration again: `.env` has changed");
        server.wait_for_stderr("every slot serves generation 3");
        assert!(variables().contains("NAME=Grace\n"), "{}", variables());

        configure(&format!("{build}nonsense = 1\n"));
        server.wait_for_stderr("there is no key `nonsense`");
        assert!(variables().contains("GREETING=hello\n"), "{}", variables());
        assert!(!server.stderr().contains("building"), "{}", server.explain());
        server.stop();
    }
}

#[test]
fn without_a_command_it_watches_and_explains() {
    let hello = fs::read(component("hello-p2")).unwrap();
    let server =
        Server::of_file(Path::new("app.wasm")).no_instances().file("app.wasm", hello).arg("--dev").start();
    fs::copy(component("zoo-p2"), file(&server, "app.wasm")).unwrap();
    server.wait_for_stderr("every slot serves generation 2");
    assert!(server.get("/trap").text().starts_with("the guest trapped: "));
}

#[test]
fn a_component_has_to_be_named() {
    let refused = program(["serve", "--dev", "--build", "true"]).run();
    let (error, hint) = refused.expect_refusal(2);
    assert_eq!(error, "`--dev` serves a component that you write, and none was named");
    assert_eq!(hint, "name a component, or leave `--dev` out");
}

#[test]
fn sources_that_cannot_be_read_are_named() {
    let program = Program::as_user(4711).unwrap().own_cache().directory("locked");
    let locked = program.work().join("locked");
    let program = program.args(["serve", "app.wasm", "--addr", "127.0.0.1:0", "--dev", "--build", BUILD]);
    let program =
        program.file(".hello.wasm", fs::read(component("hello-p2")).unwrap()).file("source", ".hello.wasm");
    fs::set_permissions(&locked, Permissions::from_mode(0o000)).unwrap();
    let server = Starting::of(program).start();
    server.wait_for_stderr("warning: `locked` cannot be read: permission denied");
    server
        .wait_for_stderr("hint: what changes there is not seen; list it in `.gitignore` if it is no source");
    write(&server, ".other.wasm");
    server.wait_for_stderr("error: the build failed");
    assert_eq!(server.stderr().matches("cannot be read").count(), 1, "{}", server.explain());
}

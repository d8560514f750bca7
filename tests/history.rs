//! What an app remembers of its generations, and going back to one of them.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal::SIGKILL;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{Finished, Program, Server, Starting, component, eventually, program, signal};

const REJECTED: i32 = 3;
const SUPERSEDED: i32 = 11;

#[test]
fn every_generation_is_listed_with_what_became_of_it() {
    let server = Server::of("hello-p2").instances(2).args(["--bake", "0s"]).start();
    push(&server, "zoo-p2").expect_code(0);
    push(&server, "refuses-p2").expect_code(10);
    push(&server, "nothing at all");
    server.command(["reload"]).run().expect_code(0);
    roll_back(&server, &[]).expect_code(0).expect_stdout("generation 5 serves in all 2 slots");
    let entries = history(&server);
    let ways: Vec<_> = entries.iter().map(|entry| entry["way"].as_str().unwrap()).collect();
    assert_eq!(ways, ["start", "push", "push", "reload", "rollback"]);
    let fates: Vec<_> = entries.iter().map(|entry| entry["fate"].as_str().unwrap()).collect();
    assert_eq!(fates, ["served", "served", "given_up", "served", "serving"]);
    assert_eq!((&entries[4]["to"], &entries[4]["digest"]), (&2.into(), &entries[1]["digest"]));
    assert_eq!(entries[1]["component"], component("zoo-p2").to_str().unwrap());
    assert_eq!(entries[1]["bytes"], fs::metadata(component("zoo-p2")).unwrap().len());
    assert!(entries[2]["reason"].as_str().unwrap().contains("traps while starting"), "{}", entries[2]);
    let time = entries[0]["time"].as_str().unwrap();
    assert!(time.len() == "2026-01-01T00:00:00.000Z".len() && time.ends_with('Z'), "{time}");
    let shown = server.command(["history"]).run();
    shown.expect_code(0).expect_stdout("rollback to 2").expect_stdout("given up: the component traps");
    assert_eq!(shown.stdout.lines().count(), 6, "{}", shown.explain());
}

#[test]
fn a_rollback_goes_where_it_is_told() {
    let server = Server::of("hello-p2").instances(1).args(["--bake", "0s"]).start();
    let refused = roll_back(&server, &[]);
    let (error, hint) = refused.expect_refusal(REJECTED);
    assert!(error.starts_with("there is nothing to roll back to: "), "{error}");
    assert!(hint.contains("wasmcluster history"), "{hint}");
    push(&server, "zoo-p2").expect_code(0);
    push(&server, "hello-p3").expect_code(0);
    roll_back(&server, &[]).expect_code(0);
    assert_eq!(server.get("/").text(), "hello from the zoo\n");
    roll_back(&server, &["1"]).expect_code(0).expect_stdout("generation 5 serves in its one slot");
    assert_eq!(server.get("/").text(), "hello from wasm\n");
    for number in ["0", "6", "18446744073709551615"] {
        let refused = roll_back(&server, &[number]);
        let error = refused.expect_refusal(REJECTED).0;
        assert_eq!(error, format!("generation `{number}` is not in the history; generation 5 serves"));
    }
    roll_back(&server, &["one"]).expect_usage("`one`");
    roll_back(&server, &["5"]).expect_code(0).expect_stdout("generation 5 serves this already");
    roll_back(&server, &["2", "--detach"]).expect_code(0).expect_stdout("generation 6 is rolled out");
}

/// What a person means who sees that a rollout goes wrong.
#[test]
fn a_rollback_in_the_middle_of_a_rollout_gives_it_up() {
    let server = Server::of("hello-p2").instances(2).args(["--bake", "1h"]).start();
    let before = server.workers();
    let waiting = server.command(["push"]).arg(component("zoo-p2")).start();
    server.wait_for_stderr("is watched for 1h");
    let back = roll_back(&server, &[]);
    back.expect_code(0).expect_stdout("generation 1 serves in all 2 slots");
    assert_eq!(server.get("/").text(), "hello from wasm\n");
    assert!(server.workers().iter().any(|pid| before.contains(pid)), "those not replaced yet stay");
    waiting.wait().expect_code(SUPERSEDED);
    let fates: Vec<_> = history(&server).iter().map(|entry| entry["fate"].clone()).collect();
    assert_eq!(fates, ["serving", "given_up"]);
}

#[test]
fn numbers_and_rollbacks_go_on_after_a_restart() {
    let place = Place::new();
    let file = place.0.path().join("app.wasm");
    fs::copy(component("zoo-p2"), &file).unwrap();
    let server = place.start("shop");
    let pushed = server.command(["push"]).arg(&file).run();
    pushed.expect_code(0);
    // Told to the command, so it is on the disk.
    signal(server.pid(), SIGKILL);
    server.wait();
    // Everything but what was kept for this is gone.
    fs::remove_file(&file).unwrap();
    let server = Server::of("hello-p2").instances(1).own_cache();
    let server = place.near(server, "shop").start();
    let entries = history(&server);
    let seen: Vec<_> =
        entries.iter().map(|entry| (entry["generation"].clone(), entry["fate"].clone())).collect();
    assert_eq!(seen, [(1, "served"), (2, "served"), (3, "serving")].map(|(n, fate)| (n.into(), fate.into())));
    assert!(server.get("/").text().contains("hello from wasm"));
    assert_eq!(json(server.command(["status", "--json"]))["cluster"]["generation"], 3);
    roll_back(&server, &[]).expect_code(0).expect_stdout("generation 4 serves");
    assert_eq!(server.get("/").text(), "hello from the zoo\n");
    assert!(server.get("/env").text().contains("WASMCLUSTER_GENERATION=4\n"));
    server.stop();
    let server = place.start("shop");
    assert_eq!(history(&server).last().unwrap()["generation"], 5);
}

/// try: a kept component that was changed, is open to others, is a link | refused, exit code 3 | nobody: the same workers
#[test]
fn a_component_that_is_gone_or_damaged_is_refused() {
    let place = Place::new();
    let server = place.start("shop");
    for name in ["zoo-p2", "zoo-p3"] {
        push(&server, name).expect_code(0);
    }
    let workers = server.workers();
    let kept =
        |generation: usize| place.component(history(&server)[generation - 1]["digest"].as_str().unwrap());
    fs::remove_file(kept(1)).unwrap();
    let mut bytes = fs::read(kept(2)).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(kept(2), bytes).unwrap();
    let gone = roll_back(&server, &["1"]);
    let (error, hint) = gone.expect_refusal(REJECTED);
    assert!(error.starts_with("the component of generation 1 is gone: "), "{error}");
    assert!(error.ends_with("; generation 3 serves") && hint.contains("hello-p2.wasm"), "{error} {hint}");
    let damaged = roll_back(&server, &["2"]);
    let (error, _) = damaged.expect_refusal(REJECTED);
    assert!(error.contains("is damaged: it is not what was served then"), "{error}");
    // Not what others could have put there either.
    fs::copy(component("zoo-p2"), kept(2)).unwrap();
    fs::set_permissions(kept(2), Permissions::from_mode(0o666)).unwrap();
    assert!(roll_back(&server, &["2"]).expect_refusal(REJECTED).0.contains("is gone: "));
    fs::remove_file(kept(2)).unwrap();
    symlink(component("zoo-p2"), kept(2)).unwrap();
    assert!(roll_back(&server, &["2"]).expect_refusal(REJECTED).0.contains("is gone: "));
    assert_eq!(server.workers(), workers);
    // A push of the same brings it back.
    fs::remove_file(kept(2)).unwrap();
    push(&server, "zoo-p2").expect_code(0);
    roll_back(&server, &["3"]).expect_code(0);
    roll_back(&server, &["2"]).expect_code(0);
}

#[test]
fn no_more_are_remembered_than_were_asked_for() {
    let place = Place::new();
    let server = place.starting("shop").args(["--history", "3"]).start();
    for name in ["zoo-p2", "zoo-p3", "hello-p3", "example-hello"] {
        push(&server, name).expect_code(0);
    }
    let numbers: Vec<_> = history(&server).iter().map(|entry| entry["generation"].clone()).collect();
    assert_eq!(numbers, [3, 4, 5]);
    let kept = || fs::read_dir(place.state("shop").join("components")).unwrap().count();
    assert_eq!(kept(), 3);
    let refused = roll_back(&server, &["1"]);
    assert!(refused.expect_refusal(REJECTED).0.starts_with("generation `1` is not in the history"));
    // What a killed builder or an older history left is cleared away.
    server.stop();
    fs::write(place.state("shop").join("components/new-1"), "half").unwrap();
    let _server = place.starting("shop").args(["--history", "3"]).start();
    eventually("three components", || (kept() == 3).then_some(()));
}

#[test]
fn a_damaged_history_is_put_aside_and_begins_anew() {
    for content in ["", "{}", "not json", "[{\"generation\":1}]"] {
        let place = Place::new();
        place.start("shop").stop();
        fs::write(place.state("shop").join("history.json"), content).unwrap();
        let server = place.start("shop");
        server.wait_for_stderr("history.json` cannot be read: ");
        server.wait_for_stderr("it begins anew; what was there is now called `history.json.damaged-");
        assert_eq!(history(&server).len(), 1);
        let files = fs::read_dir(place.state("shop")).unwrap().flatten();
        let aside =
            files.filter(|file| file.file_name().to_string_lossy().starts_with("history.json.damaged-"));
        let aside: Vec<_> = aside.map(|file| fs::read_to_string(file.path()).unwrap()).collect();
        assert_eq!(aside, [content]);
        push(&server, "zoo-p2").expect_code(0);
        roll_back(&server, &[]).expect_code(0);
    }
}

#[test]
fn an_app_without_a_place_for_its_history_serves_all_the_same() {
    let place = Place::new();
    let at = |name: &str| place.0.path().join(name);
    fs::create_dir(at("open")).unwrap();
    fs::set_permissions(at("open"), Permissions::from_mode(0o755)).unwrap();
    fs::create_dir(at("real")).unwrap();
    symlink(at("real"), at("link")).unwrap();
    fs::write(at("file"), "").unwrap();
    for (directory, reason) in [
        ("open", "it is open to others (mode 755)"),
        ("link", "it is a symbolic link"),
        ("file", ""),
        ("file/within", ""),
    ] {
        let server = Server::of("hello-p2").instances(1).args(["--bake", "0s", "--state-dir"]);
        let server = server.arg(at(directory)).start();
        let said = server.wait_for_stderr("the state directory `");
        assert!(said.contains(" cannot be used: ") && said.contains(reason), "{said}");
        server.wait_for_stderr("--state-dir");
        push(&server, "zoo-p2").expect_code(0);
        assert_eq!(history(&server).len(), 2, "as long as it runs");
        let refused = roll_back(&server, &[]);
        assert!(refused.expect_refusal(REJECTED).0.starts_with("components are not kept: "));
    }
    assert_eq!(fs::read_dir(at("real")).unwrap().count(), 0);
}

#[test]
fn one_history_has_one_app_at_a_time() {
    let place = Place::new();
    let first = place.start("shop");
    // Of the same name, found elsewhere.
    let second = place.start("shop");
    second.wait_for_stderr("belongs to another app of the same name that is running");
    push(&second, "zoo-p2").expect_code(0);
    assert_eq!((history(&first).len(), history(&second).len()), (1, 2));
    let other = place.start("blog");
    assert_eq!(other.said(), 1, "{}", other.explain());
}

#[test]
fn the_history_is_for_this_user_alone_and_where_the_user_keeps_such_things() {
    let server = Server::of("hello-p2").instances(1).start();
    let state = server.place().join("home/.local/state/wasmcluster");
    let written = || state.join("hello-p2/history.json").exists().then_some(());
    eventually("a history", written);
    for directory in ["", "hello-p2", "hello-p2/components"] {
        let mode = fs::metadata(state.join(directory)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o700, "{directory}");
    }
    let mode = fs::metadata(state.join("hello-p2/history.json")).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
}

/// A state directory that outlives its apps.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::Builder::new().permissions(Permissions::from_mode(0o700)).tempdir().unwrap())
    }

    fn near(&self, starting: Starting, name: &str) -> Starting {
        starting.args(["--bake", "0s", "--name", name, "--state-dir"]).arg(self.0.path().join("state"))
    }

    fn starting(&self, name: &str) -> Starting {
        self.near(Server::of("hello-p2").instances(1), name)
    }

    #[track_caller]
    fn start(&self, name: &str) -> Server {
        self.starting(name).start()
    }

    fn state(&self, name: &str) -> PathBuf {
        self.0.path().join("state").join(name)
    }

    fn component(&self, digest: &str) -> PathBuf {
        self.state("shop").join("components").join(format!("{digest}.wasm"))
    }
}

/// Pushes a component of the repository, or a file that is not there.
#[track_caller]
fn push(server: &Server, name: &str) -> Finished {
    let known = !name.contains(' ');
    let path = if known { component(name) } else { Path::new(name).to_owned() };
    server.command(["push"]).arg(path).run()
}

#[track_caller]
fn roll_back(server: &Server, args: &[&str]) -> Finished {
    program(["rollback"]).args(args).run_dir(server.run_dir()).run()
}

#[track_caller]
fn history(server: &Server) -> Vec<Value> {
    json(server.command(["history", "--json"])).as_array().unwrap().clone()
}

#[track_caller]
fn json(command: Program) -> Value {
    let finished = command.run();
    finished.expect_code(0);
    serde_json::from_str(&finished.stdout).unwrap_or_else(|error| panic!("{error}{}", finished.explain()))
}

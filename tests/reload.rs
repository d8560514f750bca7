//! A new version in place of the old one, asked for by SIGHUP.

use std::fs;
use std::path::Path;

use nix::sys::signal::Signal::{self, SIGHUP, SIGKILL};

use crate::support::{Load, Network, Server, Starting, alive, component, eventually, signal};

/// One that serves a file which a test can replace.
fn serving(name: &str) -> Starting {
    Server::of_file(Path::new("app.wasm")).file("app.wasm", fs::read(component(name)).unwrap())
}

/// Puts something else in the place of the component, as a build does.
fn replace(server: &Server, content: impl AsRef<[u8]>) {
    let file = |name: &str| server.place().join("work").join(name);
    fs::write(file("app.new"), content).unwrap();
    fs::rename(file("app.new"), file("app.wasm")).unwrap();
}

fn replace_by(server: &Server, name: &str) {
    replace(server, fs::read(component(name)).unwrap());
}

#[test]
fn every_worker_is_replaced_one_after_the_other() {
    let server = serving("hello-p2").instances(3).args(["--bake", "0s"]).start();
    let before = server.workers();
    replace_by(&server, "zoo-p2");
    assert_eq!(server.get("/").text(), "hello from wasm\n", "until it is said");
    server.signal(SIGHUP);
    server.wait_for_stderr("every slot serves generation 2");
    let after = server.wait_for_workers(3, &before);
    assert!(before.iter().all(|pid| !alive(*pid)), "{before:?} {after:?}");
    assert_eq!(server.get("/").text(), "hello from the zoo\n");
    assert!(server.get("/env").text().contains("WASMCLUSTER_GENERATION=2\n"));
    let stderr = server.stderr();
    let turns: Vec<_> =
        stderr.lines().filter(|line| line.contains("getting a worker of generation 2")).collect();
    let slots: Vec<_> = turns.iter().filter_map(|line| line.split(':').next()).collect();
    assert_eq!(slots, ["slot 0", "slot 1", "slot 2"]);
}

#[test]
fn clients_of_all_kinds_do_not_notice() {
    Network::delayed(|network| {
        let server = serving("hello-p2").instances(2).args(["--bake", "0s"]).addr(network.server()).start();
        let addr = network.way_to(server.addr);
        let hello = |body: &[u8]| (body == b"hello from wasm\n").then(String::new);
        let loads = [Load::fresh(addr, 32), Load::keep_alive(addr, 32), Load::h2c(addr, 4, 8)];
        let loads = loads.map(|load| load.rate(250).judge(hello).start());
        for generation in 2..=4 {
            server.signal(SIGHUP);
            server.wait_for_stderr(&format!("every slot serves generation {generation}"));
        }
        for load in loads {
            let so_far = load.answered();
            eventually("answers by the last generation", || (load.answered() > so_far + 50).then_some(()));
            let outcome = load.stop();
            assert_eq!(outcome.lost(), 0, "{outcome}");
        }
    });
}

#[test]
fn what_cannot_be_served_changes_nothing() {
    let server = serving("hello-p2").instances(2).args(["--bake", "0s"]).start();
    let workers = server.workers();
    let bad: [(&[u8], &str); 3] = [
        (b"no component", "app.wasm` is not WebAssembly"),
        (b"\0asm\x0d\0\x01\0", "app.wasm` has no HTTP handler"),
        (b"\0asm\x0d\0\x01\0\xff", "app.wasm` is "),
    ];
    for (content, words) in bad {
        let told = server.stderr().matches("generation 1 goes on").count();
        replace(&server, content);
        server.signal(SIGHUP);
        let stderr = eventually("a refusal", || {
            let stderr = server.stderr();
            (stderr.matches("generation 1 goes on").count() > told).then_some(stderr)
        });
        let last = stderr.lines().rfind(|line| line.contains("generation 1 goes on")).unwrap();
        assert!(last.contains(words), "{last}");
    }
    fs::remove_file(server.place().join("work/app.wasm")).unwrap();
    server.signal(SIGHUP);
    server.wait_for_stderr("there is no file `app.wasm`");
    assert_eq!(server.get("/").text(), "hello from wasm\n");
    assert_eq!(server.workers(), workers);
    replace_by(&server, "zoo-p3");
    server.signal(SIGHUP);
    server.wait_for_stderr("every slot serves generation 2");
    assert_eq!(server.get("/").text(), "hello from the zoo\n");
}

#[test]
fn a_version_that_refuses_to_start_is_given_up() {
    for refuses in ["refuses-p2", "refuses-p3"] {
        let server = serving("hello-p2").instances(2).start();
        let workers = server.workers();
        replace_by(&server, refuses);
        server.signal(SIGHUP);
        server.wait_for_stderr("generation 2 is given up: the component traps while starting");
        server.wait_for_stderr("every slot serves generation 1 again");
        assert_eq!(server.workers(), workers);
        assert_eq!(server.get("/").text(), "hello from wasm\n");
    }
}

#[test]
fn a_canary_that_ends_takes_its_version_with_it() {
    let server = serving("hello-p2").instances(2).args(["--bake", "1h"]).start();
    let before = server.workers();
    replace_by(&server, "zoo-p2");
    server.signal(SIGHUP);
    server.wait_for_stderr("is watched for 1h");
    let canary = server.workers().into_iter().find(|pid| !before.contains(pid)).unwrap();
    let texts = || -> Vec<String> { (0..20).map(|_| server.get("/").text().to_owned()).collect() };
    eventually("an answer by the canary", || texts().contains(&"hello from the zoo\n".into()).then_some(()));
    signal(canary, SIGKILL);
    server.wait_for_stderr("generation 2 is given up: a worker ended with signal 9");
    server.wait_for_stderr("every slot serves generation 1 again");
    assert!(texts().iter().all(|text| text == "hello from wasm\n"));
}

#[test]
fn as_many_slots_go_first_as_were_asked_for() {
    let server = serving("hello-p2").instances(3).args(["--canary", "2", "--bake", "1h"]).start();
    server.signal(SIGHUP);
    server.wait_for_stderr("is watched for 1h");
    assert_eq!(server.stderr().matches("getting a worker of generation 2").count(), 2);
}

#[test]
fn the_last_reload_counts() {
    let server = serving("hello-p2").instances(2).args(["--bake", "1h"]).start();
    for (component, generation) in [("zoo-p2", 2), ("hello-p3", 3), ("zoo-p3", 4)] {
        replace_by(&server, component);
        server.signal(SIGHUP);
        server.wait_for_stderr(&format!("generation {generation} serves its first requests"));
    }
    server.wait_for_stderr("generation 3 is given up: generation 4 is wanted instead");
    server.stop().expect_code(0);
}

/// With a cache of its own, so that the first build is still under way when it is no longer wanted.
#[test]
fn a_reload_during_a_build_takes_its_place() {
    let server = serving("hello-p2").instances(1).own_cache().args(["--bake", "0s"]).start();
    for (component, times) in [("zoo-p2", 1), ("hello-p3", 2)] {
        replace_by(&server, component);
        server.signal(SIGHUP);
        eventually("it is heard", || {
            (server.stderr().matches("looking at `app.wasm` again").count() == times).then_some(())
        });
    }
    eventually("the last one serves", || {
        server.stderr().contains("every slot serves generation").then_some(())
    });
    assert_eq!(server.get("/").text(), "hello from wasm\n");
}

#[test]
fn a_slot_that_was_given_up_gets_another_chance() {
    let server = serving("hello-p2").instances(2);
    let server = server.args(["--bake", "0s", "--max-restarts", "0", "--min-uptime", "1h"]).start();
    signal(server.workers()[0], SIGKILL);
    server.wait_for_stderr("given up after 1 early ends");
    server.signal(SIGHUP);
    server.wait_for_stderr("every slot serves generation 2");
    server.wait_for_workers(2, &[]);
    for _ in 0..20 {
        server.get("/").expect_status(200);
    }
}

#[test]
fn a_stop_ends_a_rollout() {
    let server = serving("hello-p2").instances(2).args(["--bake", "1h"]).start();
    server.signal(SIGHUP);
    server.wait_for_stderr("is watched for 1h");
    server.signal(Signal::SIGTERM);
    server.wait().expect_code(0).expect_nothing_left();
}

#[test]
fn the_configuration_is_read_again() {
    let file = "bake = \"0s\"\n[env]\nGREETING = \"hello\"\n";
    let server = serving("zoo-p2").instances(2).file("wasmcluster.toml", file).start();
    assert!(server.get("/env").text().contains("GREETING=hello\n"));
    let write = |text: &str| fs::write(server.place().join("work/wasmcluster.toml"), text).unwrap();
    write("bake = \"0s\"\nprobe = \"/\"\n[env]\nGREETING = \"good day\"\n");
    server.signal(SIGHUP);
    server.wait_for_stderr("every slot serves generation 2");
    assert!(server.get("/env").text().contains("GREETING=good day\n"));

    // What makes no sense changes nothing, and says where it stands.
    let workers = server.workers();
    for (text, words) in [
        ("bake = ", "`wasmcluster.toml`, line 1"),
        ("bakes = \"0s\"", "there is no key `bakes`"),
        ("bake = \"soon\"", "invalid value `soon` for `bake` (`wasmcluster.toml`, line 1)"),
        ("dir = \"missing\"", "there is no directory `missing`"),
    ] {
        write(text);
        server.signal(SIGHUP);
        let stderr = server.wait_for_stderr(words);
        let line = stderr.lines().find(|line| line.contains(words)).unwrap();
        assert!(line.contains("generation 2 goes on"), "{line}");
        server.command(["reload"]).run().expect_code(2).expect_stderr(words);
    }
    assert_eq!(server.workers(), workers);
    assert!(server.get("/env").text().contains("GREETING=good day\n"));
}

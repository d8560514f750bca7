//! `wasmcluster status` and `wasmcluster list`.

use std::fs;

use nix::sys::signal::Signal;
use nix::unistd::{getegid, geteuid};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{Apps, json};
use crate::support::{Server, component, eventually, program, signal};

#[test]
fn status_shows_the_app_and_every_worker() {
    let server = Server::of("hello-p2").instances(2).args(["--name", "shop"]).start();
    let shown = server.command(["status"]).run();
    shown.expect_code(0);
    assert_eq!(shown.stderr, "", "{}", shown.explain());
    let (addr, pid) = (server.addr, server.pid());
    let lines: Vec<&str> = shown.stdout.lines().collect();
    let [app, generation, sandbox, user, "", head, first, second] = lines[..] else {
        panic!("{}", shown.explain())
    };
    assert!(app.starts_with(&format!("shop at http://{addr}/ for ")), "{app}");
    assert!(app.ends_with(&format!("(pid {pid})")), "{app}");
    assert!(generation.starts_with("generation 1: ") && generation.contains("hello-p2.wasm"), "{generation}");
    assert!(sandbox.starts_with("sandbox of the workers: "), "{sandbox}");
    let own = format!("{}:{}", geteuid(), getegid());
    let own = if geteuid().is_root() { format!("root ({own})") } else { own };
    assert_eq!(user, format!("user of the workers: {own}"));
    assert_eq!(words(head), ["slot", "phase", "pid", "generation", "uptime", "restarts"]);
    for (slot, line) in [("0", first), ("1", second)] {
        let words = words(line);
        assert_eq!((words[0], words[1]), (slot, "serving"), "{line}");
        assert!(server.workers().contains(&words[2].parse().unwrap()), "{line}");
    }
}

#[test]
fn status_is_readable_by_programs() {
    let server = Server::of("hello-p2").instances(2).start();
    let status = json(server.command(["status", "--json"]));
    assert_eq!(status["name"], "hello-p2");
    assert_eq!(status["pid"], server.pid());
    assert_eq!(status["addr"], server.addr.to_string());
    assert_eq!(status["component"], component("hello-p2").to_str().unwrap());
    let digest = Sha256::digest(fs::read(component("hello-p2")).unwrap());
    assert_eq!(status["digest"], digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
    assert!(status["uptime_ms"].is_u64(), "{status}");
    let cluster = &status["cluster"];
    assert_eq!((&cluster["phase"], &cluster["generation"]), (&"running".into(), &1.into()));
    let mut pids: Vec<u64> = Vec::new();
    for slot in cluster["slots"].as_array().unwrap() {
        assert_eq!((&slot["phase"], &slot["restarts"]), (&"serving".into(), &0.into()), "{status}");
        pids.extend(slot["workers"].as_array().unwrap().iter().map(|worker| worker["pid"].as_u64().unwrap()));
    }
    let mut workers: Vec<u64> = server.workers().into_iter().map(u64::from).collect();
    pids.sort_unstable();
    workers.sort_unstable();
    assert_eq!(pids, workers);
}

#[test]
fn status_follows_a_restart() {
    let server = Server::of("hello-p2").instances(1).start();
    let worker = server.worker();
    signal(worker, Signal::SIGKILL);
    server.wait_for_workers(1, &[worker]);
    let slot = eventually("a new worker that serves", || {
        let status = json(server.command(["status", "--json"]));
        let slot = status["cluster"]["slots"][0].clone();
        (slot["phase"] == "serving").then_some(slot)
    });
    assert_eq!(
        (&slot["restarts"], &slot["workers"][0]["pid"]),
        (&1.into(), &server.worker().into()),
        "{slot}"
    );
}

#[test]
fn status_shows_how_far_a_rollout_is() {
    let server = Server::of("hello-p2").instances(2).args(["--bake", "1h"]).start();
    server.signal(Signal::SIGHUP);
    server.wait_for_stderr("is watched for 1h");
    let shown = server.command(["status"]).run();
    shown.expect_code(0).expect_stdout("replacing generation 1: the first slots are watched for 59m");
    let status = json(server.command(["status", "--json"]));
    assert_eq!(status["cluster"]["generation"], 2);
    assert_eq!(status["cluster"]["rollout"]["from"], 1);
    assert_eq!(status["cluster"]["rollout"]["stage"], "baking");
}

#[test]
fn list_shows_every_app_in_the_order_of_their_names() {
    let apps = Apps::new();
    let (shop, blog) = (apps.start("shop", 1), apps.start("blog", 2));
    let shown = apps.command(["list"]).run();
    shown.expect_code(0);
    let lines: Vec<String> = shown.stdout.lines().map(|line| words(line).join(" ")).collect();
    let line = |name: &str, server: &Server, workers: &str| {
        format!("{name} http://{}/ {} 1 {workers}", server.addr, server.pid())
    };
    let head = "name address pid generation workers".to_owned();
    assert_eq!(lines, [head, line("blog", &blog, "2/2"), line("shop", &shop, "1/1")]);
    let listed = json(apps.command(["list", "--json"]));
    let names: Vec<_> = listed.as_array().unwrap().iter().map(|app| &app["name"]).collect();
    assert_eq!(names, ["blog", "shop"]);
    assert_eq!((&listed[0]["serving"], &listed[0]["instances"]), (&2.into(), &2.into()));
    // By a flag as by a variable.
    let found = program(["list", "--json", "--run-dir"]).arg(apps.path());
    assert_eq!(json(found).as_array().map(Vec::len), Some(2));
}

#[test]
fn an_app_that_hangs_is_listed_and_hides_nobody() {
    let apps = Apps::new();
    let (blog, shop) = (apps.start("blog", 1), apps.start("shop", 1));
    signal(blog.pid(), Signal::SIGSTOP);
    let listed = json(apps.command(["list", "--json"]));
    assert_eq!((&listed[0]["name"], &listed[0]["pid"]), (&"blog".into(), &blog.pid().into()));
    assert!(listed[0]["error"].as_str().unwrap().contains("nothing came within"), "{listed}");
    assert_eq!((&listed[1]["pid"], &listed[1]["serving"]), (&shop.pid().into(), &1.into()), "{listed}");
    signal(blog.pid(), Signal::SIGCONT);
    // What was asked in the meantime was for nobody any more.
    assert_eq!(json(apps.command(["status", "--app", "blog", "--json"]))["pid"], blog.pid());
}

#[test]
fn without_an_app_there_is_nothing_to_ask() {
    let apps = Apps::new();
    for (args, message) in [
        (&["status"][..], "no app is running"),
        (&["stop"], "no app is running"),
        (&["status", "--app", "shop"], "no app with the name `shop` is running"),
        (&["stop", "--app", "shop"], "no app with the name `shop` is running"),
    ] {
        let refused = program(args).run_dir(apps.path()).run();
        assert_eq!(refused.expect_refusal(9).0, message, "{args:?}");
        let missing = program(args).run_dir(apps.path().join("missing")).run();
        assert_eq!(missing.expect_refusal(9).0, message, "{args:?}");
    }
    let listed = apps.command(["list"]).run();
    listed.expect_code(0);
    assert_eq!((listed.stdout.as_str(), listed.stderr.as_str()), ("", "no app is running\n"));
    assert_eq!(json(apps.command(["list", "--json"])), Value::Array(Vec::new()));
    let refused = apps.command(["status", "--json"]).run();
    let error: Value = serde_json::from_str(refused.expect_code(9).stderr.trim()).unwrap();
    assert_eq!((&error["record"], &error["exit"]), (&"error".into(), &9.into()));
}

fn words(line: &str) -> Vec<&str> {
    line.split("  ").map(str::trim).filter(|word| !word.is_empty()).collect()
}

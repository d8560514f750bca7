//! Another version of the program in the place of the one that runs: by `wasmcluster upgrade`, and by a signal.

mod refused;

use std::fs::{self, OpenOptions, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use nix::sys::signal::Signal::{SIGCONT, SIGKILL, SIGSTOP, SIGTERM, SIGTTIN, SIGUSR2};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use serde_json::Value;

use crate::support::{Finished, Load, Network, Server, Starting, component, eventually, open_files, signal};

const FAILED: i32 = 1;
const REJECTED: i32 = 3;
const SUPERSEDED: i32 = 11;

/// What a program says that would take over.
const YES: &str = "wasmcluster takes over as version 9.9.9, process $$";

fn hello(instances: usize) -> Starting {
    Server::installed("hello-p2").instances(instances).args(["--bake", "0s"])
}

/// The file that a server was started from.
fn program(server: &Server) -> PathBuf {
    server.place().join("bin/wasmcluster")
}

/// Puts the same program in the place of the one that runs, as another file.
#[track_caller]
fn install_anew(server: &Server) {
    let new = server.place().join("bin/new");
    fs::copy(program(server), &new).unwrap();
    fs::rename(new, program(server)).unwrap();
}

/// Puts something else in its place. Returns where the program is now.
#[track_caller]
fn install(server: &Server, content: &str) -> PathBuf {
    let (real, new) = (server.place().join("bin/real"), server.place().join("bin/new"));
    if !real.exists() {
        fs::rename(program(server), &real).unwrap();
    }
    fs::write(&new, content).unwrap();
    fs::set_permissions(&new, Permissions::from_mode(0o755)).unwrap();
    fs::rename(new, program(server)).unwrap();
    real
}

#[track_caller]
fn upgrade(server: &Server) -> Finished {
    server.command(["upgrade"]).run()
}

#[track_caller]
fn status(server: &Server) -> Value {
    let shown = server.command(["status", "--json"]).run();
    shown.expect_code(0);
    serde_json::from_str(&shown.stdout).unwrap()
}

#[test]
fn the_process_stays_and_every_worker_is_replaced() {
    let server = hello(3).start();
    let before = (status(&server), server.workers());
    install_anew(&server);
    let upgraded = upgrade(&server);
    upgraded.expect_code(0).expect_stdout("generation 2 serves in all 3 slots, after ");
    upgraded.expect_stderr("is to go on, version ").expect_stderr("slot 2: getting a worker of generation 2");
    assert_eq!(server.get("/").text(), "hello from wasm\n");
    let after = (status(&server), server.workers());
    for what in ["name", "pid", "addr", "component", "digest"] {
        assert_eq!(before.0[what], after.0[what], "{what}");
    }
    assert!(after.0["uptime_ms"].as_u64() > before.0["uptime_ms"].as_u64());
    assert_eq!(after.1.len(), 3);
    assert!(before.1.iter().all(|pid| !after.1.contains(pid)), "{before:?} {after:?}");
    let running = fs::read_link(format!("/proc/{}/exe", server.pid())).unwrap();
    assert_eq!(running, program(&server));
    let history = server.command(["history"]).run();
    history.expect_stdout("start").expect_stdout("upgrade");
    // The new program's own log goes on where the old one's was.
    server.wait_for_stderr(&format!("slot 2 (pid {}): ready after ", after.1[2]));
    server.stop();
}

#[test]
fn a_signal_does_the_same_again_and_again_and_nothing_piles_up() {
    let server = hello(2).start();
    let mut open = Vec::new();
    for generation in 2..=6 {
        install_anew(&server);
        server.signal(SIGUSR2);
        server.wait_for_stderr(&format!("every slot serves generation {generation}"));
        server.wait_for_workers(2, &[]);
        open.push(open_files(server.pid()));
    }
    assert_eq!(server.workers().len(), 2);
    eventually("no more than after the first", || (open_files(server.pid()) <= open[0]).then_some(()));
    server.stop();
}

#[test]
fn nothing_is_lost_and_no_connection_is_closed() {
    let server = hello(3).start();
    let clients =
        [Load::fresh(server.addr, 8), Load::keep_alive(server.addr, 8), Load::h2c(server.addr, 2, 4)];
    let running = clients.map(|load| load.judge(is_hello).start());
    for generation in 2..=5 {
        let before = running.iter().map(|load| load.answered()).collect::<Vec<_>>();
        server.signal(SIGUSR2);
        server.wait_for_stderr(&format!("every slot serves generation {generation}"));
        eventually("more answers", || {
            running.iter().zip(&before).all(|(load, before)| load.answered() > before + 50).then_some(())
        });
    }
    let [fresh, keep_alive, h2c] = running.map(|load| load.stop());
    for outcome in [&fresh, &keep_alive, &h2c] {
        outcome.expect_ok(outcome.ok);
    }
    assert_eq!((keep_alive.connections, keep_alive.reconnected), (8, 0));
}

#[test]
fn nothing_is_lost_over_a_slow_network() {
    Network::delayed(|network| {
        let server = hello(2).addr(network.server()).start();
        let addr = network.way_to(server.addr);
        let clients = [Load::fresh(addr, 30), Load::keep_alive(addr, 30)];
        let running = clients.map(|load| load.rate(300).judge(is_hello).start());
        for generation in 2..=5 {
            let before = running[0].answered();
            server.signal(SIGUSR2);
            server.wait_for_stderr(&format!("every slot serves generation {generation}"));
            eventually("more answers", || (running[0].answered() > before + 100).then_some(()));
        }
        for load in running {
            let outcome = load.stop();
            outcome.expect_ok(outcome.ok);
        }
    });
}

fn is_hello(body: &[u8]) -> Option<String> {
    (body == b"hello from wasm\n").then(String::new)
}

#[test]
fn what_changed_since_the_start_stays_so() {
    let server = hello(2).start();
    server.command(["scale", "3"]).run().expect_code(0);
    server.command(["push"]).arg(component("zoo-p2")).run().expect_code(0);
    upgrade(&server).expect_code(0).expect_stdout("generation 3 serves in all 3 slots");
    assert_eq!(server.get("/").text(), "hello from the zoo\n");
    assert_eq!(server.workers().len(), 3);
    let history = server.command(["history"]).run();
    for line in ["start", "push", "upgrade"] {
        history.expect_stdout(line);
    }
    server.command(["rollback"]).run().expect_code(0);
    assert_eq!(server.get("/").text(), "hello from wasm\n");
    server.command(["scale", "1"]).run().expect_code(0);
    server.stop();
}

#[test]
fn a_history_without_a_disk_is_remembered() {
    let server = hello(1).args(["--state-dir", "/proc/none"]).start();
    server.command(["push"]).arg(component("zoo-p2")).run().expect_code(0);
    // Nor has what was pushed been kept anywhere, to be built again.
    let refused = upgrade(&server);
    refused
        .expect_code(REJECTED)
        .expect_stderr("components are not kept")
        .expect_stderr("generation 2 serves");
    let history = server.command(["history"]).run();
    history.expect_stdout("start").expect_stdout("push");
    assert_eq!(server.get("/").text(), "hello from the zoo\n");
    // What the app itself was given can be.
    server.command(["reload"]).run().expect_code(0);
    upgrade(&server).expect_code(0).expect_stdout("generation 4 serves");
    assert_eq!(server.get("/").text(), "hello from wasm\n");
}

/// Those that the old program has started are this one's to attend to.
#[test]
fn workers_of_the_old_program_are_attended_to() {
    let server = Server::installed("zoo-p2").instances(2).args(["--bake", "1h"]).start();
    let before = server.workers();
    server.command(["upgrade", "--detach"]).run().expect_code(0);
    server.wait_for_stderr("serves its first requests, and is watched for 1h");
    let old = eventually("one of each", || {
        let old: Vec<u32> = server.workers().into_iter().filter(|pid| before.contains(pid)).collect();
        (old.len() == 1 && server.workers().len() == 2).then(|| old[0])
    });
    server.get("/log?lines=40&bytes=8");
    eventually("its lines", || (server.stdout().lines().count() >= 40).then_some(()));
    signal(old, SIGKILL);
    server.wait_for_stderr(&format!("(pid {old}): ended with signal 9"));
    let workers = server.wait_for_workers(2, &[old]);
    eventually("both serve", || {
        let status = status(&server);
        let slots = status["cluster"]["slots"].as_array().unwrap();
        slots.iter().all(|slot| slot["phase"] == "serving").then_some(())
    });
    assert_eq!(server.workers(), workers);
    server.stop();
}

#[test]
fn who_follows_the_log_goes_on_and_what_was_said_before_is_kept() {
    let server = Server::installed("zoo-p2").instances(1).args(["--bake", "0s"]).start();
    let following = server.command(["logs", "-f"]).start();
    following.stdout.wait_for(crate::support::PATIENCE, |text| text.contains("Serving HTTP").then_some(()));
    upgrade(&server).expect_code(0);
    server.get("/log?lines=1&bytes=8");
    server.wait_for_stdout("slot 0 stdout");
    let shown = server.command(["logs"]).run();
    shown.expect_stdout("Serving HTTP on").expect_stdout("goes on\n").expect_stdout("slot 0 stdout");
    server.stop();
    let followed = following.wait();
    followed
        .expect_code(0)
        .expect_stdout("goes on\n")
        .expect_stdout("slot 0 stdout")
        .expect_stdout("stopping");
}

/// What it does not read is on its way when the old program goes, and more than fits there.
#[test]
fn who_follows_the_log_and_does_not_read_holds_up_nobody() {
    let server = Server::installed("zoo-p2").instances(1).args(["--bake", "0s"]).start();
    let following = server.command(["logs", "-f"]).start();
    following.stdout.wait_for(crate::support::PATIENCE, |text| text.contains("Serving HTTP").then_some(()));
    signal(following.pid(), SIGSTOP);
    server.get("/log?lines=20000&bytes=200");
    upgrade(&server).expect_code(0).expect_stdout("generation 2 serves");
    signal(following.pid(), SIGCONT);
    // What was said while it stood still may be missed, and is counted; what is said from here on is heard.
    eventually("that it reads on", || {
        server.get("/log?lines=1&bytes=7");
        following.stdout.text().contains(" xxxxxxx\n").then_some(())
    });
    server.stop();
    following.wait().expect_stdout("stopping");
}

/// Whoever has just been reaped is let go of by the old program, and is not missed, or killed, by the new one.
#[test]
fn workers_that_end_at_that_moment_are_replaced() {
    let server = hello(2).args(["--max-restarts", "1000"]).start();
    for generation in 2..=11 {
        let workers = server.workers();
        signal(workers[0], SIGKILL);
        server.signal(SIGUSR2);
        server.wait_for_stderr(&format!("every slot serves generation {generation}"));
        server.wait_for_workers(2, &workers);
    }
    server.get("/").expect_status(200);
    server.stop();
}

/// A command that waits for what takes time is answered by the new program.
#[test]
fn who_waits_is_answered() {
    let server = Server::installed("zoo-p2").instances(2).args(["--bake", "0s"]).start();
    let mut slow = server.connect();
    slow.send("GET /slow?ms=1500 HTTP/1.1\r\nhost: localhost\r\n\r\n");
    let restarts = ["0", "1"].map(|slot| server.command(["restart", slot]).start());
    upgrade(&server).expect_code(0);
    slow.response().expect_status(200);
    for restart in restarts {
        restart.wait().expect_code(0).expect_stdout("has another worker");
    }
}

/// Whenever somebody asks, the old program answers, or the new one does.
#[test]
fn who_asks_in_the_middle_is_answered() {
    const PUSHES: usize = 40;
    let server = hello(2).start();
    std::thread::scope(|scope| {
        let pushes = scope.spawn(|| {
            for number in 0..PUSHES {
                let name = if number % 2 == 0 { "zoo-p2" } else { "hello-p2" };
                let pushed = server.command(["push"]).arg(component(name)).run();
                let code = pushed.status.code().unwrap();
                assert!([0, SUPERSEDED].contains(&code), "{}", pushed.explain());
                server.command(["status"]).run().expect_code(0);
            }
        });
        while !pushes.is_finished() {
            let upgraded = upgrade(&server);
            let code = upgraded.status.code().unwrap();
            assert!([0, SUPERSEDED].contains(&code), "{}", upgraded.explain());
        }
    });
    server.wait_for_stderr("goes on");
    server.stop();
}

#[test]
fn an_upgrade_waits_for_a_rollout_and_is_not_begun_twice() {
    let server = Server::installed("hello-p2").instances(1).args(["--bake", "1s"]).start();
    let push = server.command(["push"]).arg(component("zoo-p2")).start();
    server.wait_for_stderr("serves its first requests");
    let first = server.command(["upgrade"]).start();
    server.wait_for_stderr("is to go on, version");
    upgrade(&server).expect_code(FAILED).expect_stderr("an upgrade is under way already");
    push.wait().expect_code(0).expect_stdout("generation 2 serves");
    first.wait().expect_code(0).expect_stdout("generation 3 serves");
    assert_eq!(server.get("/").text(), "hello from the zoo\n");
}

#[test]
fn a_guest_that_never_stops_writing_holds_up_nobody() {
    let server =
        Server::installed("zoo-p2").instances(2).args(["--bake", "0s", "--kill-timeout", "1s"]).start();
    let mut flood = server.connect();
    flood.send_head("GET", "/log?lines=1000000000&bytes=64", &[]);
    server.wait_for_stdout("slot ");
    upgrade(&server).expect_code(0);
    upgrade(&server).expect_code(0);
    server.get("/").expect_status(200);
}

/// Between two programs a signal would end the process.
#[test]
fn a_signal_in_the_middle_is_heard() {
    let server = hello(1).file("app.toml", "").args(["--config", "app.toml"]).start();
    let file = server.place().join("work/app.toml");
    fs::remove_file(&file).unwrap();
    mkfifo(&file, Mode::S_IRWXU).unwrap();
    // Each waits until the other end is opened: by the program that is tried, by that again with what it would be left, and by
    // the one that is to go on.
    let open = || OpenOptions::new().write(true).open(&file).unwrap();
    server.signal(SIGUSR2);
    drop(open());
    server.wait_for_stderr("is to go on, version");
    drop(open());
    eventually("its end", || (server.workers().len() == 1).then_some(()));
    let between = open();
    server.signal(SIGTTIN);
    server.signal(SIGTERM);
    drop(between);
    server.wait().expect_code(0).expect_stderr("stopping: ");
}

#[test]
fn a_file_that_is_watched_is_still_watched() {
    let bytes = fs::read(component("hello-p2")).unwrap();
    let server = Server::installed_file("app.wasm").file("app.wasm", bytes);
    let server = server.instances(1).args(["--watch", "--bake", "0s"]).start();
    server.command(["push"]).arg(component("zoo-p3")).run().expect_code(0);
    // What was pushed goes on, and not what is in the file.
    upgrade(&server).expect_code(0);
    assert_eq!(server.get("/").text(), "hello from the zoo\n");
    fs::copy(component("hello-p3"), server.place().join("work/new")).unwrap();
    fs::rename(server.place().join("work/new"), server.place().join("work/app.wasm")).unwrap();
    server.wait_for_stderr("every slot serves generation 4");
    assert_eq!(server.get("/").text(), "hello from wasm\n");
}

//! The control socket and the commands that use it: status, list and stop; and what comes there that is none of them.

use std::fs::{self, Permissions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::geteuid;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::support::{
    PATIENCE, Program, RawClient, Server, Starting, alive, component, eventually, listens, program, signal,
};

const NOBODY: u32 = 65534;

/// The answer to a stop that was not waited for, and to a first signal.
const STOPPING: &str = "stopping: requests in flight are finished first";

/// A request that does not end by itself.
const ENDLESS: &str = "/stream?chunks=1000000&ms=100";

#[test]
fn status_shows_the_app_and_every_worker() {
    let server = Server::of("hello-p2").instances(2).args(["--name", "shop"]).start();
    let shown = server.command(["status"]).run();
    shown.expect_code(0);
    assert_eq!(shown.stderr, "", "{}", shown.explain());
    let (addr, pid) = (server.addr, server.pid());
    let lines: Vec<&str> = shown.stdout.lines().collect();
    let [app, generation, "", head, first, second] = lines[..] else { panic!("{}", shown.explain()) };
    assert!(app.starts_with(&format!("shop at http://{addr}/ for ")), "{app}");
    assert!(app.ends_with(&format!("(pid {pid})")), "{app}");
    assert!(generation.starts_with("generation 1: ") && generation.contains("hello-p2.wasm"), "{generation}");
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

#[test]
fn names_that_are_none_are_refused() {
    for args in [["serve", "--name"], ["status", "--app"], ["stop", "--app"]] {
        for name in ["", ".", "..", "../up", "a/b", "-x", "two words"] {
            program(args).arg(name).run().expect_code(2);
        }
    }
}

#[test]
fn stop_waits_and_leaves_nothing() {
    let apps = Apps::new();
    let server = apps.start("shop", 2);
    let (addr, workers) = (server.addr, server.workers());
    let stopped = apps.command(["stop"]).run();
    // What the command waited for, looked at before anything else is waited for.
    assert!(!listens(addr), "the address is free");
    assert_eq!(fs::read_dir(apps.path()).unwrap().count(), 0, "the name is free");
    assert!(!workers.into_iter().any(alive), "no worker is left");
    stopped.expect_code(0);
    assert_eq!(stopped.stdout, format!("`shop` (pid {}) has stopped\n", server.pid()));
    assert_eq!(stopped.stderr, "");
    server.wait().expect_code(0).expect_stderr(STOPPING);
}

#[test]
fn stop_ends_an_app_that_has_no_worker_at_the_moment() {
    // Nothing is left to wait for, so the end comes with the answer.
    for flags in [&["stop"][..], &["stop", "--fast"]] {
        let server = Server::of("hello-p2").instances(1).start();
        eventually("a wait for the next restart", || {
            let waits =
                || json(server.command(["status", "--json"]))["cluster"]["slots"][0]["phase"] == "waiting";
            server.workers().into_iter().for_each(|worker| signal(worker, Signal::SIGKILL));
            waits().then_some(())
        });
        program(flags).run_dir(server.run_dir()).run().expect_code(0).expect_stdout("has stopped");
        server.wait().expect_code(0);
    }
}

#[test]
fn stop_finishes_what_is_in_flight() {
    let server = Server::of("zoo-p2").instances(1).start();
    let mut client = streaming(&server, "/stream?chunks=6&ms=100&size=1");
    let stopped = json(server.command(["stop", "--json"]));
    assert_eq!((&stopped["name"], &stopped["pid"]), (&"zoo-p2".into(), &server.pid().into()));
    assert_eq!(stopped["stopped"], true);
    let mut body = Vec::new();
    while let Some(chunk) = client.try_chunk().unwrap() {
        body.extend(chunk);
    }
    assert_eq!(body, b"abcdef");
    server.wait().expect_code(0);
}

#[test]
fn stop_fast_waits_for_no_request() {
    let server = Server::of("zoo-p2").args(["--kill-timeout", "1h", "--timeout", "none"]).start();
    let _waiting = streaming(&server, ENDLESS);
    server.command(["stop", "--fast"]).start().wait_within(Duration::from_secs(20)).expect_code(0);
    server.wait().expect_code(0).expect_stderr("stopping at once");
}

#[test]
fn stop_detached_does_not_wait() {
    let server = Server::of("zoo-p2").args(["--kill-timeout", "1h", "--timeout", "none"]).start();
    let _waiting = streaming(&server, ENDLESS);
    for _ in 0..2 {
        // The second one asks for nothing new: it does not make the stop a fast one.
        let stopped = server.command(["stop", "--detach"]).run();
        stopped.expect_code(0).expect_stdout("is stopping");
    }
    assert_eq!(json(server.command(["stop", "--detach", "--json"]))["stopped"], false);
    assert_eq!(json(server.command(["status", "--json"]))["cluster"]["phase"], "stopping");
    // One that waits can be interrupted, and that changes nothing either.
    let waiting = server.command(["stop"]).start();
    // Not SIGINT: what runs in the background of a script ignores that, tests and all.
    signal(waiting.pid(), Signal::SIGTERM);
    assert_eq!(waiting.wait().status.code(), None);
    assert!(!server.workers().is_empty(), "it waits for the request{}", server.explain());
    server.command(["stop", "--fast"]).run().expect_code(0);
    let said = server.wait();
    said.expect_code(0);
    assert_eq!(said.stderr.matches(STOPPING).count(), 1, "{}", said.explain());
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
fn somebody_else_behind_the_socket_is_no_app() {
    let apps = Apps::new();
    fs::create_dir(apps.path().join("shop")).unwrap();
    fs::set_permissions(apps.path().join("shop"), Permissions::from_mode(0o700)).unwrap();
    let answers: [&[u8]; 3] =
        [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x0e\0\0\0{\"protocol\":9}\x02\0\0\0{}"];
    for answer in answers {
        let listener = UnixListener::bind(apps.socket("shop")).unwrap();
        let other = thread::spawn(move || {
            // One command, and one that lists.
            for _ in 0..2 {
                let (mut stream, _) = listener.accept().unwrap();
                let _ = stream.read(&mut [0; 4096]);
                let _ = stream.write_all(answer);
            }
        });
        let refused = apps.command(["status"]).run();
        assert!(refused.expect_refusal(1).0.starts_with("`shop` does not answer: "), "{}", refused.explain());
        apps.command(["list"]).run().expect_code(0).expect_stdout("does not answer");
        other.join().unwrap();
        // Without a listener, its socket stays and is nobody.
        assert_eq!(apps.command(["stop"]).run().expect_refusal(9).0, "no app is running");
        fs::remove_file(apps.socket("shop")).unwrap();
    }
    fs::write(apps.socket("shop"), "not a socket").unwrap();
    apps.command(["status"]).run().expect_refusal(9);
    let server = apps.start("shop", 1);
    assert_eq!(json(apps.command(["status", "--json"]))["pid"], server.pid());
}

#[test]
fn garbage_on_the_socket_hurts_nobody() {
    let server = Server::of("hello-p2").instances(1).start();
    let hello = b"\x0e\0\0\0{\"protocol\":1}";
    let worst: [&[u8]; 6] = [
        b"GET / HTTP/1.1\r\n\r\n",
        &[0xff; 65536],
        b"\xff\xff\xff\x7f",
        &[&hello[..], b"\x06\0\0\0\"push\""].concat(),
        &[&hello[..], b"\x01\0\0\0{"].concat(),
        b"\x0e\0\0\0{\"protocol\":9}",
    ];
    for bytes in worst {
        let mut stream = connect(&server);
        let _ = stream.write_all(bytes);
        expect_end(&mut stream);
        assert_eq!(server.get("/").status, 200);
        assert_eq!(json(server.command(["status", "--json"]))["pid"], server.pid());
    }
    // Its log is no place for what anybody can repeat.
    assert_eq!(server.stderr().lines().count(), 1, "{}", server.explain());
}

#[test]
fn who_says_nothing_or_half_is_cut_off_and_holds_up_nobody_for_long() {
    let server = Server::of("hello-p2").instances(1).start();
    let mut silent: Vec<_> = (0..64).map(|_| connect(&server)).collect();
    for stream in &mut silent[32..] {
        stream.write_all(b"\x0e\0\0\0{\"proto").unwrap();
    }
    assert_eq!(server.get("/").status, 200);
    // More than it holds at once: the first ones have to go by themselves.
    expect_end(&mut silent[0]);
    drop(silent);
    assert_eq!(json(server.command(["status", "--json"]))["pid"], server.pid());
    server.stop();
}

#[test]
fn another_user_is_turned_away_and_named() {
    if !geteuid().is_root() {
        eprintln!("skipped: only root can be another user");
        return;
    }
    let server = Server::of("hello-p2").instances(1).start();
    let own = server.run_dir().join("hello-p2/control.sock");
    let stranger = match Program::as_user(NOBODY) {
        Ok(stranger) => stranger,
        Err(error) => {
            eprintln!("skipped: cannot run as another user: {error}");
            return;
        }
    };
    // Its directory keeps others out, so this one gets a door of his own, and a mode that was changed by mistake.
    fs::set_permissions(&own, Permissions::from_mode(0o666)).unwrap();
    let door = stranger.home().join("run");
    fs::create_dir_all(door.join("shop")).unwrap();
    fs::hard_link(&own, door.join("shop/control.sock")).unwrap();
    for directory in [&door, &door.join("shop")] {
        fs::set_permissions(directory, Permissions::from_mode(0o700)).unwrap();
        chown(directory, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    let refused = stranger.args(["stop", "--fast"]).run_dir(&door).run();
    refused.expect_code(1).expect_stderr("`shop` does not answer: it closed the connection");
    server.wait_for_stderr(&format!("user {NOBODY} "));
    assert_eq!(server.get("/").status, 200);
    assert_eq!(json(server.command(["status", "--json"]))["pid"], server.pid());
}

#[test]
fn nobody_else_can_look_into_the_directory() {
    let server = Server::of("hello-p2").instances(1).start();
    let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(server.run_dir()), 0o700);
    assert_eq!(mode(server.run_dir().join("hello-p2")), 0o700);
    assert_eq!(mode(server.run_dir().join("hello-p2/control.sock")), 0o600);
}

#[test]
fn a_run_directory_that_others_could_have_chosen_is_refused() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    for directory in ["real", "open", "theirs"] {
        fs::create_dir(at(directory)).unwrap();
        fs::set_permissions(at(directory), Permissions::from_mode(0o700)).unwrap();
    }
    fs::set_permissions(at("open"), Permissions::from_mode(0o755)).unwrap();
    symlink(at("real"), at("link")).unwrap();
    fs::write(at("file"), "").unwrap();
    let mut refused = vec![("link", "symbolic link"), ("link/", "symbolic link"), ("open", "open to others")];
    if geteuid().is_root() {
        chown(at("theirs"), Some(NOBODY), None).unwrap();
        refused.push(("theirs", "belongs to user 65534"));
    } else {
        eprintln!("skipped, in part: only root can give directories away");
    }
    for (directory, reason) in refused {
        for args in [&["serve", "--addr", "127.0.0.1:0"][..], &["status"], &["list"], &["stop"]] {
            let refused = program(args).run_dir(at(directory)).run();
            let (error, hint) = refused.expect_refusal(8);
            assert!(error.contains(reason), "{args:?}: {error}");
            assert!(hint.contains("--run-dir"), "{hint}");
        }
    }
    program(["serve", "--addr", "127.0.0.1:0"]).run_dir(at("file")).run().expect_refusal(8);
    assert_eq!(fs::read_dir(at("real")).unwrap().count(), 0);
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

/// A run directory for several apps.
struct Apps(TempDir);

impl Apps {
    fn new() -> Self {
        let closed = Permissions::from_mode(0o700);
        Self(tempfile::Builder::new().permissions(closed).tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn socket(&self, name: &str) -> PathBuf {
        self.path().join(name).join("control.sock")
    }

    fn starting(&self, name: &str, instances: usize) -> Starting {
        Server::of("hello-p2").instances(instances).args(["--name", name]).run_dir(self.path())
    }

    #[track_caller]
    fn start(&self, name: &str, instances: usize) -> Server {
        self.starting(name, instances).start()
    }

    fn command<const N: usize>(&self, args: [&str; N]) -> Program {
        program(args).run_dir(self.path())
    }
}

/// The one value that a command says, having done what was asked.
#[track_caller]
fn json(command: Program) -> Value {
    let finished = command.run();
    finished.expect_code(0);
    assert_eq!(finished.stdout.lines().count(), 1, "{}", finished.explain());
    serde_json::from_str(&finished.stdout).unwrap_or_else(|error| panic!("{error}{}", finished.explain()))
}

fn words(line: &str) -> Vec<&str> {
    line.split("  ").map(str::trim).filter(|word| !word.is_empty()).collect()
}

/// A connection to the control socket of a server of "hello-p2".
#[track_caller]
fn connect(server: &Server) -> UnixStream {
    let stream = UnixStream::connect(server.run_dir().join("hello-p2/control.sock")).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Fails unless the supervisor ends the connection, having said nothing but its hello.
#[track_caller]
fn expect_end(stream: &mut UnixStream) {
    let mut said = Vec::new();
    match stream.read_to_end(&mut said) {
        Ok(_) => {}
        // There was more than it read.
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        Err(error) => panic!("it is not closed: {error}"),
    }
    assert!(said.len() <= b"\x0e\0\0\0{\"protocol\":1}".len(), "{}", String::from_utf8_lossy(&said));
}

/// A request whose answer has begun.
#[track_caller]
fn streaming(server: &Server, path: &str) -> RawClient {
    let mut client = server.connect();
    client.send_head("GET", path, &[]);
    assert_eq!(client.try_head().unwrap().status, 200);
    client
}

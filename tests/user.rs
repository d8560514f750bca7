//! Workers that become another user: `--user`.
//!
//! Only root can have them do so. Where these tests are not root, or cannot be anybody else, a line says that they are skipped.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;

use nix::sys::signal::Signal::{SIGHUP, SIGKILL};
use nix::unistd::{User, geteuid};
use serde_json::Value;

use crate::support::{
    Load, Network, Program, Server, Starting, component, eventually, program, signal, stop,
};

const REJECTED: i32 = 3;

/// Who no file belongs to. None, having said so, where workers cannot become them.
fn nobody() -> Option<User> {
    let user = User::from_name("nobody").unwrap();
    let covers = |line: &str, id: u32| {
        let mut numbers = line.split_whitespace().map(|number| number.parse::<u64>().unwrap());
        let (first, _, count) = (numbers.next().unwrap(), numbers.next(), numbers.next().unwrap());
        (first..first + count).contains(&u64::from(id))
    };
    let mapped = |id: u32| {
        fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| map.lines().any(|line| covers(line, id)))
    };
    let user = user.filter(|user| geteuid().is_root() && mapped(user.uid.as_raw()));
    if user.is_none() {
        eprintln!("skipped: workers of this user cannot become `nobody`");
    }
    user
}

/// A directory that everybody can reach, which belongs to `user`.
fn lent(user: &User) -> tempfile::TempDir {
    let lent = tempfile::tempdir().unwrap();
    fs::set_permissions(lent.path(), Permissions::from_mode(0o755)).unwrap();
    fs::write(lent.path().join("file"), "lent").unwrap();
    chown(lent.path(), Some(user.uid.as_raw()), Some(user.gid.as_raw())).unwrap();
    lent
}

fn grant(directory: &Path, how: &str) -> String {
    format!("{}::/lent{how}", directory.display())
}

/// What the kernel says of who a thread is, and what it may do.
fn identities(pid: u32) -> Vec<BTreeMap<String, String>> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let status = |thread: fs::DirEntry| {
        let status = fs::read_to_string(thread.path().join("status")).unwrap();
        let pairs = status.lines().filter_map(|line| line.split_once(':'));
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        pairs.map(|(name, value)| (name.to_owned(), words(value))).collect()
    };
    threads.map(|thread| status(thread.unwrap())).collect()
}

/// Fails unless every thread of every worker is this user, and has no way to be another one.
#[track_caller]
fn expect_all(server: &Server, user: &User) {
    let four = |id: u32| [id; 4].map(|id| id.to_string()).join(" ");
    let (uid, gid) = (user.uid.as_raw(), user.gid.as_raw());
    let mut expected = BTreeMap::from([
        ("Uid", four(uid)),
        ("Gid", four(gid)),
        ("Groups", gid.to_string()),
        ("NoNewPrivs", "1".to_owned()),
    ]);
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        expected.insert(set, "0".repeat(16));
    }
    let workers = server.workers();
    assert!(!workers.is_empty(), "{}", server.explain());
    for worker in workers {
        for thread in identities(worker) {
            for (name, value) in &expected {
                assert_eq!(thread.get(*name), Some(value), "{name} of {worker}{}", server.explain());
            }
        }
        // What is not to be looked into by its own user belongs to root.
        let memory = fs::metadata(format!("/proc/{worker}/mem")).unwrap();
        assert_eq!(memory.uid(), 0, "others of this user can trace it");
    }
}

fn status(server: &Server) -> Value {
    let shown = server.command(["status", "--json"]).run();
    shown.expect_code(0);
    serde_json::from_str(&shown.stdout).unwrap()
}

/// try: what is left of root in any thread of a worker | no id, group or capability, and no way to gain one | not looked at
#[test]
fn workers_become_it_in_every_respect_and_the_supervisor_does_not() {
    let Some(nobody) = nobody() else { return };
    for zoo in ["zoo-p2", "zoo-p3"] {
        let lent = lent(&nobody);
        let args = ["--user", "nobody", "--dir", &grant(lent.path(), "")];
        let server = Server::of(zoo).instances(2).args(args).start();
        // The thread for files begins with the first of them.
        server.get("/list?path=/lent").expect_status(200);
        expect_all(&server, &nobody);
        assert_eq!(identities(server.pid())[0]["Uid"], "0 0 0 0");
        let (uid, gid) = (nobody.uid.as_raw(), nobody.gid.as_raw());
        assert_eq!(
            status(&server)["user"],
            serde_json::json!({ "name": "nobody", "uid": uid, "gid": gid, "groups": [gid] })
        );
        let words = server.command(["status"]).run().stdout;
        assert!(words.contains(&format!("user of the workers: nobody ({uid}:{gid})\n")), "{words}");
        server.stop();
    }
}

#[test]
fn a_group_can_be_named_and_everything_can_be_a_number() {
    let Some(nobody) = nobody() else { return };
    let ids = |user: &str| {
        let server = Server::of("hello-p2").instances(1).args(["--user", user]).start();
        let thread = &identities(server.worker())[0];
        let first = |name: &str| thread[name].split(' ').next().unwrap().parse::<u32>().unwrap();
        (first("Uid"), first("Gid"), thread["Groups"].clone(), status(&server)["user"]["name"].clone())
    };
    let (uid, gid) = (nobody.uid.as_raw(), nobody.gid.as_raw());
    assert_eq!(ids(&uid.to_string()), (uid, gid, gid.to_string(), "nobody".into()));
    let (user, group, groups, _) = ids("nobody:root");
    assert_eq!((user, group, groups.split(' ').next()), (uid, 0, Some("0")));
    // One that is only a number.
    assert_eq!(ids("54321:12345"), (54_321, 12_345, "12345".into(), Value::Null));
}

#[test]
fn a_variable_and_a_key_say_it_as_well() {
    let Some(nobody) = nobody() else { return };
    let server = Server::of("hello-p2").instances(1).env("WASMCLUSTER_USER", "nobody").start();
    expect_all(&server, &nobody);
    let file = format!("user = {}\n", nobody.uid);
    let server = Server::of("hello-p2").instances(1).file("wasmcluster.toml", file).start();
    expect_all(&server, &nobody);
}

/// try: the same with `--sandbox off` | the same, and others of that user cannot trace it | not looked at
#[test]
fn it_does_not_take_a_sandbox() {
    let Some(nobody) = nobody() else { return };
    let args = ["--user", "nobody", "--sandbox", "off"];
    let server = Server::of("hello-p2").instances(1).args(args).start();
    server.get("/").expect_status(200);
    expect_all(&server, &nobody);
}

/// What the user may not do, the guest may not.
/// try: files under `--dir` that the user may not read, or not write | an error | the file is as it was
#[test]
fn files_are_what_they_are_for_that_user() {
    let Some(nobody) = nobody() else { return };
    for (zoo, how) in [("zoo-p2", ""), ("zoo-p3", ""), ("zoo-p2", "::ro")] {
        let lent = lent(&nobody);
        for (name, mode) in [("secret", 0o600), ("readable", 0o644)] {
            fs::write(lent.path().join(name), name).unwrap();
            fs::set_permissions(lent.path().join(name), Permissions::from_mode(mode)).unwrap();
        }
        let args = ["--user", "nobody", "--dir", &grant(lent.path(), how)];
        let server = Server::of(zoo).instances(1).args(args).start();
        assert_eq!(server.get("/fs?path=/lent/readable").expect_status(200).text(), "readable");
        server.get("/fs?path=/lent/secret").expect_status(500);
        server.connect().post("/write?path=/lent/readable", "x").expect_status(500);
        let written = server.connect().post("/write?path=/lent/new", "new");
        match how {
            "" => {
                written.expect_status(200);
                assert_eq!(fs::metadata(lent.path().join("new")).unwrap().uid(), nobody.uid.as_raw());
            }
            _ => drop(written.expect_status(500)),
        }
        assert_eq!(fs::read_to_string(lent.path().join("readable")).unwrap(), "readable");
    }
}

/// try: `--dir` of a directory that the user may not enter | refused, exit code 3 | not looked at
#[test]
fn a_directory_that_it_may_not_enter_is_refused() {
    if nobody().is_none() {
        return;
    }
    let closed = tempfile::tempdir().unwrap();
    fs::set_permissions(closed.path(), Permissions::from_mode(0o700)).unwrap();
    let args = ["--user", "nobody", "--dir", &grant(closed.path(), "")];
    let refused = Server::of("zoo-p2").instances(1).args(args).program().run();
    refused.expect_code(REJECTED);
    let why = format!("error: cannot open `{}` for the guest: ", closed.path().display());
    refused.expect_stderr(&why).expect_stderr("hint: check `--dir`, and what user nobody (");
}

/// try: a worker of root by a crash, restart, scale, reload, upgrade, push, rollback | each is the user | not looked at
#[test]
fn whoever_takes_the_place_of_a_worker_is_that_user() {
    let Some(nobody) = nobody() else { return };
    let server = Server::installed("zoo-p2").instances(2).args(["--user", "nobody", "--bake", "0s"]).start();
    let mut client = server.connect();
    client.get("/").expect_status(200);

    let first = server.workers()[0];
    signal(first, SIGKILL);
    eventually("another worker that serves", || {
        let status = status(&server);
        let slots = status["cluster"]["slots"].as_array().unwrap();
        let serves = slots.iter().all(|slot| slot["phase"] == "serving");
        (serves && !server.workers().contains(&first)).then_some(())
    });
    expect_all(&server, &nobody);
    for command in ["restart 0", "scale 3", "reload", "upgrade"] {
        let words: Vec<_> = command.split(' ').collect();
        program(words).run_dir(server.run_dir()).run().expect_code(0);
        expect_all(&server, &nobody);
    }
    server.command(["push"]).arg(component("hello-p2")).run().expect_code(0);
    expect_all(&server, &nobody);
    server.command(["rollback"]).run().expect_code(0);
    expect_all(&server, &nobody);
    assert_eq!(server.workers().len(), 3);
    server.stop();
}

#[test]
fn connections_go_from_worker_to_worker_as_they_do_for_root() {
    if nobody().is_none() {
        return;
    }
    Network::delayed(|network| {
        let args = ["--user", "nobody", "--bake", "0s"];
        let server = Server::installed("hello-p2").instances(2).addr(network.server()).args(args).start();
        let addr = network.way_to(server.addr);
        let loads = [Load::fresh(addr, 16), Load::keep_alive(addr, 16), Load::h2c(addr, 2, 4)];
        let loads = loads.map(|load| load.rate(100).start());
        for generation in [2, 3] {
            match generation {
                2 => server.signal(SIGHUP),
                _ => drop(server.command(["upgrade"]).run()),
            }
            server.wait_for_stderr(&format!("every slot serves generation {generation}"));
        }
        for load in loads {
            let so_far = load.answered();
            eventually("answers by the last generation", || (load.answered() > so_far + 20).then_some(()));
            let outcome = load.stop();
            assert_eq!(outcome.lost(), 0, "{outcome}");
        }
    });
}

#[test]
fn what_waits_for_a_worker_that_stands_still_is_served_by_another() {
    let Some(nobody) = nobody() else { return };
    let args = ["--user", "nobody", "--heartbeat-timeout", "none"];
    let server = Server::of("hello-p2").instances(2).args(args).start();
    stop(server.workers()[0]);
    Load::fresh(server.addr, 8).requests(200).run().expect_ok(200);
    expect_all(&server, &nobody);
}

/// try: a reload with a user that is not there | refused, exit code 2 | nobody: the same worker
#[test]
fn a_reload_reads_it_again() {
    let Some(nobody) = nobody() else { return };
    let server = Server::of("hello-p2").instances(1).args(["--bake", "0s"]);
    let server = server.file("wasmcluster.toml", "user = \"nobody\"\n").start();
    expect_all(&server, &nobody);
    let file = server.place().join("work/wasmcluster.toml");
    let before = server.worker();
    fs::write(&file, "user = \"no-such-user\"\n").unwrap();
    let refused = server.command(["reload"]).run();
    refused.expect_code(2).expect_stderr("there is no user `no-such-user`");
    assert_eq!(server.worker(), before);
    fs::write(&file, "").unwrap();
    server.command(["reload"]).run().expect_code(0);
    assert_eq!(identities(server.worker())[0]["Uid"], "0 0 0 0");
    assert_eq!(status(&server)["user"]["uid"], 0);
}

/// try: a user or a group that is not there, no user, one beyond 32 bits | refused, exit code 2 | no process is left
#[test]
fn who_is_not_there_is_refused_before_anything_else() {
    for (user, why) in [
        ("no-such-user", "invalid value `no-such-user` for `--user`: there is no user `no-such-user`"),
        ("root:no-such-group", "there is no group `no-such-group`"),
        ("4294967295:0", "there is no user `4294967295`"),
        ("4294967294", "user 4294967294 is not known here, so it takes a group: `4294967294:GROUP`"),
        (":root", "expected `USER` or `USER:GROUP`, each a name or a number"),
    ] {
        let refused = Server::of("hello-p2").args(["--user", user]).program().run();
        refused.expect_usage(why).expect_stderr("hint: `wasmcluster serve --help` says what there is");
        refused.expect_nothing_left();
    }
}

/// try: `--user root`, by somebody who is not root | refused, exit code 2 | not looked at
#[test]
fn who_is_not_root_stays_who_they_are() {
    let Some(nobody) = nobody() else { return };
    let (uid, gid) = (nobody.uid.as_raw(), nobody.gid.as_raw());
    let serve = |user: &str| {
        let program = Program::as_user(uid).unwrap().own_cache();
        program.args(["serve", "--addr", "127.0.0.1:0", "-i", "1", "--user", user])
    };
    let refused = serve("root").run();
    refused.expect_usage("for `--user`: only root may have workers become another user");
    let server = Starting::of(serve(&format!("{uid}:{gid}"))).start();
    server.get("/").expect_status(200);
    assert_eq!(identities(server.worker())[0]["CapPrm"], "0".repeat(16));
}

#[cfg(target_arch = "x86_64")]
mod intruded {
    use nix::libc;
    use syscalls::Sysno;

    use super::*;
    use crate::support::expect_gone;
    use crate::support::intruder::{Intruder, Outcome};

    /// Also one that cannot hear that its supervisor is gone: that the kernel is to end it has to be said again after a change
    /// of user.
    /// try: outliving a supervisor that was killed, without hearing of it | ended by the kernel | not looked at
    #[test]
    fn a_killed_supervisor_leaves_no_worker() {
        if nobody().is_none() {
            return;
        }
        let server = Server::of("hello-p2").instances(2).args(["--user", "nobody"]).start();
        let workers = server.workers();
        // Held, and not stopped: the kernel wakes who is stopped when its supervisor is gone.
        let held = Intruder::into(workers[0]);
        signal(server.pid(), SIGKILL);
        expect_gone(&workers);
        drop(held);
    }

    /// Nothing that a worker was left by root leads anywhere, even if nothing but its user holds it.
    /// try: files and `/proc` of root by `openat`, with `--sandbox off` | `EACCES` | not looked at
    /// try: writing to its own code through `/proc/self/fd` | `EPERM` | not looked at
    #[test]
    fn a_file_of_root_is_not_read_by_any_way() {
        let Some(nobody) = nobody() else { return };
        let lent = lent(&nobody);
        let secret = lent.path().join("secret");
        fs::write(&secret, "secret").unwrap();
        fs::set_permissions(&secret, Permissions::from_mode(0o600)).unwrap();
        let args = ["--user", "nobody", "--sandbox", "off", "--dir", &grant(lent.path(), "")];
        let server = Server::of("zoo-p2").instances(1).args(args).start();
        server.get("/list?path=/lent").expect_status(200);
        let worker = server.worker();
        let opens = |path: &str, how: i32| {
            let name = [path.as_bytes(), b"\0"].concat();
            let arguments = [Some(libc::AT_FDCWD as u64), None, Some(how as u64)];
            match Intruder::into(worker).call(Sysno::openat, &name, &arguments) {
                Outcome::Returned(file) => file,
                ended => panic!("{path}: {ended:?}"),
            }
        };
        const DENIED: i64 = -(libc::EACCES as i64);
        // To show that it could.
        assert!(opens(lent.path().join("file").to_str().unwrap(), libc::O_RDONLY) >= 0);
        let supervisor = format!("/proc/{}/mem", server.pid());
        for path in [secret.to_str().unwrap(), "/proc/1/environ", &supervisor, "/proc/self/mem"] {
            assert_eq!(opens(path, libc::O_RDONLY), DENIED, "{path}");
        }
        for entry in fs::read_dir(format!("/proc/{worker}/fd")).unwrap().flatten() {
            let Ok(target) = fs::read_link(entry.path()) else { continue };
            let known = target.starts_with("/proc") || target.starts_with(lent.path());
            if known || !target.is_absolute() {
                continue;
            }
            // The code that it runs: a way to write to it would be one to run other code.
            assert!(target.to_str().unwrap().starts_with("/memfd:"), "{target:?} is open");
            let again = opens(&format!("/proc/self/fd/{}", entry.file_name().display()), libc::O_RDWR);
            if let Ok(again) = u64::try_from(again) {
                let write = [Some(again), None, Some(1)];
                let refused = Outcome::Returned(-(libc::EPERM as i64));
                assert_eq!(Intruder::into(worker).call(Sysno::write, b"x", &write), refused, "{target:?}");
            }
        }
    }
}

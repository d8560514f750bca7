//! Disks that are full, or gone.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::Command;

use nix::unistd::geteuid;

use super::{CACHE, REJECTED, of_hello, push};
use crate::support::{Program, Server, Starting, binary, component};

#[test]
fn a_cache_that_is_gone_refuses_the_push() {
    let server = of_hello(1, "0s").own_cache().start();
    let cache = server.place().join("home/.cache/wasmcluster");
    fs::remove_dir_all(&cache).unwrap();
    let refused = push(&server, "zoo-p2").run();
    let (error, hint) = refused.expect_refusal(CACHE);
    assert!(
        error.starts_with("the cache directory `") && error.ends_with("; generation 1 serves"),
        "{error}"
    );
    assert!(hint.contains("--cache-dir"), "{hint}");
    assert_eq!(server.get("/").text(), "hello from wasm\n");
}

#[test]
fn a_disk_that_is_full_refuses_the_push_and_costs_nothing_else() {
    let Some(server) = on_small_disk(["--cache-dir"]) else { return };
    let disk = Path::new("/proc").join(server.pid().to_string()).join("root/mnt");
    let fill = disk.join("fill");
    let mut file = File::create(&fill).unwrap();
    while file.write_all(&[0; 4096]).is_ok() {}
    let refused = push(&server, "zoo-p2").run();
    let (error, _) = refused.expect_refusal(CACHE);
    assert!(error.contains("No space left") && error.ends_with("; generation 1 serves"), "{error}");
    assert_eq!(server.get("/").text(), "hello from wasm\n");
    drop(file);
    fs::remove_file(fill).unwrap();
    push(&server, "zoo-p2").run().expect_code(0);
}

#[test]
fn a_disk_that_is_full_costs_the_history_and_nothing_else() {
    let Some(server) = on_small_disk(["--state-dir"]) else { return };
    let disk = Path::new("/proc").join(server.pid().to_string()).join("root/mnt");
    let fill = disk.join("fill");
    let mut file = File::create(&fill).unwrap();
    while file.write_all(&[0; 4096]).is_ok() {}
    push(&server, "zoo-p2").run().expect_code(0).expect_stdout("generation 2 serves");
    server.wait_for_stderr("zoo-p2.wasm`: No space left");
    server.wait_for_stderr("failed to write the history down: No space left");
    push(&server, "hello-p3").run().expect_code(0);
    let refused = server.command(["rollback", "2"]).run();
    assert!(refused.expect_refusal(REJECTED).0.starts_with("the component of generation 2 is gone: "));
    drop(file);
    fs::remove_file(fill).unwrap();
    push(&server, "zoo-p3").run().expect_code(0);
    server.command(["rollback", "4"]).run().expect_code(0).expect_stdout("generation 4 serves this already");
}

/// A server of one worker with a disk of its own in the place that a flag names. None, having said so, where we may not
/// mount one.
fn on_small_disk<const N: usize>(flags: [&str; N]) -> Option<Server> {
    let namespaces: &[&str] =
        if geteuid().is_root() { &["--mount"] } else { &["--user", "--map-root-user", "--mount"] };
    let mount = "mount -t tmpfs -o size=8m,mode=700 none /mnt";
    let tried = Command::new("unshare").args(namespaces).args(["sh", "-c", mount]).output();
    if !tried.is_ok_and(|tried| tried.status.success()) {
        eprintln!("skipped: a disk cannot be mounted here");
        return None;
    }
    let mut unshare = Command::new("unshare");
    unshare.args(namespaces).args(["sh", "-c", &format!("{mount} && exec \"$0\" \"$@\"")]);
    let program = Program::through(unshare).args([binary(), "serve"]);
    let program = program.arg(component("hello-p2")).args(flags.into_iter().flat_map(|flag| [flag, "/mnt"]));
    Some(Starting::of(program.args(["--addr", "127.0.0.1:0", "--instances", "1", "--bake", "0s"])).start())
}

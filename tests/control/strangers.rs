//! Who and what else comes to a control socket, or stands where one should be.

use std::fs::{self, Permissions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::thread;

use nix::unistd::geteuid;

use super::{Apps, json};
use crate::support::{PATIENCE, Program, Server, program};

const NOBODY: u32 = 65534;

/// try: something else that listens where an app should | said not to answer | an app takes the name afterwards
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

/// try: garbage, a message of 4 GB, half a push at the control socket | closed, no line in the log | others are served
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
    assert_eq!(server.said(), 1, "{}", server.explain());
}

/// try: 64 connections to it that say nothing or half | the first is closed in time | others are served
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

/// try: a stop by another user who has got at the socket | closed, and the user is named in the log | others are served
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

/// try: reaching the control socket as another user | 0700 around it, 0600 on it | not looked at
#[test]
fn nobody_else_can_look_into_the_directory() {
    let server = Server::of("hello-p2").instances(1).start();
    let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(server.run_dir()), 0o700);
    assert_eq!(mode(server.run_dir().join("hello-p2")), 0o700);
    assert_eq!(mode(server.run_dir().join("hello-p2/control.sock")), 0o600);
}

/// try: a run directory of another user, open to others, a symbolic link | refused, exit code 8 | the link's target is as it was
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

//! Programs that do not take over, and why; the old one goes on as if nothing had been.

use std::fs;

use super::{FAILED, YES, hello, install, install_anew, program, upgrade};
use crate::support::{Server, component, eventually, open_files};

#[test]
fn what_is_no_program_leaves_the_old_one_running() {
    let server = hello(2).start();
    let workers = server.workers();
    let real = fs::read(program(&server)).unwrap();
    let half = String::from_utf8_lossy(&real[..64]).into_owned();
    let cases = [
        ("no program\n", "cannot be executed: "),
        (&half, "cannot be executed: "),
        ("#!/bin/sh\nexit 3\n", "cannot take over: it ended with exit status: 3 and no answer"),
        ("#!/bin/sh\necho hello\n", "cannot take over: it ended with exit status: 0 and no answer"),
        ("#!/bin/sh\necho error: no such library >&2\nexit 127\n", "cannot take over: no such library"),
        ("#!/bin/sh\nkill -SEGV $$\n", "cannot take over: it ended with signal: 11"),
        (&format!("#!/bin/sh\necho {YES}\nexit 1\n"), "and no answer"),
    ];
    for (content, reason) in cases {
        install(&server, content);
        let refused = upgrade(&server);
        refused.expect_code(FAILED).expect_stderr(reason).expect_stderr("goes on");
        server.wait_for_stderr("no upgrade: ");
        assert_eq!(server.workers(), workers);
        assert_eq!(server.get("/").text(), "hello from wasm\n");
    }
    fs::remove_file(program(&server)).unwrap();
    upgrade(&server).expect_code(FAILED).expect_stderr("bin/wasmcluster` cannot be looked at: No such file");
    fs::create_dir(program(&server)).unwrap();
    upgrade(&server).expect_code(FAILED).expect_stderr("cannot be executed: Permission denied");
    assert_eq!(server.workers(), workers);
    server.stop();
}

/// Whoever writes it may be about to close it, and nobody is to be sent away for that.
#[test]
fn a_program_that_is_still_being_written_is_waited_for_a_little() {
    let server = hello(1).start();
    install_anew(&server);
    let open = fs::OpenOptions::new().append(true).open(program(&server)).unwrap();
    upgrade(&server).expect_code(FAILED).expect_stderr("bin/wasmcluster` is still being written");
    let upgrading = server.command(["upgrade"]).start();
    drop(open);
    upgrading.wait().expect_code(0).expect_stdout("generation 2 serves");
    server.stop();
}

/// It would go on, says the program, and then it cannot. The old one goes on with what it had left already.
#[test]
fn a_program_that_cannot_be_executed_after_all_is_taken_back() {
    let server = hello(2).start();
    let workers = server.workers();
    let following = server.command(["logs", "-f", "-n", "0"]).start();
    install(&server, &format!("#!/bin/sh\necho {YES}\nchmod -x \"$0\"\n"));
    let refused = upgrade(&server);
    refused.expect_code(FAILED).expect_stderr("cannot be executed: ").expect_stderr("goes on");
    install(&server, &format!("#!/bin/sh\necho {YES}\necho >> \"$0\"\n"));
    upgrade(&server).expect_code(FAILED).expect_stderr("was replaced once more");
    assert_eq!(server.workers(), workers);
    assert_eq!(server.get("/").text(), "hello from wasm\n");
    server.command(["push"]).arg(component("zoo-p2")).run().expect_code(0);
    assert_eq!(server.get("/").text(), "hello from the zoo\n");
    server.stop();
    following.wait().expect_stdout("no upgrade: ").expect_stdout("every slot serves generation 2");
}

/// It would go on, says the program, and is executed; and only then something is in the way.
#[test]
fn a_program_that_cannot_go_on_after_all_gives_everything_back() {
    for (variable, reason) in [
        ("WASMCLUSTER_CACHE_DIR=/proc/none", "failed to open the cache directory"),
        ("WASMCLUSTER_BAKE=never", "invalid value"),
    ] {
        let server = Server::installed("hello-p2").instances(2).start();
        let workers = server.workers();
        let real = install(&server, "");
        let real = real.display();
        let script = format!(
            "#!/bin/sh\nif [ \"$1\" = __trial ]; then exec {real} \"$@\"; fi\n{variable} exec {real} \"$@\"\n"
        );
        install(&server, &script);
        upgrade(&server).expect_code(FAILED).expect_stderr(reason).expect_stderr("goes on");
        assert_eq!(server.workers(), workers);
        assert_eq!(server.get("/").text(), "hello from wasm\n");
        server.stop();
    }
}

/// What is reloaded, pushed and watched stays so, although another program was to go on.
#[test]
fn an_upgrade_that_fails_changes_nothing() {
    let file = "bake = \"0s\"\n";
    let server = Server::installed("zoo-p2").file("wasmcluster.toml", file).instances(1).start();
    let toml = server.place().join("work/wasmcluster.toml");
    fs::write(&toml, format!("{file}env = [\"COLOUR=green\"]\n")).unwrap();
    server.command(["reload"]).run().expect_code(0);
    // A key that only the other version knows.
    fs::write(&toml, format!("{file}colour = \"green\"\n")).unwrap();
    let script = format!("#!/bin/sh\nif [ \"$1\" = __trial ]; then echo {YES}; exit; fi\n");
    let real = install(&server, &script);
    let ends: [&str; 2] = ["chmod -x \"$0\"", &format!("exec {} \"$@\"", real.display())];
    for (number, end) in ends.into_iter().enumerate() {
        let begin = if number == 0 { format!("#!/bin/sh\necho {YES}\n") } else { script.clone() };
        install(&server, &format!("{begin}{end}\n"));
        upgrade(&server).expect_code(FAILED).expect_stderr("goes on");
        server.command(["push"]).arg(component("hello-p2")).run().expect_code(0);
        server.command(["push"]).arg(component("zoo-p2")).run().expect_code(0);
        assert!(server.get("/env").text().contains("COLOUR=green\n"), "{number}");
    }
    let name = fs::read_to_string(format!("/proc/{}/comm", server.pid())).unwrap();
    assert_eq!(name, "wasmcluster\n");
    server.stop();
}

/// A shell that waits for the program is a parent of the program, and would be one of our workers.
#[test]
fn a_program_that_starts_another_one_is_refused() {
    let server = hello(1).start();
    let real = install(&server, "");
    install(&server, &format!("#!/bin/sh\n{} \"$@\"\n", real.display()));
    upgrade(&server).expect_code(FAILED).expect_stderr("it starts another process that would");
    install(&server, "#!/bin/sh\nyes\n");
    upgrade(&server).expect_code(FAILED).expect_stderr("goes on");
    server.stop();
}

#[test]
fn a_file_that_cannot_be_watched_any_more_is_no_reason_to_go() {
    let server = Server::installed_file("dir/app.wasm").instances(1);
    let server = server.args(["--watch", "--bake", "0s"]);
    let server =
        server.directory("dir").file("dir/app.wasm", fs::read(component("hello-p2")).unwrap()).start();
    fs::remove_dir_all(server.place().join("work/dir")).unwrap();
    upgrade(&server).expect_code(FAILED).expect_stderr("cannot take over: failed to watch");
    install(&server, &format!("#!/bin/sh\necho {YES}\nchmod -x \"$0\"\n"));
    upgrade(&server).expect_code(FAILED).expect_stderr("cannot be executed");
    assert_eq!(server.get("/").text(), "hello from wasm\n");
    server.wait_for_stderr("`dir/app.wasm` is not watched any more: No such file or directory");
    // And it is again, once there is something to watch.
    let file = server.place().join("work/dir/app.wasm");
    fs::create_dir(file.parent().unwrap()).unwrap();
    fs::write(&file, fs::read(component("hello-p2")).unwrap()).unwrap();
    server.command(["reload"]).run().expect_code(0);
    fs::write(&file, fs::read(component("zoo-p2")).unwrap()).unwrap();
    eventually("what was written", || (server.get("/").text() == "hello from the zoo\n").then_some(()));
    server.stop();
}

#[test]
fn a_configuration_that_is_wrong_by_now_is_no_reason_to_go() {
    let server = Server::installed("zoo-p2").file("wasmcluster.toml", "bake = \"0s\"\n").start();
    let file = server.place().join("work/wasmcluster.toml");
    fs::write(&file, "bake = \"soon\"\n").unwrap();
    let refused = upgrade(&server);
    refused
        .expect_code(FAILED)
        .expect_stderr("cannot take over: invalid value `soon` for `bake` (`wasmcluster.toml`, line 1)");
    fs::write(&file, "bake = \"0s\"\nenv = [\"COLOUR=green\"]\n").unwrap();
    upgrade(&server).expect_code(0);
    assert!(server.get("/env").text().contains("COLOUR=green\n"));
}

/// It would go on, says the program; and what it was to go on with is its end. It is shown that before it gets it.
#[test]
fn a_program_that_breaks_down_over_what_it_is_left_does_not_get_it() {
    let server = hello(2).start();
    let workers = server.workers();
    let following = server.command(["logs", "-f", "-n", "0"]).start();
    let real = install(&server, "");
    for (end, reason) in [
        ("kill -SEGV $$", "cannot take over: it ended with signal: 11"),
        ("echo error: out of patience >&2; exit 1", "cannot take over: out of patience"),
        (
            "exec 9</dev/null; export WASMCLUSTER_ESTATE=$PPID:9",
            "failed to read what the version before this one",
        ),
        ("ulimit -n 60", "cannot take over: "),
    ] {
        let shown = "[ -n \"$WASMCLUSTER_ESTATE\" ]";
        install(&server, &format!("#!/bin/sh\nif {shown}; then {end}; fi\nexec {} \"$@\"\n", real.display()));
        upgrade(&server).expect_code(FAILED).expect_stderr(reason).expect_stderr("goes on");
        assert_eq!(server.workers(), workers);
        assert_eq!(server.get("/").text(), "hello from wasm\n");
    }
    // Nor has anything of it piled up.
    let open = open_files(server.pid());
    upgrade(&server).expect_code(FAILED);
    assert_eq!(open_files(server.pid()), open);
    assert!(server.run_dir().join("hello-p2/control.sock").exists());
    server.command(["push"]).arg(component("zoo-p2")).run().expect_code(0);
    server.stop();
    following.wait().expect_stdout("no upgrade: ").expect_stdout("every slot serves generation 2");
}

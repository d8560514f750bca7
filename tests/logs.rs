//! `wasmcluster logs`: what an app said, and what it goes on to say.

use nix::sys::signal::Signal::{SIGCONT, SIGSTOP};
use serde_json::Value;

use crate::support::{PATIENCE, Program, Server, binary, children, component, eventually, signal};

/// What a guest is asked to write: each line has this many bytes, its end included.
const LINE: usize = 64;

#[test]
fn logs_are_what_the_app_said() {
    let server = Server::of("zoo-p2").instances(1).start();
    server.get("/log?lines=2&bytes=8");
    server.get("/log?lines=1&bytes=8&stream=stderr");
    server.wait_for_stdout("slot 0 stdout | ");
    server.wait_for_stderr("slot 0 stderr | ");
    eventually("three lines", || (server.stdout().lines().count() == 2).then_some(()));
    let shown = server.command(["logs"]).run();
    shown.expect_code(0);
    assert_eq!(shown.stderr, "");
    for line in server.stdout().lines().chain(server.stderr().lines()) {
        shown.expect_stdout(&format!("{line}\n"));
    }
    // A record without words, such as what the machine gives, is no line.
    for count in [3, 4] {
        let last = server.command(["logs", "-n", &count.to_string()]).run();
        assert_eq!(last.stdout.lines().count(), count, "{}", last.explain());
    }
    let last = server.command(["logs", "-n", "1"]).run();
    last.expect_code(0);
    assert_eq!(last.stdout.lines().count(), 1, "{}", last.explain());
    assert!(last.stdout.starts_with("slot 0 std"), "{}", last.explain());
    assert_eq!(server.command(["logs", "--lines", "0"]).run().stdout, "");
    server.command(["logs", "-n", "many"]).run().expect_usage("`many`");
}

#[test]
fn logs_are_readable_by_programs() {
    let server = Server::of("zoo-p2").instances(1).start();
    server.get("/log?lines=1&bytes=8");
    server.wait_for_stdout("slot 0 stdout | ");
    let shown = server.command(["logs", "--json"]).run();
    shown.expect_code(0);
    let records: Vec<Value> = shown.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let kinds: Vec<_> = records.iter().filter_map(|record| record["record"].as_str()).collect();
    assert!(
        kinds.contains(&"serving") && kinds.contains(&"cluster") && kinds.contains(&"output"),
        "{kinds:?}"
    );
    let times: Vec<_> = records.iter().filter_map(|record| record["time"].as_str()).collect();
    assert_eq!(times.len(), records.len());
    assert!(times.is_sorted(), "{times:?}");
}

#[test]
fn who_follows_sees_what_happens_until_the_app_ends() {
    let server = Server::of("zoo-p2").instances(1).args(["--bake", "0s"]).start();
    let following = server.command(["logs", "--follow", "--lines", "0"]).start();
    let all = server.command(["logs", "-f"]).start();
    let seen = |text: &str| text.contains("Serving HTTP on").then_some(());
    all.stdout.wait_for(PATIENCE, seen).expect("what was said before");
    server.command(["push"]).arg(component("hello-p2")).run().expect_code(0);
    server.stop().expect_code(0);
    for command in [following, all] {
        let followed = command.wait();
        followed.expect_code(0).expect_stdout("hello-p2.wasm` was pushed\n");
        followed
            .expect_stdout("every slot serves generation 2")
            .expect_stdout("stopping: requests in flight");
    }
}

/// Nobody's log waits for a reader, and no reader is told less than the truth.
#[test]
fn who_reads_too_slowly_misses_lines_and_is_told_how_many() {
    // Guests may print it all: this is about who reads it.
    let server = Server::of("zoo-p2").instances(1).args(["--max-log-lines", "1000000"]).start();
    let slow = server.command(["logs", "-f", "--json", "-n", "0"]).start();
    // Followed from now on.
    eventually("it is heard", || {
        server.get(&format!("/log?lines=1&bytes={LINE}"));
        slow.stdout.text().contains(r#""record":"output""#).then_some(())
    });
    signal(slow.pid(), SIGSTOP);
    for _ in 0..20 {
        server.get(&format!("/log?lines=1000&bytes={LINE}"));
    }
    let seen = server.stdout().lines().count();
    assert!(seen > 0);
    let written = eventually("everything is written", || {
        let lost: u64 = server.stderr().lines().filter_map(lost).sum();
        let lines = server.stdout().lines().count() as u64;
        (lines + lost >= 20_000).then_some(lines)
    });
    assert!(written > 10_000, "{written}");
    signal(slow.pid(), SIGCONT);
    let missed = eventually("the loss is told", || {
        // Each request is one more line that may find room.
        server.get(&format!("/log?lines=1&bytes={LINE}"));
        slow.stdout.text().lines().find_map(missed)
    });
    assert!(missed > 1_000, "{missed}");
    server.stop();
    let text = slow.wait().expect_code(0).stdout.clone();
    let told: u64 = text.lines().filter_map(self::missed).sum();
    assert!(told >= missed && text.lines().count() as u64 + told > 10_000, "{told}");
}

#[test]
fn a_reader_that_leaves_is_no_failure() {
    let server = Server::of("zoo-p2").instances(1).start();
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", "\"$0\" logs -f | head -n 1"]);
    let program = Program::through(shell).args([binary()]);
    let piped = program.run_dir(server.run_dir()).start();
    piped.stdout.wait_for(PATIENCE, |text| text.contains('\n').then_some(())).expect("a line");
    // The pipe breaks at the next thing to be written.
    eventually("the end of the pipe", || {
        server.get("/log?lines=1&bytes=8");
        children(piped.pid()).is_empty().then_some(())
    });
    let finished = piped.wait();
    finished.expect_code(0);
    assert_eq!(
        (finished.stdout.lines().count(), finished.stderr.as_str()),
        (1, ""),
        "{}",
        finished.explain()
    );
}

/// How many records a line says are missing.
fn missed(line: &str) -> Option<u64> {
    let record: Value = serde_json::from_str(line).ok()?;
    (record["record"] == "missed").then(|| record["records"].as_u64())?
}

/// How many lines of guests a line says were lost on their way to the log.
fn lost(line: &str) -> Option<u64> {
    line.split_once(" lines of guests were lost")?.0.parse().ok()
}

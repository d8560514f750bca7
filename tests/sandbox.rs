//! What a worker can still do to the machine once somebody else runs code in it.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::thread;

use nix::libc;
use nix::unistd::geteuid;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};
use serde_json::Value;
use syscalls::Sysno;

use crate::support::{PATIENCE, Server, children, program};

/// What `status` says of it.
fn confinement(server: &Server) -> Value {
    let status: Value = serde_json::from_str(&server.command(["status", "--json"]).run().stdout).unwrap();
    status["confinement"].clone()
}

/// A line of `/proc/PID/task/*/status`, of each thread of a process.
fn of_threads(pid: u32, name: &str) -> Vec<String> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    threads.map(|thread| of_status(&thread.unwrap().path().join("status"), name)).collect()
}

/// A line of such a file.
fn of_status(file: &Path, name: &str) -> String {
    let status = fs::read_to_string(file).unwrap();
    let value = status.lines().find_map(|line| Some(line.strip_prefix(name)?.trim().to_owned()));
    value.expect(name)
}

/// try: a thread that is not confined, a core dump, locked memory | there is none | not looked at
#[test]
fn every_thread_of_a_worker_is_confined() {
    let lent = tempfile::tempdir().unwrap();
    let grant = format!("{}::/lent", lent.path().display());
    let server = Server::of("zoo-p2").instances(1).args(["--dir", &grant]).start();
    // The thread for files begins with the first of them, and the one for ticks with the worker.
    server.get("/list?path=/lent").expect_status(200);
    let worker = server.worker();
    for (name, value) in [("Seccomp:", "2"), ("NoNewPrivs:", "1")] {
        let values = of_threads(worker, name);
        assert!(values.len() > 2 && values.iter().all(|found| found == value), "{name} {values:?}");
    }
    for limit in ["Max core file size", "Max locked memory"] {
        assert_eq!(limits(worker, limit), ["0", "0"], "{limit}");
    }
    // It may write.
    assert_ne!(limits(worker, "Max file size"), ["0", "0"]);
    assert_ne!(confinement(&server), "off");
    let words = server.command(["status"]).run().stdout;
    assert!(words.contains("sandbox of the workers: "), "{words}");
}

/// The soft and the hard one.
fn limits(pid: u32, name: &str) -> [String; 2] {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let line = limits.lines().find_map(|line| line.strip_prefix(name)).expect(name);
    let mut values = line.split_whitespace().map(str::to_owned);
    [values.next().unwrap(), values.next().unwrap()]
}

/// try: writing a file, where no writable directory was lent | the kernel allows none a size | the guest prints and answers
#[test]
fn a_worker_whose_guest_writes_nothing_can_write_no_file() {
    let lent = tempfile::tempdir().unwrap();
    fs::write(lent.path().join("file"), "lent").unwrap();
    let grant = format!("{}::/lent::ro", lent.path().display());
    let server = Server::of("zoo-p2").instances(1).args(["--dir", &grant]).start();
    assert_eq!(limits(server.worker(), "Max file size"), ["0", "0"]);
    // What it prints and answers are no files.
    server.get("/log?lines=2").expect_status(200);
    assert_eq!(server.get("/fs?path=/lent/file").expect_status(200).text(), "lent");
}

/// Of root only those are left that make files of others its own, and only where its guest has some.
/// try: a capability of root that its guest has no use for | there is none | not looked at
#[test]
fn a_worker_has_no_capability_that_its_guest_does_not_need() {
    const OTHERS_FILES: [u64; 2] = [1 << 1, 1 << 3];
    let lent = tempfile::tempdir().unwrap();
    fs::set_permissions(lent.path(), Permissions::from_mode(0o755)).unwrap();
    fs::write(lent.path().join("file"), "lent").unwrap();
    fs::set_permissions(lent.path().join("file"), Permissions::from_mode(0o600)).unwrap();
    // Other threads of the tests come and go.
    let ours = of_status(Path::new("/proc/thread-self/status"), "CapEff:");
    let ours = u64::from_str_radix(&ours, 16).unwrap();
    for path in [lent.path(), &lent.path().join("file")] {
        // Who may not give it away is not root, or root of a few users alone: then it is ours.
        let _ = chown(path, Some(12_345), Some(12_345));
    }
    for (how, kept) in
        [(None, 0), (Some("::ro"), OTHERS_FILES[0]), (Some(""), OTHERS_FILES[0] | OTHERS_FILES[1])]
    {
        let args = how.map(|how| ["--dir".to_owned(), format!("{}::/lent{how}", lent.path().display())]);
        let server = Server::of("zoo-p2").instances(1).args(args.into_iter().flatten()).start();
        if let Some(how) = how {
            assert_eq!(server.get("/fs?path=/lent/file").expect_status(200).text(), "lent");
            let written = server.connect().post("/write?path=/lent/file", "lent");
            written.expect_status(if how.is_empty() { 200 } else { 500 });
        }
        for set in ["CapPrm:", "CapEff:"] {
            let found = of_threads(server.worker(), set);
            let expected = format!("{:016x}", kept & ours);
            assert!(found.iter().all(|found| *found == expected), "{set} {found:?}, not {expected}");
        }
        for set in ["CapInh:", "CapAmb:"] {
            assert_eq!(of_threads(server.worker(), set)[0], "0".repeat(16), "{set}");
        }
        if geteuid().is_root() {
            assert_eq!(of_threads(server.worker(), "CapBnd:")[0], "0".repeat(16));
        }
    }
}

/// One that waits for another one is looked at before it compiles.
/// try: the same in a builder | there is none | not looked at
#[test]
fn a_builder_has_no_capability_at_all() {
    let cache = tempfile::tempdir().unwrap();
    let lock = File::create(cache.path().join("lock")).unwrap();
    lock.lock().unwrap();
    let starting = Server::of("hello-p2").instances(1).arg("--cache-dir").arg(cache.path());
    let running = starting.program().start();
    running.stderr.wait_for(PATIENCE, |text| text.contains("waiting for ").then_some(())).expect("a builder");
    let builder = children(running.pid())[0];
    for set in ["CapPrm:", "CapEff:", "CapInh:"] {
        assert_eq!(of_threads(builder, set)[0], "0".repeat(16), "{set}");
    }
    assert_eq!(of_threads(builder, "NoNewPrivs:")[0], "1");
    drop(lock);
    let serves = |text: &str| text.contains("Serving HTTP").then_some(());
    running.stderr.wait_for(PATIENCE, serves).expect("it serves");
}

#[test]
fn without_a_sandbox_there_is_none() {
    let server = Server::of("zoo-p2").instances(1).args(["--sandbox", "off"]).start();
    assert_eq!(of_threads(server.worker(), "Seccomp:").first().map(String::as_str), Some("0"));
    assert_eq!(confinement(&server), "off");
    let words = server.command(["status"]).run().stdout;
    assert!(words.contains("sandbox of the workers: off\n"), "{words}");
}

/// Does something where the kernel has no Landlock. Children inherit that from the thread that starts them, which they do not
/// outlive.
fn without_landlock(check: impl FnOnce() + Send) {
    let rules = [(i64::from(Sysno::landlock_create_ruleset.id()), Vec::new())].into();
    let missing = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
    let arch = std::env::consts::ARCH.try_into().unwrap();
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, missing, arch).unwrap();
    let filter: BpfProgram = filter.try_into().unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            seccompiler::apply_filter(&filter).unwrap();
            check();
        });
    });
}

/// try: a kernel without Landlock, under `best-effort` | the rest of it, and that is said | not looked at
#[test]
fn a_kernel_without_landlock_is_done_without_and_that_is_said() {
    without_landlock(|| {
        let server = Server::of("hello-p2").instances(1).start();
        let missing = confinement(&server)["partial"]["missing"].clone();
        assert_eq!(missing, serde_json::json!(["Landlock: this kernel does not have it"]));
        server.wait_for_stderr("workers do without a part of their sandbox: Landlock: this kernel does not");
        server.wait_for_stderr("hint: guests are walled in all the same");
        // The rest is there.
        assert_eq!(of_threads(server.worker(), "Seccomp:").first().map(String::as_str), Some("2"));
        server.get("/").expect_status(200);
    });
}

/// try: the same under `required` | refused, exit code 3 | not looked at
#[test]
fn a_sandbox_that_is_required_and_cannot_be_had_is_refused() {
    without_landlock(|| {
        let refused =
            program(["serve", "--instances", "1", "--sandbox", "required", "--addr", "127.0.0.1:0"]).run();
        let why = "the sandbox that is required cannot be had: Landlock: this kernel does not have it";
        assert!(refused.stderr.contains(why), "{}", refused.stderr);
        assert!(refused.stderr.contains("hint: `--sandbox best-effort`"), "{}", refused.stderr);
        assert_eq!(refused.status.code(), Some(3));
    });
}

#[cfg(target_arch = "x86_64")]
mod intruded {
    use std::net::TcpListener;
    use std::process::Command;

    use nix::errno::Errno;
    use nix::fcntl::{Flock, FlockArg};
    use nix::sys::signal::Signal;

    use super::*;
    use crate::support::intruder::{Intruder, Outcome};
    use crate::support::{Program, Starting, binary, component, eventually};

    const REFUSED: Outcome = Outcome::Returned(-(libc::EACCES as i64));
    const HERE: Option<u64> = Some(libc::AT_FDCWD as u64);

    /// As the kernel wants it.
    fn name(path: &str) -> Vec<u8> {
        [path.as_bytes(), b"\0"].concat()
    }

    fn opens(worker: u32, path: &str) -> bool {
        match Intruder::into(worker).call(Sysno::openat, &name(path), &[HERE, None, Some(0)]) {
            REFUSED => false,
            Outcome::Returned(file) if file >= 0 => true,
            other => panic!("{path}: {other:?}"),
        }
    }

    /// try: a system call that serving does not take | the worker ends; the log names the call | the other worker goes on
    #[test]
    fn a_call_that_is_not_its_own_ends_the_worker_alone_and_is_named() {
        let server = Server::of("hello-p2").instances(2).start();
        let [first, second] = server.workers()[..] else { panic!("two workers") };
        let outcome = Intruder::into(first).call(Sysno::getppid, b"", &[]);
        assert_eq!(outcome, Outcome::Ended(Signal::SIGSYS));
        let successors = server.wait_for_workers(2, &[first]);
        assert!(successors.contains(&second), "the other one is gone, too{}", server.explain());
        let number = Sysno::getppid.id();
        let named =
            format!("worker ended by its sandbox: the system call `getppid` ({number}) is not for it");
        server.wait_for_stderr(&named);
        server.get("/").expect_status(200);
    }

    /// try: `execve`, executable memory, a child, `ptrace`, `kill`, `io_uring` | the worker is ended | others are served
    #[test]
    fn what_could_run_other_code_ends_it() {
        let server = Server::of("hello-p2").instances(1).args(["--min-uptime", "0s"]).start();
        let executable = (libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC) as u64;
        let anonymous = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as u64;
        let map = [Some(0), Some(4096), Some(executable), Some(anonymous), Some(u64::MAX), Some(0)];
        type Attempt<'a> = (Sysno, &'a [u8], &'a [Option<u64>]);
        let attempts: [Attempt<'_>; 6] = [
            (Sysno::execve, b"/bin/sh\0", &[None, Some(0), Some(0)]),
            (Sysno::mmap, b"", &map),
            (Sysno::clone, b"", &[Some(libc::SIGCHLD as u64)]),
            (Sysno::ptrace, b"", &[Some(0)]),
            (Sysno::kill, b"", &[Some(u64::from(server.pid())), Some(0)]),
            (Sysno::io_uring_setup, b"", &[Some(1), None]),
        ];
        for (call, data, arguments) in attempts {
            let worker = server.worker();
            let outcome = Intruder::into(worker).call(call, data, arguments);
            assert_eq!(outcome, Outcome::Ended(Signal::SIGSYS), "{call}");
            server.wait_for_workers(1, &[worker]);
        }
        server.get("/").expect_status(200);
    }

    /// try: executable memory under `--allow-outbound` | `EACCES` | nobody
    #[test]
    fn a_resolver_that_wants_a_library_does_without() {
        let server = Server::of("zoo-p2").instances(1).args(["--allow-outbound", "localhost"]).start();
        let executable = Some((libc::PROT_READ | libc::PROT_EXEC) as u64);
        let anonymous = Some((libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as u64);
        let map = [Some(0), Some(4096), executable, anonymous, Some(u64::MAX), Some(0)];
        let worker = server.worker();
        assert_eq!(Intruder::into(worker).call(Sysno::mmap, b"", &map), REFUSED);
        server.get("/").expect_status(200);
        assert_eq!(server.worker(), worker);
    }

    /// Which the resolver reads again when it has changed.
    #[test]
    fn name_servers_that_are_replaced_are_found() {
        const PLACE: &str = "/run/systemd/resolve";
        let place = format!(
            "mount -t tmpfs none /run && mkdir -p {PLACE} && echo nameserver 127.0.0.1 >{PLACE}/resolv.conf && \
             {{ cp -R /etc /run/etc 2>/dev/null; ln -sf {PLACE}/resolv.conf /run/etc/resolv.conf; }} && \
             mount --bind /run/etc /etc && exec \"$0\" \"$@\""
        );
        let apart = ["unshare", "--mount", "sh", "-c", &place];
        let tried = Command::new(apart[0]).args([apart[1], "mount", "-t", "tmpfs", "none", "/run"]).status();
        if !tried.is_ok_and(|status| status.success()) {
            eprintln!("skipped: no name space for mounts can be had");
            return;
        }
        let mut command = Command::new(apart[0]);
        command.args(&apart[1..]);
        let program = Program::through(command).arg(binary()).arg("serve").arg(component("zoo-p2"));
        let program = program.args(["--addr", "127.0.0.1:0", "-i", "1", "--allow-outbound", "localhost"]);
        let server = Starting::of(program).start();
        assert!(opens(server.worker(), "/etc/resolv.conf"));
        let there = format!("/proc/{}/root{PLACE}", server.pid());
        fs::write(format!("{there}/new"), "nameserver 127.0.0.2\n").unwrap();
        fs::rename(format!("{there}/new"), format!("{there}/resolv.conf")).unwrap();
        assert!(opens(server.worker(), "/etc/resolv.conf"));
        if confinement(&server) == "full" {
            assert!(!opens(server.worker(), "/etc/passwd"));
        }
    }

    /// try: opening `/etc/passwd`, `execve`, a socket, `kill`, by who compiles a component | `EACCES` or `EPERM` | nobody
    #[test]
    fn a_builder_sees_nothing_but_what_it_writes_to() {
        let cache = tempfile::tempdir().unwrap();
        let lock = File::create(cache.path().join("lock")).unwrap();
        // It waits for whoever compiles already.
        let lock = Flock::lock(lock, FlockArg::LockExclusive).unwrap();
        let program = program(["serve".as_ref(), component("hello-p2").as_os_str()]);
        let program =
            program.args(["--addr", "127.0.0.1:0", "-i", "1", "--sandbox", "required", "--cache-dir"]);
        let running = program.arg(cache.path()).start();
        let builder = eventually("a builder", || children(running.pid()).first().copied());
        let intruder = Intruder::while_in(Sysno::flock, builder);
        let open = |path: &str| intruder.call(Sysno::openat, &name(path), &[HERE, None, Some(0)]);
        for path in ["/etc/passwd", "/proc/self/mem", "."] {
            assert_eq!(open(path), REFUSED, "{path}");
        }
        let its_own = cache.path().join("lock");
        assert!(matches!(open(its_own.to_str().unwrap()), Outcome::Returned(0..)));
        let refused = Outcome::Returned(-(libc::EPERM as i64));
        let supervisor = u64::from(running.pid());
        assert_eq!(intruder.call(Sysno::execve, b"/bin/sh\0", &[None, Some(0), Some(0)]), refused);
        let stream = [Some(libc::AF_INET as u64), Some(libc::SOCK_STREAM as u64)];
        assert_eq!(intruder.call(Sysno::socket, b"", &stream), refused);
        assert_eq!(intruder.call(Sysno::kill, b"", &[Some(supervisor), Some(0)]), refused);
        drop((intruder, lock));
        let serves = |text: &str| text.contains("Serving HTTP").then_some(());
        assert!(running.stderr.wait_for(PATIENCE, serves).is_some(), "{}", running.explain());
    }

    /// Its runtime waits for events, and cannot do without.
    #[test]
    fn a_panic_is_told_and_no_offence() {
        let server = Server::of("hello-p2").instances(1).env("RUST_BACKTRACE", "1").start();
        let worker = server.worker();
        Intruder::into(worker).fail(Errno::EBADF);
        server.wait_for_workers(1, &[worker]);
        server.wait_for_stderr(&format!("slot 0 (pid {worker}): ended with exit code 101"));
        server.wait_for_stderr("panicked at ");
        server.wait_for_stderr("unexpected error when polling the I/O driver");
        server.wait_for_stderr("stack backtrace:");
        assert!(!server.stderr().contains("ended by its sandbox"), "{}", server.explain());
        server.get("/").expect_status(200);
    }

    /// try: an event that becomes a signal for the supervisor | `EACCES` | not looked at
    #[test]
    fn no_event_is_made_a_signal_for_somebody() {
        let server = Server::of("hello-p2").instances(1).start();
        let (worker, supervisor) = (server.worker(), u64::from(server.pid()));
        const F_SETSIG: i32 = 10;
        const F_SETOWN_EX: i32 = 15;
        for command in [libc::F_SETOWN, F_SETSIG, F_SETOWN_EX, libc::F_SETLEASE, libc::F_NOTIFY] {
            let arguments = [Some(0), Some(command as u64), Some(supervisor)];
            assert_eq!(Intruder::into(worker).call(Sysno::fcntl, b"", &arguments), REFUSED, "{command}");
        }
        // Others are its own.
        let flags = [Some(0), Some(libc::F_GETFL as u64)];
        let Outcome::Returned(flags) = Intruder::into(worker).call(Sysno::fcntl, b"", &flags) else {
            panic!("it ended")
        };
        assert!(flags >= 0, "{flags}");
    }

    /// try: opening `/etc/passwd`, `/proc/self/mem`, `/dev/null`, `.` | `EACCES` | not looked at
    /// try: the same, and writing to what is read-only, under `--dir` | `EACCES`, with all of Landlock | not looked at
    #[test]
    fn no_file_is_opened_but_what_was_granted() {
        let server = Server::of("hello-p2").instances(1).start();
        for path in ["/etc/passwd", "/proc/self/mem", "/dev/null", "."] {
            assert!(!opens(server.worker(), path), "{path}");
        }
        let lent = tempfile::tempdir().unwrap();
        fs::write(lent.path().join("file"), "lent").unwrap();
        let grant = format!("{}::/lent::ro", lent.path().display());
        let server = Server::of("zoo-p2").instances(1).args(["--dir", &grant]).start();
        assert_eq!(server.get("/fs?path=/lent/file").expect_status(200).text(), "lent");
        let inside = lent.path().join("file");
        assert!(opens(server.worker(), inside.to_str().unwrap()));
        if confinement(&server) == "full" {
            assert!(!opens(server.worker(), "/etc/passwd"));
            let write = [HERE, None, Some(libc::O_WRONLY as u64)];
            let inside = name(inside.to_str().unwrap());
            assert_eq!(Intruder::into(server.worker()).call(Sysno::openat, &inside, &write), REFUSED);
        }
        // To show that this test would see it.
        let server = Server::of("hello-p2").instances(1).args(["--sandbox", "off"]).start();
        assert!(opens(server.worker(), "/etc/passwd"));
    }

    /// try: a TCP socket without `--allow-outbound` | `EACCES` | not looked at
    /// try: with it a unix or raw socket, MPTCP, TCP fast open, a datagram pair | `EACCES` | not looked at
    /// try: with it a TCP port that was not granted | `EACCES`, with all of Landlock | not looked at
    #[test]
    fn no_connection_is_made_but_where_that_was_granted() {
        let [internet, stream] = [libc::AF_INET, libc::SOCK_STREAM].map(|constant| Some(constant as u64));
        let server = Server::of("hello-p2").instances(1).start();
        let socket = |server: &Server, family, kind| {
            Intruder::into(server.worker()).call(Sysno::socket, b"", &[family, kind, Some(0)])
        };
        assert_eq!(socket(&server, internet, stream), REFUSED);

        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        let granted = TcpListener::bind("127.0.0.1:0").unwrap();
        let rule = granted.local_addr().unwrap().to_string();
        let server = Server::of("zoo-p2").instances(1).args(["--allow-outbound", &rule]).start();
        for (family, kind) in [(libc::AF_UNIX, libc::SOCK_STREAM), (libc::AF_INET, libc::SOCK_RAW)] {
            assert_eq!(socket(&server, Some(family as u64), Some(kind as u64)), REFUSED);
        }
        // Where Landlock does not look: another protocol, a message that connects, a socket that needs no `connect`.
        let detours: [(Sysno, [i32; 4]); 3] = [
            (Sysno::socket, [libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_MPTCP, 0]),
            (Sysno::sendto, [0, 0, 0, libc::MSG_FASTOPEN]),
            (Sysno::socketpair, [libc::AF_UNIX, libc::SOCK_DGRAM, 0, 0]),
        ];
        for (call, arguments) in detours {
            let arguments = arguments.map(|argument| Some(argument as u64));
            assert_eq!(Intruder::into(server.worker()).call(call, b"", &arguments), REFUSED, "{call}");
        }
        let Outcome::Returned(fd) = socket(&server, internet, stream) else { panic!("not made") };
        assert!(fd >= 0, "{fd}");
        let connect = |listener: &TcpListener| {
            let port = listener.local_addr().unwrap().port();
            // `struct sockaddr_in`.
            let family = u16::try_from(libc::AF_INET).unwrap().to_ne_bytes();
            let address = [&family[..], &port.to_be_bytes(), &[127, 0, 0, 1], &[0; 8]].concat();
            let arguments = [Some(fd.unsigned_abs()), None, Some(16)];
            Intruder::into(server.worker()).call(Sysno::connect, &address, &arguments)
        };
        if confinement(&server) == "full" {
            assert_eq!(connect(&other), REFUSED);
        }
        assert_eq!(connect(&granted), Outcome::Returned(0));
    }
}

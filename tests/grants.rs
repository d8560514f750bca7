//! What a guest gets: what it was granted, and nothing else.
//!
//! No request in here leaves the machine: what is allowed is on the loopback, and the rest is denied before a packet is
//! sent.

mod resolved;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::thread;

use tempfile::TempDir;

use crate::support::{Elsewhere, Response, Server};

/// try: reading a secret from the environment of the host | slot, generation and pid, and nothing else | not looked at
#[test]
fn the_environment_is_empty_but_for_where_the_guest_runs() {
    for zoo in ["zoo-p2", "zoo-p3"] {
        let server = Server::of(zoo).instances(1).env("SECRET_OF_THE_HOST", "1").start();
        let expected =
            format!("WASMCLUSTER_GENERATION=1\nWASMCLUSTER_PID={}\nWASMCLUSTER_SLOT=0\n", server.worker());
        assert_eq!(server.get("/env").expect_status(200).text(), expected);
    }
}

/// try: reading a variable beside those that were granted | it is not there | not looked at
#[test]
fn variables_are_granted_one_by_one() {
    for zoo in ["zoo-p2", "zoo-p3"] {
        let server = Server::of(zoo)
            .instances(1)
            .env("PASSED_ON", "from outside")
            .env("NOT_PASSED_ON", "secret")
            .args(["--env", "GREETING=hello = world", "--env", "EMPTY=", "--env", "PASSED_ON"])
            .start();
        let answer = server.get("/env").expect_status(200);
        let lines: Vec<_> = answer.text().lines().filter(|line| !line.starts_with("WASMCLUSTER_")).collect();
        assert_eq!(lines, ["EMPTY=", "GREETING=hello = world", "PASSED_ON=from outside"]);
    }
}

#[test]
fn variables_of_files_count_less_than_others_and_are_read_again() {
    for zoo in ["zoo-p2", "zoo-p3"] {
        let server = Server::of(zoo)
            .instances(1)
            .file("first.env", "# a comment\nA=1\nexport B='two words'\nC=3\n")
            .file("second.env", "B=2\n")
            .args(["--env-file", "first.env", "--env-file", "second.env", "--env", "C=4", "--bake", "0s"])
            .start();
        let variables = || {
            let answer = server.get("/env").expect_status(200).text().to_owned();
            answer
                .lines()
                .filter(|line| !line.starts_with("WASMCLUSTER_"))
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        assert_eq!(variables(), ["A=1", "B=2", "C=4"]);
        fs::write(server.place().join("work/second.env"), "B=new").unwrap();
        server.command(["reload"]).run().expect_code(0);
        assert_eq!(variables(), ["A=1", "B=new", "C=4"]);
        fs::write(server.place().join("work/second.env"), "no assignment\n").unwrap();
        let refused = server.command(["reload"]).run();
        refused
            .expect_code(2)
            .expect_stderr("`second.env` has a line that is not `NAME=value`: `no assignment`");
        assert_eq!(variables(), ["A=1", "B=new", "C=4"]);
    }
}

#[test]
fn there_are_no_arguments() {
    Server::of_both_zoos(&[], |server| {
        assert_eq!(server.get("/args").expect_status(200).text(), "");
    });
}

/// try: a key of the configuration that was not granted | not set | not looked at
#[test]
fn configuration_is_granted_one_by_one() {
    Server::of_both_zoos(&["--config-var", "colour=blue=green", "--config-var", "empty="], |server| {
        assert_eq!(server.get("/config?key=colour").expect_status(200).text(), "blue=green\n");
        assert_eq!(server.get("/config?key=empty").expect_status(200).text(), "\n");
        for key in ["other", "", "WASMCLUSTER_SLOT", "HOME"] {
            server.get(&format!("/config?key={key}")).expect_status(404);
        }
    });
}

#[test]
fn clocks_and_chance_are_real() {
    Server::of_both_zoos(&["--max-instance-reuse-count", "1"], |server| {
        assert_ne!(server.get("/clock").expect_status(200).text(), server.get("/clock").text());
        let [first, second] = [(); 2].map(|()| server.get("/random").expect_status(200).text().to_owned());
        for (first, second) in first.lines().zip(second.lines()) {
            assert_ne!(first, second, "the same for two instances");
        }
    });
}

/// A directory to lend, with a secret beside it.
struct Lent {
    place: TempDir,
}

impl Lent {
    fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        fs::create_dir_all(place.path().join("lent/below")).unwrap();
        fs::write(place.path().join("lent/file"), "lent").unwrap();
        fs::write(place.path().join("lent/below/file"), "lent, too").unwrap();
        fs::write(place.path().join("secret"), "secret").unwrap();
        Self { place }
    }

    fn path(&self) -> PathBuf {
        self.place.path().join("lent")
    }

    /// The value of `--dir`.
    fn as_data(&self, how: &str) -> String {
        format!("{}::/data{how}", self.path().display())
    }

    fn secret(&self) -> PathBuf {
        self.place.path().join("secret")
    }
}

#[track_caller]
fn expect_denied(answer: Response) {
    let answer = answer.expect_status(500);
    assert!(answer.text().starts_with("error: "), "{}", answer.text());
    assert!(!answer.text().contains("secret"), "{}", answer.text());
}

#[test]
fn a_lent_directory_can_be_read_and_written() {
    for zoo in ["zoo-p2", "zoo-p3"] {
        let lent = Lent::new();
        let server = Server::of(zoo).instances(1).args(["--dir", &lent.as_data("")]).start();
        assert_eq!(server.get("/fs?path=/data/file").expect_status(200).text(), "lent");
        assert_eq!(server.get("/fs?path=/data/below/file").expect_status(200).text(), "lent, too");
        assert_eq!(server.get("/fs?path=/data/below/../file").expect_status(200).text(), "lent");
        assert_eq!(server.get("/list?path=/data").expect_status(200).text(), "below\nfile\n");
        let written = server.connect().post("/write?path=/data/new", "written by the guest");
        assert_eq!(written.expect_status(200).text(), "wrote 20 bytes\n");
        assert_eq!(fs::read_to_string(lent.path().join("new")).unwrap(), "written by the guest");
        // What changes on the host is seen.
        fs::write(lent.path().join("file"), "changed").unwrap();
        assert_eq!(server.get("/fs?path=/data/file").expect_status(200).text(), "changed");
    }
}

/// try: writing to a directory lent for reading | an error | the directory is as it was
#[test]
fn a_directory_lent_for_reading_cannot_be_written() {
    for zoo in ["zoo-p2", "zoo-p3"] {
        let lent = Lent::new();
        let server = Server::of(zoo).instances(1).args(["--dir", &lent.as_data("::ro")]).start();
        assert_eq!(server.get("/fs?path=/data/file").expect_status(200).text(), "lent");
        assert_eq!(server.get("/list?path=/data").expect_status(200).text(), "below\nfile\n");
        for path in ["file", "new", "below/file", "below/new"] {
            expect_denied(server.connect().post(&format!("/write?path=/data/{path}"), "x"));
        }
        assert_eq!(fs::read_to_string(lent.path().join("file")).unwrap(), "lent");
        assert_eq!(fs::read_dir(lent.path()).unwrap().count(), 2);
        assert_eq!(fs::read_dir(lent.path().join("below")).unwrap().count(), 1);
    }
}

/// try: the same beside one lent for writing | an error | not looked at
#[test]
fn directories_are_lent_side_by_side() {
    for zoo in ["zoo-p2", "zoo-p3"] {
        let (left, right) = (Lent::new(), Lent::new());
        fs::write(right.path().join("file"), "right").unwrap();
        let server = Server::of(zoo)
            .instances(1)
            .args(["--dir", &format!("{}::/left", left.path().display())])
            .args(["--dir", &format!("{}::/right::ro", right.path().display())])
            .start();
        assert_eq!(server.get("/fs?path=/left/file").expect_status(200).text(), "lent");
        assert_eq!(server.get("/fs?path=/right/file").expect_status(200).text(), "right");
        server.connect().post("/write?path=/left/new", "x").expect_status(200);
        expect_denied(server.connect().post("/write?path=/right/new", "x"));
    }
}

/// Tries to get at `secret` by every way out of `/data`.
#[track_caller]
fn expect_no_way_out(server: &Server, secret: &Path) {
    let outside = secret.display().to_string();
    for path in [
        outside.as_str(),
        "/data/../secret",
        "/data/below/../../secret",
        "/data/./.././secret",
        "/data//../secret",
        "/data/absolute",
        "/data/relative",
        "/data/up/secret",
        "/data/root/etc/passwd",
        "/data/below/chain",
        "/data/self/environ",
        "../secret",
        "secret",
        "/etc/passwd",
        "/proc/self/environ",
        "/proc/self/cwd/secret",
        "",
    ] {
        expect_denied(server.get(&format!("/fs?path={path}")));
        expect_denied(server.connect().post(&format!("/write?path={path}"), "overwritten"));
    }
    for path in ["/", "/data/..", "/data/up", "/data/root", "/data/self", "/etc", "..", "."] {
        expect_denied(server.get(&format!("/list?path={path}")));
    }
    assert_eq!(fs::read_to_string(secret).unwrap(), "secret");
}

/// try: `..`, absolute paths, links to `/`, `..`, `/proc/self`, a chain of them | an error | the file outside is as it was
#[test]
fn nothing_leads_out_of_a_lent_directory() {
    for zoo in ["zoo-p2", "zoo-p3"] {
        let lent = Lent::new();
        for (link, target) in [
            ("absolute", lent.secret().as_path()),
            ("relative", Path::new("../secret")),
            ("up", Path::new("..")),
            ("root", Path::new("/")),
            ("below/chain", Path::new("../relative")),
            ("self", Path::new("/proc/self")),
            ("within", Path::new("below/file")),
        ] {
            symlink(target, lent.path().join(link)).unwrap();
        }
        let server = Server::of(zoo).instances(1).args(["--dir", &lent.as_data("")]).start();
        assert_eq!(server.get("/fs?path=/data/within").expect_status(200).text(), "lent, too");
        expect_no_way_out(&server, &lent.secret());
        // Not even to a place that does not exist yet.
        symlink("../planted", lent.path().join("dangling")).unwrap();
        expect_denied(server.connect().post("/write?path=/data/dangling", "x"));
        assert!(!lent.secret().with_file_name("planted").exists());
    }
}

/// try: the same without `--dir` | an error | the file outside is as it was
#[test]
fn without_a_lent_directory_there_are_no_files() {
    Server::of_both_zoos(&[], |server| {
        let lent = Lent::new();
        expect_no_way_out(server, &lent.secret());
    });
}

/// Fails unless the guest gets `error` for `url`, and the log one line that names `host` and the flag that allows it.
#[track_caller]
fn expect_outbound_denied(server: &Server, url: &str, error: &str, host: &str) {
    let answer = server.get(&format!("/outbound?url={url}")).expect_status(502);
    assert!(answer.text().contains(error), "{url}: {}", answer.text());
    let line = server.wait_for_stderr(&format!("the guest asked for `{host}`"));
    let hint = format!("hint: grant it with `--allow-outbound {host}`");
    server.wait_for_stderr(&hint);
    let stderr = server.stderr();
    let count = stderr.lines().filter(|line| line.contains(&format!("asked for `{host}`"))).count();
    assert_eq!(count, 1, "{line}{}", server.explain());
}

/// try: 127.0.0.1, `localhost`, `[::1]`, 169.254.169.254, a name | denied, one line in the log | 127.0.0.1 has no connection
#[test]
fn outgoing_requests_are_denied_unless_granted() {
    let elsewhere = Elsewhere::start();
    Server::of_both_zoos(&[], |server| {
        let own = elsewhere.addr.to_string();
        for (url, host) in [
            (format!("http://{own}/"), own.as_str()),
            ("http://example.invalid/".into(), "example.invalid:80"),
            ("https://example.invalid/".into(), "example.invalid:443"),
            ("http://localhost:1/".into(), "localhost:1"),
            ("http://[::1]:1/".into(), "[::1]:1"),
            ("http://169.254.169.254/latest/".into(), "169.254.169.254:80"),
        ] {
            expect_outbound_denied(server, &url, "HttpRequestDenied", host);
        }
    });
    assert_eq!(elsewhere.counts(), (0, 0));
}

#[test]
fn a_granted_address_is_reached_over_one_connection() {
    for zoo in ["zoo-p2", "zoo-p3"] {
        let elsewhere = Elsewhere::start();
        let server =
            Server::of(zoo).instances(1).args(["--allow-outbound", &elsewhere.addr.to_string()]).start();
        let url = format!("http://{}/some/path?and=query", elsewhere.addr);
        let answer = server.get(&format!("/outbound?n=5&url={url}")).expect_status(200);
        assert_eq!(answer.text(), "status: 203\nGET /some/path?and=query HTTP/1.1");
        // Another instance finds the same pool.
        for _ in 0..5 {
            server.get(&format!("/outbound?method=DELETE&url={url}")).expect_status(200);
        }
        assert_eq!(elsewhere.counts(), (1, 10), "connections and requests");
        assert_eq!(server.said(), 1, "{}", server.explain());
    }
}

/// try: another port of a host that was granted | denied, one line in the log | that port has no connection
#[test]
fn a_granted_port_is_the_only_one() {
    let elsewhere = Elsewhere::start();
    let other = Elsewhere::start();
    Server::of_both_zoos(&["--allow-outbound", &elsewhere.addr.to_string()], |server| {
        let denied = other.addr.to_string();
        expect_outbound_denied(server, &format!("http://{denied}/"), "HttpRequestDenied", &denied);
        server.get(&format!("/outbound?url=http://{}/", elsewhere.addr)).expect_status(200);
    });
    assert_eq!(other.counts(), (0, 0));
}

/// Each request that it serves, also where its instance has served others.
/// try: a fourth outgoing request where three may be | denied, and that is said | the next request may send three
#[test]
fn a_guest_sends_so_many_requests_and_no_more() {
    let elsewhere = Elsewhere::start();
    let addr = elsewhere.addr.to_string();
    Server::of_both_zoos(&["--allow-outbound", &addr, "--max-outbound-requests", "3"], |server| {
        let ask = |n: u32| server.get(&format!("/outbound?n={n}&url=http://{addr}/"));
        let (_, before) = elsewhere.counts();
        ask(3).expect_status(200);
        assert!(ask(4).expect_status(502).text().contains("HttpRequestDenied"));
        server.wait_for_stderr("the guest asked for more than 3 requests while it serves one");
        ask(3).expect_status(200);
        assert_eq!(elsewhere.counts().1 - before, 9);
    });
}

/// try: the address of a name that was granted | denied, one line in the log | not looked at
#[test]
fn a_name_reaches_the_loopback_only_if_it_was_named() {
    let elsewhere = Elsewhere::start();
    let port = elsewhere.addr.port();
    Server::of_both_zoos(&["--allow-outbound", &format!("LocalHost:{port}")], |server| {
        let answer = server.get(&format!("/outbound?url=http://localhost:{port}/")).expect_status(200);
        assert_eq!(answer.text(), "status: 203\nGET / HTTP/1.1");
        // It was the name that was granted.
        let own = elsewhere.addr.to_string();
        expect_outbound_denied(server, &format!("http://{own}/"), "HttpRequestDenied", &own);
    });
}

#[test]
fn a_host_without_a_port_is_granted_on_all_of_them() {
    let elsewhere = Elsewhere::start();
    Server::of_both_zoos(&["--allow-outbound", "127.0.0.1"], |server| {
        server.get(&format!("/outbound?url=http://{}/", elsewhere.addr)).expect_status(200);
    });
}

/// try: loopback, link-local, private, `localhost`, under `*` | denied, one line in the log | 127.0.0.1 has no connection
/// try: `127.1`, `2130706433`, `0x7f000001`, `017700000001`, under `*` | an error | 127.0.0.1 has no connection
#[test]
fn everything_is_everything_public() {
    let elsewhere = Elsewhere::start();
    let port = elsewhere.addr.port();
    Server::of_both_zoos(&["--allow-outbound", "*"], |server| {
        for host in [
            format!("127.0.0.1:{port}"),
            format!("localhost:{port}"),
            format!("[::ffff:127.0.0.1]:{port}"),
            format!("0.0.0.0:{port}"),
            "[::1]:1".into(),
            "169.254.169.254:80".into(),
            "10.0.0.1:80".into(),
            "192.168.0.1:80".into(),
            "[fd00:ec2::254]:80".into(),
        ] {
            expect_outbound_denied(server, &format!("http://{host}/"), "DestinationIpProhibited", &host);
        }
        // Spellings that only a resolver understands.
        for host in ["127.1", "2130706433", "0x7f000001", "017700000001"] {
            let answer = server.get(&format!("/outbound?url=http://{host}:{port}/")).expect_status(502);
            assert!(answer.text().starts_with("error: "), "{host}: {}", answer.text());
        }
    });
    assert_eq!(elsewhere.counts(), (0, 0));
}

/// try: `notexample.invalid` and the like under `*.example.invalid` | denied, one line in the log | not looked at
#[test]
fn a_suffix_grants_what_is_below_it() {
    Server::of_both_zoos(&["--allow-outbound", "*.example.invalid"], |server| {
        for host in ["example.invalid:80", "notexample.invalid:80", "a.example.invalid.other:80"] {
            expect_outbound_denied(server, &format!("http://{host}/"), "HttpRequestDenied", host);
        }
    });
}

/// try: a name that was granted as the userinfo of an address | an error | the address has no connection
#[test]
fn userinfo_does_not_disguise_a_host() {
    let elsewhere = Elsewhere::start();
    Server::of_both_zoos(&["--allow-outbound", "granted.invalid"], |server| {
        let url = format!("http://granted.invalid@{}/", elsewhere.addr);
        let answer = server.get(&format!("/outbound?url={url}")).expect_status(502);
        assert!(answer.text().starts_with("error: "), "{}", answer.text());
    });
    assert_eq!(elsewhere.counts(), (0, 0));
}

#[test]
fn what_cannot_be_reached_is_an_error_of_the_guest() {
    let plain = Elsewhere::start();
    Server::of_both_zoos(&["--allow-outbound", "127.0.0.1"], |server| {
        for (url, error) in [
            // A port below those that are given to whoever asks for any, and that nobody has a use for.
            ("http://127.0.0.1:1/".to_owned(), "ConnectionRefused"),
            (format!("https://{}/", plain.addr), "Tls"),
        ] {
            let answer = server.get(&format!("/outbound?url={url}")).expect_status(502);
            assert!(answer.text().contains(error), "{url}: {}", answer.text());
        }
        server.get("/").expect_status(200);
    });
}

/// try: a redirect to an address that was not granted | the guest is told, nobody follows it | that address has no connection
#[test]
fn a_redirect_is_not_followed() {
    let elsewhere = Elsewhere::start();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let granted = listener.local_addr().unwrap();
    let location = elsewhere.addr;
    // It ends with the process, as what it answers for does.
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let head = format!("HTTP/1.1 302 x\r\nlocation: http://{location}/\r\nconnection: close\r\n");
            let _ = stream.write_all(format!("{head}content-length: 0\r\n\r\n").as_bytes());
        }
    });
    Server::of_both_zoos(&["--allow-outbound", &granted.to_string()], |server| {
        let answer = server.get(&format!("/outbound?url=http://{granted}/")).expect_status(200);
        assert_eq!(answer.text(), "status: 302\n");
    });
    assert_eq!(elsewhere.counts(), (0, 0));
}

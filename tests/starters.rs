//! From nothing to a rolling upgrade in each language, by the words that `wasmcluster new` prints.
//!
//! ```console
//! $ cargo test --test tests starters:: -- --ignored --nocapture --test-threads 1
//! ```
//!
//! It takes the tools of each language, and what those download; so it runs when somebody asks for it. Where a tool is
//! missing, the language is skipped, and that is said in a line; with `WASMCLUSTER_TEST_TOOLS=all` it fails.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::figures::shown;
use crate::support::{Connection, Elsewhere, Load, Server, Starting, binary, block_on, program, repository};
use crate::tidy::between;

/// How many requests each answers at 64 connections, where `WASMCLUSTER_TEST_REQUESTS` says nothing else.
const REQUESTS: u64 = 5_000;

/// How long a build without optimizations may take to compile the largest of them, beside a load.
const COMPILATION: Duration = Duration::from_secs(300);

#[test]
#[ignore = "takes a toolchain, and minutes"]
fn rust() {
    walk("rust", "src/main.rs", "cargo test");
}

#[test]
#[ignore = "takes a toolchain, and minutes"]
fn rust_p3() {
    walk("rust-p3", "src/lib.rs", "cargo test");
}

#[test]
#[ignore = "takes a toolchain, and minutes"]
fn go() {
    walk("go", "main.go", "go test ./...");
}

#[test]
#[ignore = "takes a toolchain, and minutes"]
fn js() {
    walk("js", "src/app.js", "npm test");
}

#[test]
#[ignore = "takes a toolchain, and minutes"]
fn ts() {
    walk("ts", "src/app.ts", "npm test");
}

#[test]
#[ignore = "takes a toolchain, and minutes"]
fn python() {
    walk("python", "handler.py", ".venv/bin/python -m unittest");
}

/// Does with a project in `language` what is printed, and whatever a first evening with it brings.
#[track_caller]
fn walk(language: &str, source: &str, test: &str) {
    // Tools have what they need in the home of whoever installed them.
    let home = std::env::var_os("HOME").unwrap();
    let made = program(["new", language, "my-app"]).env("HOME", home).run();
    made.expect_code(0);
    if let Some(lacking) = made.stderr.lines().find_map(|line| line.strip_prefix("warning: ")) {
        assert!(std::env::var("WASMCLUSTER_TEST_TOOLS").is_err(), "{lacking}");
        eprintln!("\nskipped: {language}: {lacking}");
        return;
    }
    let project = made.place.path().join("work/my-app");
    let below = |heading: &str| {
        let lines = made.stdout.lines().skip_while(|line| *line != heading).skip(1);
        lines.take_while(|line| !line.is_empty()).map(|line| line.trim().to_owned()).collect::<Vec<_>>()
    };
    let next = below("next:");
    let [cd, builds @ .., serve_it] = &next[..] else { panic!("{next:?}") };
    assert_eq!((cd.as_str(), serve_it.as_str()), ("cd my-app", "wasmcluster serve"));
    let mut again = below("and after a change:");
    assert!(again.pop().unwrap().starts_with("wasmcluster push "), "{}", made.stdout);
    // What was asked for by `new` is there, whoever put it there.
    let builds: Vec<_> = builds.iter().filter(|command| !command.starts_with("rustup ")).collect();
    let began = Instant::now();
    for command in &builds {
        run(&project, command);
    }
    let built = began.elapsed();
    run(&project, test);

    let elsewhere = Elsewhere::start();
    let began = Instant::now();
    let server = serve(&project).args(["--allow-outbound", &elsewhere.addr.to_string()]).start();
    let ready = began.elapsed();
    ask_for_everything(&server, &elsewhere);
    echo(&server);
    let each = keep_busy(&server);
    push(&server, &project, source, &again);
    readme(&server, &project, source, &again, language);
    let size = fs::metadata(component_of(&project)).unwrap().len();
    let log = server.stderr();
    assert!(!log.contains("trapped"), "{log}");
    eprintln!(
        "\n| {language} | {:.2} MB | built in {} | ready after {} | {} a request |",
        size as f64 / 1e6,
        shown(built),
        shown(ready),
        shown(each)
    );
    server.stop();
    develop(&project, source);
}

fn serve(project: &Path) -> Starting {
    let config = project.join("wasmcluster.toml");
    let program =
        program(["serve", "--addr", "127.0.0.1:0", "--instances", "2", "--bake", "100ms", "--config"]);
    Starting::of(program.arg(config))
}

/// The file that its configuration names.
fn component_of(project: &Path) -> PathBuf {
    let configuration = fs::read_to_string(project.join("wasmcluster.toml")).unwrap();
    let configuration: toml::Table = configuration.parse().unwrap();
    project.join(configuration["component"].as_str().unwrap())
}

/// Runs a command of the project's.
#[track_caller]
fn run(project: &Path, command: &str) {
    let mut shell = Command::new("sh");
    shell.args(["-c", command]).current_dir(project);
    // What is built goes where the project says, as it does for everybody else.
    shell.env_remove("CARGO_TARGET_DIR");
    expect_success(shell);
}

/// Runs a command as a person would, with `wasmcluster` on the path. Returns what it wrote to stderr.
#[track_caller]
pub(crate) fn expect_success(mut command: Command) -> String {
    command.env("PATH", path_with_ours());
    for variable in ["RUSTFLAGS", "CARGO_BUILD_TARGET"] {
        command.env_remove(variable);
    }
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{stdout}\n{stderr}", output.status);
    stderr
}

/// Where programs are looked for: `wasmcluster` first.
fn path_with_ours() -> OsString {
    let mut path = OsString::from(Path::new(binary()).parent().unwrap());
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    path
}

/// Everything that the handler shows, and what is no business of it.
#[track_caller]
fn ask_for_everything(server: &Server, elsewhere: &Elsewhere) {
    assert_eq!(server.get("/").expect_status(200).text(), "Hello from my-app\n");
    let json = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    let user = server.get("/users/7");
    assert_eq!(json(user.expect_status(200).text()), serde_json::json!({ "id": 7, "name": "user 7" }));
    server.get("/users/none").expect_status(404);
    server.get("/nothing").expect_status(404);
    let post = |path: &'static str, body: &'static str| {
        block_on(async move { Connection::http1(server.addr).await.post(path, body).await.unwrap() })
    };
    let made = post("/users", r#"{"name": "Ada"}"#);
    assert_eq!((made.status.as_u16(), &json(made.text())["name"]), (201, &Value::from("Ada")));
    assert_eq!(post("/users", "no json").status, 400);

    let began = Instant::now();
    let events = server.get("/events");
    assert_eq!(events.expect_status(200).text(), "event 1\nevent 2\nevent 3\nevent 4\nevent 5\n");
    assert!(began.elapsed() >= Duration::from_millis(800), "{:?}", began.elapsed());

    // It answers 203 with the line of the request.
    let fetched = server.get(&format!("/fetch?url=http://{}/there", elsewhere.addr));
    assert_eq!(fetched.expect_status(203).text(), "GET /there HTTP/1.1");
    server.get("/fetch?url=http://not-granted.example/").expect_status(502);
    server.get("/fetch").expect_status(400);
}

/// 50 MB there and back, byte for byte.
#[track_caller]
fn echo(server: &Server) {
    let body: Vec<u8> = (0..50_000_000_u32).map(|at| (at % 251) as u8).collect();
    let sent = body.clone();
    let answer = block_on(async { Connection::http1(server.addr).await.post("/echo", sent).await.unwrap() });
    assert_eq!((answer.status.as_u16(), answer.body.len()), (200, body.len()));
    assert!(answer.body == body, "another body came back");
}

/// Has many requests answered at once, and returns what one took.
#[track_caller]
pub(crate) fn keep_busy(server: &Server) -> Duration {
    let requests =
        std::env::var("WASMCLUSTER_TEST_REQUESTS").map_or(REQUESTS, |requests| requests.parse().unwrap());
    let began = Instant::now();
    Load::keep_alive(server.addr, 64).requests(requests).run().expect_ok(requests);
    began.elapsed() / u32::try_from(requests).unwrap()
}

/// Another version while requests keep coming.
#[track_caller]
fn push(server: &Server, project: &Path, source: &str, build: &[String]) {
    let text = fs::read_to_string(project.join(source)).unwrap();
    let changed = text.replace("Hello from", "Good morning from");
    assert_ne!(text, changed, "{source}");
    fs::write(project.join(source), changed).unwrap();
    for command in build {
        run(project, command);
    }
    push_under_load(server, &component_of(project));
    assert_eq!(server.get("/").text(), "Good morning from my-app\n");
}

/// Pushes a component while requests keep coming, of which none is lost.
#[track_caller]
pub(crate) fn push_under_load(server: &Server, component: &Path) {
    // So much that the compiler has a core, too: it stands behind whoever serves.
    let loads = [
        Load::fresh(server.addr, 8).rate(20).start(),
        Load::keep_alive(server.addr, 8).rate(50).start(),
        Load::h2c(server.addr, 4, 2).rate(50).start(),
    ];
    let push = server.command(["push"]).arg(component).start();
    push.wait_within(COMPILATION).expect_code(0);
    for load in loads {
        let outcome = load.stop();
        assert!(outcome.lost() == 0 && outcome.ok > 0, "{outcome}");
    }
}

/// What the README shows of this language, if it does, in the place of what was there.
#[track_caller]
fn readme(server: &Server, project: &Path, source: &str, build: &[String], language: &str) {
    let readme = fs::read_to_string(repository("README.md")).unwrap();
    let Some(shown) = between(&readme, &format!("```{language}\n"), "```\n") else { return };
    fs::write(project.join(source), shown).unwrap();
    for command in build {
        run(project, command);
    }
    let pushed = server.command(["push"]).arg(component_of(project)).start();
    pushed.wait_within(COMPILATION).expect_code(0);
    assert_eq!(server.get("/some/where").expect_status(200).text(), "Hello from /some/where\n");
}

/// An evening with `serve --dev`: what cannot be built changes nothing, and what can is served.
#[track_caller]
fn develop(project: &Path, source: &str) {
    let file = project.join(source);
    let text = fs::read_to_string(&file).unwrap();
    let args = ["serve", "--dev", "--addr", "127.0.0.1:0", "--instances", "1", "--config"];
    let program = program(args).arg(project.join("wasmcluster.toml"));
    let program = program.env("PATH", path_with_ours()).env("HOME", std::env::var_os("HOME").unwrap());
    let server = Starting::of(program).start();
    let before = server.get("/").expect_status(200).text().to_owned();

    fs::write(&file, format!("{text}\n)(\n")).unwrap();
    server.wait_for_stderr_within(COMPILATION, "error: the build failed (exit status ");
    server.wait_for_stderr("hint: the old version is still served; the next change is built again");
    let own = server.stderr();
    assert!(own.lines().any(|line| line.starts_with("build | ")), "its own output is shown: {own}");
    assert_eq!(server.get("/").text(), before);

    let changed =
        text.replace("Hello from", "Good evening from").replace("Good morning from", "Good evening from");
    fs::write(&file, changed).unwrap();
    server.wait_for_stderr_within(COMPILATION, "every slot serves generation 2");
    let after = server.get("/").expect_status(200).text().to_owned();
    assert!(after != before && after.starts_with("Good evening from "), "{before}, {after}");
    server.stop();
}

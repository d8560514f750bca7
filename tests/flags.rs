//! The command line: what it says about itself, and the three places that every flag may come from.

use std::collections::BTreeSet;
use std::fs;

use crate::support::{Finished, Server, Starting, component, program, repository};
use crate::tidy::sources;

/// Every flag of `serve` that takes one value: one that it accepts, and one that it does not.
const FLAGS: &[(&str, &str, &str)] = &[
    ("addr", "127.0.0.1:0", "nowhere"),
    ("bake", "2s", "2"),
    ("body-timeout", "20s", "0s"),
    ("build", "true", " "),
    ("canary", "2", "0"),
    ("canary-weight", "10%", "0%"),
    ("coredump", "dumps", "/dev/null"),
    ("dev", "true", "perhaps"),
    ("gate-errors", "1%", "101%"),
    ("gate-latency", "1.5x", "0.5x"),
    ("header-timeout", "20s", "0s"),
    ("heartbeat-timeout", "2s", "1s"),
    ("history", "3", "0"),
    ("idle-instance-timeout", "2s", "later"),
    ("instances", "1", "0"),
    ("isolation", "strict", "sloppy"),
    ("json", "true", "perhaps"),
    ("keep-alive-timeout", "20s", "0s"),
    ("kill-timeout", "20s", "20"),
    ("listen-timeout", "20s", "0s"),
    ("max-body-size", "1GiB", "0"),
    ("max-compile-memory", "1GiB", "1MiB"),
    ("max-compile-time", "2m", "0s"),
    ("max-concurrent-outbound-requests", "5", "-1"),
    ("max-concurrent-requests", "16", "0"),
    ("max-connections", "64", "0"),
    ("max-connections-per-address", "32", "0"),
    ("max-core-instances", "10", "0"),
    ("max-field-size", "64KiB", "1"),
    ("max-header-size", "32KiB", "1"),
    ("max-headers", "50", "0"),
    ("max-hostcall-size", "1MiB", "1"),
    ("max-http2-resets", "10", "0"),
    ("max-http2-streams", "64", "0"),
    ("max-instance-reuse-count", "2", "0"),
    ("max-keep-alive-requests", "1000", "0"),
    ("max-log-lines", "100", "0"),
    ("max-log-size", "1MiB", "1"),
    ("max-memory-restart", "1GiB", "1"),
    ("max-memory-size", "64MiB", "1"),
    ("max-outbound-requests", "5", "-1"),
    ("max-outbound-size", "none", "0"),
    ("max-requests", "1000", "0"),
    ("max-resources", "5000", "1"),
    ("max-response-rate", "1GiB", "0"),
    ("max-response-size", "1GiB", "0"),
    ("max-restarts", "5", "-1"),
    ("max-table-elements", "100000", "0"),
    ("max-target-size", "1KiB", "1"),
    ("max-waiting-requests", "0", "-1"),
    ("min-uptime", "2s", "2"),
    ("name", "my.app-2", "my/app"),
    ("probe", "/health", "health"),
    ("sandbox", "off", "perhaps"),
    ("timeout", "none", "0s"),
    ("watch", "true", "perhaps"),
];

/// Every flag that can be repeated.
const LISTS: &[(&str, &str, &str)] = &[
    ("allow-outbound", "api.example.org:443", "example.org:port"),
    ("config-var", "KEY=value", "=value"),
    ("dir", ".", "missing"),
    ("env", "NAME=value", "=value"),
    ("env-file", "/dev/null", "missing"),
    ("trust-proxy", "10.0.0.0/8", "10.0.0.0/33"),
];

/// Those whose every value makes sense by itself: a path.
const PATHS: [&str; 4] = ["cache-dir", "config", "run-dir", "state-dir"];

/// Those whose values make sense for some people and for others not: `user.rs` has them.
const PERSONAL: [&str; 1] = ["user"];

#[test]
fn this_file_knows_every_flag() {
    let known = FLAGS.iter().chain(LISTS).map(|(flag, ..)| *flag).chain(PATHS).chain(PERSONAL);
    let known: BTreeSet<String> = known.map(str::to_owned).collect();
    assert_eq!(known, flags_in_help());
}

#[test]
fn every_flag_is_in_the_readme() {
    let readme = fs::read_to_string(repository("README.md")).unwrap();
    let missing: Vec<_> =
        flags_in_help().into_iter().filter(|flag| !readme.contains(&format!("`--{flag}"))).collect();
    assert!(missing.is_empty(), "the README does not have {missing:?}");
}

#[test]
fn the_readme_has_no_flag_that_is_not_there() {
    let readme = fs::read_to_string(repository("README.md")).unwrap();
    let known = flags_in_help();
    let lines = readme.lines().filter(|line| line.starts_with("| `-"));
    let written = lines.flat_map(|line| line.split('`').skip(1).step_by(2)).filter_map(|code| {
        let flag = code.strip_prefix("--")?;
        Some(flag.split([' ', '=']).next()?.to_owned())
    });
    // Other names of a flag are in its help and not in the list.
    let help = serve_help();
    let unknown: Vec<_> =
        written.filter(|flag| !known.contains(flag) && !help.contains(&format!("--{flag}]"))).collect();
    assert!(unknown.is_empty(), "the README has {unknown:?}");
}

#[test]
fn every_flag_is_in_another_test() {
    let is_support = |name: &str| name.starts_with("tests/support/");
    let others =
        sources("tests").into_iter().filter(|(name, _)| !is_support(name) && name != "tests/flags.rs");
    let text: String = others.map(|(_, text)| text).collect();
    let missing: Vec<_> =
        flags_in_help().into_iter().filter(|flag| !text.contains(&format!("--{flag}"))).collect();
    assert!(missing.is_empty(), "no test has {missing:?}");
}

#[test]
fn every_flag_of_the_other_commands_is_in_the_readme_and_in_a_test() {
    let readme = fs::read_to_string(repository("README.md")).unwrap();
    let is_of = |topic: &str, name: &str| {
        let rest = name.strip_prefix("tests/").and_then(|name| name.strip_prefix(topic));
        rest.is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
    };
    let topics = ["control", "push", "history", "logs", "scale", "componentize", "doctor"];
    let of_topics =
        sources("tests").into_iter().filter(|(name, _)| topics.iter().any(|topic| is_of(topic, name)));
    let tests: String = of_topics.map(|(_, text)| text).collect();
    let commands = [
        "status",
        "list",
        "push",
        "reload",
        "rollback",
        "scale",
        "restart",
        "history",
        "logs",
        "stop",
        "componentize",
        "doctor",
    ];
    for command in commands {
        let help = program([command, "--help"]).run().stdout;
        let line = format!("| `wasmcluster {command}");
        let written = readme.lines().find(|written| written.starts_with(&line)).expect(&line);
        for flag in flags_in(&help) {
            assert!(written.contains(&format!("`--{flag}")), "the README: {command} --{flag}");
            assert!(tests.contains(&format!("--{flag}")), "no test has {command} --{flag}");
        }
    }
}

#[test]
fn every_flag_is_completed() {
    let script = program(["completions", "bash"]).run().stdout;
    let missing: Vec<_> =
        flags_in_help().into_iter().filter(|flag| !script.contains(&format!("--{flag}"))).collect();
    assert!(missing.is_empty(), "not completed: {missing:?}");
}

#[test]
fn every_flag_is_heard_on_the_command_line() {
    let mut args = Vec::new();
    for (flag, value, _) in FLAGS.iter().chain(LISTS) {
        args.extend(match *flag {
            "dev" | "json" | "watch" => vec![format!("--{flag}")],
            _ => vec![format!("--{flag}"), (*value).to_owned()],
        });
    }
    serves(Starting::of(program(["serve"]).arg(component("hello-p2")).args(args)));
    // Switches have no values here.
    for (flag, _, bad) in
        FLAGS.iter().chain(LISTS).filter(|(flag, ..)| !["dev", "json", "watch"].contains(flag))
    {
        let refused = program(["serve", &format!("--{flag}={bad}")]).run();
        blames(&refused, flag);
    }
}

#[test]
fn every_flag_is_heard_as_a_variable() {
    let mut all = program(["serve"]).env("WASMCLUSTER_COMPONENT", component("hello-p2"));
    for (flag, value, _) in FLAGS.iter().chain(LISTS) {
        all = all.env(&variable(flag), value);
    }
    serves(Starting::of(all));
    for (flag, _, bad) in FLAGS.iter().chain(LISTS) {
        let refused = program(["serve"]).env(&variable(flag), bad).run();
        blames(&refused, flag);
    }
}

#[test]
fn every_flag_is_heard_as_a_key() {
    let mut all = format!("component = {:?}\n", component("hello-p2"));
    for (flag, value, _) in FLAGS {
        all += &format!("{flag} = {value:?}\n");
    }
    for (flag, value, _) in LISTS {
        all += &format!("{flag} = [{value:?}]\n");
    }
    serves(Starting::of(program(["serve"]).file("wasmcluster.toml", all)));
    for (flag, _, bad) in FLAGS.iter().chain(LISTS) {
        let refused = program(["serve"]).file("wasmcluster.toml", format!("{flag} = {bad:?}\n")).run();
        blames(&refused, flag);
        refused.expect_stderr("wasmcluster.toml");
    }
}

#[test]
fn a_flag_wins_over_a_variable_over_a_key_over_the_default() {
    let workers = |starting: Starting| starting.start().workers().len();
    let file = || Server::of("hello-p2").no_instances().file("wasmcluster.toml", "instances = 3\n");
    assert_eq!(workers(file()), 3);
    assert_eq!(workers(file().env("WASMCLUSTER_INSTANCES", "2")), 2);
    assert_eq!(workers(file().env("WASMCLUSTER_INSTANCES", "2").args(["-i", "1"])), 1);
}

#[test]
fn an_address_in_the_file_wins_over_the_variable_port() {
    let starting = Server::of("hello-p2").no_addr().file("wasmcluster.toml", "addr = \"127.0.0.2:0\"\n");
    let server = starting.env("PORT", "http").start();
    assert_eq!(server.addr.ip().to_string(), "127.0.0.2");
}

#[test]
fn a_list_is_taken_from_one_place_whole() {
    let environment = |starting: Starting| {
        let text = starting.start().get("/env").text().to_owned();
        let ours = text.lines().filter(|line| line.starts_with("T_")).map(str::to_owned);
        ours.collect::<Vec<_>>()
    };
    let file = || Server::of("zoo-p2").file("wasmcluster.toml", "env = [\"T_A=1\", \"T_B=two words\"]\n");
    assert_eq!(environment(file()), ["T_A=1", "T_B=two words"]);
    let variable = || file().env("WASMCLUSTER_ENV", "T_C=a,b\nT_D=4\n");
    assert_eq!(environment(variable()), ["T_C=a,b", "T_D=4"]);
    assert_eq!(environment(variable().args(["--env", "T_E=5"]).args(["--env", "T_F=6"])), ["T_E=5", "T_F=6"]);
}

#[test]
fn pairs_can_be_a_table_in_the_file() {
    let file = "[env]\nT_A = 1\nT_B = \"b\"\n[config-var]\ncolour = \"green\"\n";
    let server = Server::of("zoo-p2").file("wasmcluster.toml", file).start();
    let environment = server.get("/env");
    assert!(environment.text().contains("T_A=1\n") && environment.text().contains("T_B=b\n"));
    assert_eq!(server.get("/config?key=colour").text(), "green\n");
}

#[test]
fn paths_in_the_file_begin_where_the_file_is() {
    let elsewhere = tempfile::tempdir().unwrap();
    let at = |name: &str| elsewhere.path().join(name);
    fs::copy(component("zoo-p2"), at("app.wasm")).unwrap();
    fs::create_dir(at("data")).unwrap();
    fs::write(at("data/note"), "from the file's side").unwrap();
    fs::write(
        at("app.toml"),
        "component = \"app.wasm\"\ncache-dir = \"code\"\nrun-dir = \"apps\"\ndir = [\"data::/data::ro\"]\n\
         addr = \"127.0.0.1:0\"\n",
    )
    .unwrap();
    let program = program(["serve", "--config"]).arg(at("app.toml")).own_cache().default_run_dir();
    let server = Starting::of(program).start();
    assert_eq!(server.get("/fs?path=/data/note").text(), "from the file's side");
    assert!(at("code").is_dir() && at("apps/app").is_dir());
}

#[test]
fn relative_paths_on_the_command_line_begin_where_we_are() {
    let program = program(["serve", "app.wasm", "--dir", "data::/data", "--addr", "127.0.0.1:0"]);
    let program = program.file("app.wasm", fs::read(component("zoo-p2")).unwrap());
    fs::create_dir(program.work().join("data")).unwrap();
    fs::write(program.work().join("data/note"), "here").unwrap();
    let server = Starting::of(program).start();
    assert_eq!(server.get("/fs?path=/data/note").text(), "here");
}

#[test]
fn the_file_can_be_named_by_a_variable() {
    let program = program(["serve"]).file("other.toml", "addr = \"127.0.0.1:0\"\njson = true\n");
    let server = Starting::of(program.env("WASMCLUSTER_CONFIG", "other.toml")).start();
    server.wait_for_stderr(r#""record":"serving""#);
}

#[test]
fn the_version_is_the_packages() {
    for flag in ["--version", "-V"] {
        let finished = program([flag]).run();
        finished.expect_code(0);
        assert_eq!(finished.stdout, format!("wasmcluster {}\n", env!("CARGO_PKG_VERSION")));
    }
}

#[test]
fn help_is_no_mistake() {
    let all = program(["--help"]).run().stdout;
    let listed =
        all.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let commands: Vec<_> = listed.filter_map(|line| line.strip_prefix("  ")?.split(' ').next()).collect();
    assert!(commands.contains(&"serve") && commands.len() > 15, "{commands:?}");
    for command in commands.into_iter().map(Some).chain([None]) {
        for flag in ["--help", "-h"] {
            let finished = program(command.into_iter().chain([flag])).run();
            finished.expect_code(0).expect_stdout("Usage: wasmcluster");
            assert_eq!(finished.stderr, "");
        }
    }
}

#[test]
fn help_has_every_exit_code_and_the_variables() {
    let help = serve_help();
    for code in 0..=11 {
        assert!(
            help.lines().any(|line| line.trim_start().starts_with(&format!("{code}  "))),
            "no code {code}"
        );
    }
    assert!(help.contains("`WASMCLUSTER_MAX_RESTARTS`") && help.contains("`max-restarts`"), "{help}");
}

#[test]
fn without_a_command_the_commands_are_shown() {
    let finished = program([""; 0]).run();
    finished.expect_code(2).expect_stderr("serve").expect_stderr("completions");
}

#[test]
fn a_mistyped_flag_or_command_gets_a_suggestion() {
    let refused = program(["serve", "--intsances", "3"]).run();
    refused.expect_usage("--intsances").expect_stderr("hint: did you mean `--instances`?");
    let refused = program(["sevre"]).run();
    refused.expect_usage("sevre").expect_stderr("hint: did you mean `serve`?");
}

#[test]
fn a_flag_given_twice_is_refused() {
    program(["serve", "--instances", "1", "--instances", "2"]).run().expect_usage("--instances");
}

/// Fails unless it serves as `FLAGS` say.
#[track_caller]
fn serves(starting: Starting) {
    let server = starting.start();
    assert_eq!(server.workers().len(), 1);
    assert!(server.stderr().starts_with('{'), "not JSON{}", server.explain());
    assert_eq!(server.get("/").text(), "hello from wasm\n");
}

/// Fails unless a value of the flag was refused, by name.
#[track_caller]
fn blames(refused: &Finished, flag: &str) {
    refused.expect_usage(flag);
    refused.expect_usage("invalid value");
}

fn variable(flag: &str) -> String {
    format!("WASMCLUSTER_{}", flag.replace('-', "_").to_uppercase())
}

fn serve_help() -> String {
    let finished = program(["serve", "--help"]).run();
    finished.expect_code(0);
    finished.stdout
}

/// The long names that `serve --help` lists.
fn flags_in_help() -> BTreeSet<String> {
    flags_in(&serve_help())
}

fn flags_in(help: &str) -> BTreeSet<String> {
    let flags = help.lines().filter_map(|line| {
        let line = line.trim_start();
        let line = match line.split_once(", ") {
            Some((short, long)) if short.len() == 2 && short.starts_with('-') => long,
            _ => line,
        };
        let flag = line.strip_prefix("--")?.split([' ', '=', '[']).next()?;
        (flag != "help").then(|| flag.to_owned())
    });
    flags.collect()
}

//! Rules about the code itself: what may depend on what, and what must not be written where.

mod fuzz;
mod security;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::support::{program, repository};

const CORE: &str = "wasmcluster-core";
const SUPERVISOR: &str = "wasmcluster-supervisor";
const WORKER: &str = "wasmcluster-worker";
const BINARY: &str = "wasmcluster";
const BENCHMARK: &str = "wasmcluster-load";

/// Files of the host that may have `unsafe` in them, each by what it says at its top.
const UNSAFE: &[&str] = &[
    "host/supervisor/src/descriptors.rs",
    "host/worker/src/artifact.rs",
    "host/worker/src/gaps.rs",
    "host/worker/src/pagemap.rs",
    "host/worker/src/parent.rs",
    "host/worker/src/recent.rs",
    "host/worker/src/sandbox/violation.rs",
    "host/worker/src/trim.rs",
];

/// Files outside `host/cli` that may name a standard stream.
const STREAMS: &[(&str, &str)] = &[
    ("host/core/src/cluster/simulation.rs", "a test that shows the world it was asked to replay"),
    ("host/worker/src/builder/mod.rs", "last words, into the pipe that the supervisor reads"),
    ("host/worker/src/worker.rs", "last words, into the pipe that the supervisor reads"),
];

/// How many lines a file may nearly have.
const LONGEST: usize = 500;

#[test]
fn the_supervisor_and_the_worker_do_not_know_each_other() {
    let metadata = Metadata::get();
    assert!(!metadata.closure(SUPERVISOR).contains(WORKER));
    assert!(!metadata.closure(WORKER).contains(SUPERVISOR));
}

#[test]
fn the_supervisor_neither_runs_guests_nor_speaks_http() {
    let closure = Metadata::get().closure(SUPERVISOR);
    let found: Vec<_> =
        closure.iter().filter(|name| is_of(name, &["wasmtime", "cranelift", "hyper"])).collect();
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn only_the_worker_and_the_benchmark_use_wasmtime_and_hyper() {
    expect_only(&["wasmtime", "hyper"], &[WORKER, BENCHMARK]);
}

#[test]
fn only_programs_parse_arguments_and_erase_errors() {
    expect_only(&["clap", "anyhow"], &[BINARY, BENCHMARK]);
}

#[test]
fn the_core_has_no_clock_no_process_and_no_socket() {
    let closure = Metadata::get().closure(CORE);
    let doers = ["tokio", "nix", "rustix", "socket2", "mio", "libc", "hyper", "wasmtime", "async"];
    let found: Vec<_> = closure.iter().filter(|name| is_of(name, &doers)).collect();
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn every_package_has_the_lints_and_the_license_of_the_workspace() {
    for (name, package) in &Metadata::get().packages {
        let manifest = fs::read_to_string(package["manifest_path"].as_str().unwrap()).unwrap();
        let manifest: toml::Table = manifest.parse().unwrap();
        assert_eq!(manifest["lints"]["workspace"].as_bool(), Some(true), "{name}");
        assert_eq!(package["license"], "Apache-2.0 WITH LLVM-exception", "{name}");
        assert_eq!(package["publish"], Value::Array(Vec::new()), "{name}");
    }
}

#[test]
fn unsafe_code_stays_where_it_is_known() {
    let known: BTreeSet<_> = UNSAFE.iter().map(|file| (*file).to_owned()).collect();
    let found = sources("host").into_iter().filter(|(_, text)| code(text).any(has_unsafe));
    assert_eq!(found.map(|(name, _)| name).collect::<BTreeSet<_>>(), known);
    for name in known {
        let text = fs::read_to_string(repository(&name)).unwrap();
        let blocks = code(&text).filter(|line| has_unsafe(line)).count();
        let reasons = text.matches("// SAFETY: ").count();
        assert!(reasons >= blocks, "{name}: {blocks} times unsafe, {reasons} reasons");
    }
}

#[test]
fn only_the_command_line_prints() {
    let words = ["println!", "print!", "dbg!", "io::stdout()", "io::stderr()"];
    let prints = |line: &str| words.iter().any(|word| line.contains(word));
    let outside = sources("host").into_iter().filter(|(name, _)| !name.starts_with("host/cli/"));
    let found = outside.filter(|(_, text)| code(text).any(prints)).map(|(name, _)| name);
    let known = STREAMS.iter().map(|(name, _)| (*name).to_owned());
    assert_eq!(found.collect::<BTreeSet<_>>(), known.collect::<BTreeSet<_>>());
}

#[test]
fn no_file_is_long() {
    let all = ["host", "benches", "tests"].into_iter().flat_map(sources);
    let long = all.filter(|(_, text)| text.lines().count() >= LONGEST).map(|(name, _)| name);
    assert_eq!(long.collect::<Vec<_>>(), [""; 0]);
}

#[test]
fn nothing_is_left_to_do_or_to_ignore() {
    // In two pieces, so that this file is not among those found.
    let words = ["todo", "unimplemented"].map(|word| format!("{word}!("));
    let ignored = format!("#[{}", "ignore]");
    for (name, text) in ["host", "benches", "tests"].into_iter().flat_map(sources) {
        for line in code(&text) {
            assert!(!words.iter().any(|word| line.contains(word)), "{name}: {line}");
            assert!(!line.contains(&ignored), "{name}: ignored without a reason");
        }
    }
}

#[test]
fn artifacts_are_labelled_with_the_wasmtime_that_made_them() {
    let engine = fs::read_to_string(repository("host/worker/src/engine.rs")).unwrap();
    let labelled =
        between(&engine, "const WASMTIME_VERSION: &str = \"", "\";").expect("a version in engine.rs");
    let lock: toml::Table = fs::read_to_string(repository("Cargo.lock")).unwrap().parse().unwrap();
    let packages = lock["package"].as_array().unwrap();
    let locked: Vec<_> =
        packages.iter().filter(|package| package["name"].as_str() == Some("wasmtime")).collect();
    let [locked] = locked[..] else { panic!("more than one wasmtime") };
    assert_eq!(Some(labelled), locked["version"].as_str());
}

#[test]
fn the_manifest_of_the_guests_is_that_of_the_tree() {
    let manifest = fs::read_to_string(repository("tests/guests/MANIFEST")).unwrap();
    let mut listed = BTreeSet::new();
    for line in manifest.lines() {
        let (digest, name) = line.split_once("  ").expect("as sha256sum writes it");
        let content = fs::read(repository(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        let actual: String = Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(digest, actual, "{name} changed: run tests/guests/build");
        assert!(listed.insert(name.to_owned()), "{name} twice");
    }
    let Some(tracked) = tracked(&["tests/guests", "host/demo", "guest-examples/rust"]) else { return };
    let is_source = |name: &String| {
        let file = name.rsplit('/').next().unwrap_or_default();
        let readme = file.starts_with("README") && file.ends_with(".md");
        // What `wasmcluster new` writes is built by those who begin with it.
        let begun = name.starts_with("guest-examples/rust/starter");
        !readme && !begun && !["tests/guests/MANIFEST", "tests/guests/build"].contains(&name.as_str())
    };
    let unlisted: Vec<_> = tracked.iter().filter(|name| is_source(name) && !listed.contains(*name)).collect();
    assert!(unlisted.is_empty(), "not in the manifest: {unlisted:?}; run tests/guests/build");
}

#[test]
fn projects_that_are_begun_have_every_file_of_their_example() {
    for (language, example) in [
        ("rust", "rust/starter"),
        ("rust-p3", "rust/starter-p3"),
        ("js", "js/starter"),
        ("ts", "ts/starter"),
        ("go", "go/starter"),
        ("python", "python/starter"),
    ] {
        let example = format!("guest-examples/{example}/");
        let Some(tracked) = tracked(&[&example]) else { return };
        let made = program(["new", language, "app"]).run();
        let project = made.expect_code(0).place.path().join("work/app");
        let missing: Vec<_> =
            tracked.iter().filter(|name| !project.join(&name[example.len()..]).is_file()).collect();
        assert!(missing.is_empty() && !tracked.is_empty(), "{language}: {missing:?}");
    }
}

/// Each project stands alone, so what joins JavaScript to `wasi:http` stands in two of them.
#[test]
fn what_two_examples_share_is_the_same() {
    let adapter = |language| {
        fs::read_to_string(repository(&format!("guest-examples/{language}/starter/src/wasi-http.js")))
            .unwrap()
    };
    assert!(adapter("js") == adapter("ts"), "wasi-http.js of js and of ts differ");
}

#[test]
fn the_changelog_has_this_version() {
    let changelog = fs::read_to_string(repository("CHANGELOG.md")).unwrap();
    let heading = format!("## {}", env!("CARGO_PKG_VERSION"));
    let has = changelog.lines().any(|line| line == heading || line.starts_with(&format!("{heading} ")));
    assert!(has, "no `{heading}`");
}

#[test]
fn commands_in_documents_exist() {
    let help = program(["--help"]).run().stdout;
    let commands = between(&help, "Commands:\n", "\n\n").expect("commands in the help");
    let known: BTreeSet<_> = commands.lines().filter_map(|line| line.split_whitespace().next()).collect();
    let mut seen = 0;
    for document in
        ["README.md", "CHANGELOG.md", "guest-examples/README.md", "host/ARCHITECTURE.md", "host/SECURITY.md"]
    {
        let text = fs::read_to_string(repository(document)).unwrap();
        for rest in text
            .split(['`', '\n'])
            .filter_map(|code| code.trim_start_matches("$ ").strip_prefix("wasmcluster "))
        {
            let command = rest.split_whitespace().next().unwrap_or_default();
            assert!(known.contains(command), "{document}: there is no `wasmcluster {command}`");
            seen += 1;
        }
    }
    assert!(seen > 0);
}

#[test]
fn files_in_documents_exist() {
    for document in [
        "README.md",
        "guest-examples/README.md",
        "host/ARCHITECTURE.md",
        "host/SECURITY.md",
        "tests/guests/README.md",
    ] {
        let text = fs::read_to_string(repository(document)).unwrap();
        let beside = repository(document).parent().unwrap().to_owned();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if !target.contains("://") && !target.starts_with('#') {
                assert!(beside.join(target).exists(), "{document}: there is no {target}");
            }
        }
        for code in text.split('`').skip(1).step_by(2).filter(|code| code.starts_with("tests/")) {
            assert!(repository(code).exists(), "{document}: there is no {code}");
        }
    }
}

#[test]
fn every_topic_of_the_tests_is_compiled() {
    for (name, _) in sources("tests") {
        let (place, module) = name.strip_suffix(".rs").unwrap().rsplit_once('/').unwrap();
        let parents = match (place, module) {
            ("tests", "tests") => continue,
            // Programs of their own.
            ("tests/fuzz/fuzz_targets", _) => continue,
            ("tests", _) => ["tests/tests.rs".to_owned(), String::new()],
            // `support/mod.rs` is named where `support` stands.
            (_, "mod") => continue,
            _ => [format!("{place}.rs"), format!("{place}/mod.rs")],
        };
        let declared = |parent: &String| {
            let text = fs::read_to_string(repository(parent)).unwrap_or_default();
            text.lines().any(|line| line.trim_start_matches("pub(crate) ") == format!("mod {module};"))
        };
        assert!(parents.iter().any(declared), "{name} is in no module");
    }
}

/// Fails if one of our packages other than `allowed` depends on a family of packages by itself.
#[track_caller]
fn expect_only(families: &[&str], allowed: &[&str]) {
    for (name, package) in &Metadata::get().packages {
        let direct = package["dependencies"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|dependency| dependency["kind"].is_null());
        let names = direct.map(|dependency| dependency["name"].as_str().unwrap());
        let found: Vec<_> = names.filter(|name| is_of(name, families)).collect();
        assert!(found.is_empty() || allowed.contains(&name.as_str()), "{name} depends on {found:?}");
    }
}

/// Whether a package is one of `families`: `wasmtime`, `wasmtime-wasi`.
fn is_of(name: &str, families: &[&str]) -> bool {
    families.iter().any(|family| {
        name.strip_prefix(family).is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '_']))
    })
}

/// What cargo knows about this workspace.
struct Metadata {
    /// Our packages by name.
    packages: BTreeMap<String, Value>,
    /// Names by id, for all packages.
    names: BTreeMap<String, String>,
    /// What each package, by id, is built from.
    needs: BTreeMap<String, Vec<String>>,
}

impl Metadata {
    fn get() -> &'static Self {
        static METADATA: OnceLock<Metadata> = OnceLock::new();
        METADATA.get_or_init(|| {
            let version = cargo(&["-vV"]);
            let host = between(&version, "host: ", "\n").expect("a host");
            // For this platform alone, because that is what was downloaded to get here.
            let manifest = repository("Cargo.toml");
            let place =
                ["--manifest-path", manifest.to_str().unwrap(), "--filter-platform", host, "--offline"];
            Self::of(&cargo(&[&["metadata", "--format-version", "1"][..], &place].concat()))
        })
    }

    fn of(metadata: &str) -> Self {
        let metadata: Value = serde_json::from_str(metadata).unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let packages = metadata["packages"].as_array().unwrap();
        let members = metadata["workspace_members"].as_array().unwrap();
        let names = packages.iter().map(|package| (text(&package["id"]), text(&package["name"])));
        let own = packages.iter().filter(|package| members.contains(&package["id"]));
        let normal = |dependency: &&Value| {
            dependency["dep_kinds"].as_array().unwrap().iter().any(|kind| kind["kind"].is_null())
        };
        let needs = metadata["resolve"]["nodes"].as_array().unwrap().iter().map(|node| {
            let needed = node["deps"].as_array().unwrap().iter().filter(normal);
            (text(&node["id"]), needed.map(|dependency| text(&dependency["pkg"])).collect())
        });
        Self {
            packages: own.map(|package| (text(&package["name"]), package.clone())).collect(),
            names: names.collect(),
            needs: needs.collect(),
        }
    }

    /// The names of all packages that one of ours is built from, itself not among them.
    fn closure(&self, package: &str) -> BTreeSet<String> {
        let id = self.packages[package]["id"].as_str().unwrap();
        let mut ids = BTreeSet::new();
        let mut next = vec![id];
        while let Some(id) = next.pop() {
            let needed = self.needs[id].iter().map(String::as_str);
            next.extend(needed.filter(|&needed| ids.insert(needed)));
        }
        ids.into_iter().map(|id| self.names[id].clone()).collect()
    }
}

fn cargo(args: &[&str]) -> String {
    let output = Command::new(env!("CARGO")).args(args).output().unwrap();
    assert!(output.status.success(), "cargo {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Every Rust file under a directory, by its path in the repository, with its text. Components are not among them: they
/// are built for another machine, by other rules.
pub(super) fn sources(directory: &str) -> Vec<(String, String)> {
    fn walk(directory: &Path, found: &mut Vec<PathBuf>) {
        for path in fs::read_dir(directory).unwrap().flatten().map(|entry| entry.path()) {
            let other = ["host/demo", "tests/guests", "host/core/mutants"]
                .iter()
                .any(|other| path == repository(other));
            if path.is_dir() && !other && !path.ends_with("target") {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(&repository(directory), &mut found);
    assert!(!found.is_empty(), "{directory} has no sources");
    let root = repository("");
    let name = |path: &Path| path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
    found.iter().map(|path| (name(path), fs::read_to_string(path).unwrap())).collect()
}

/// Lines that are not comments.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.trim_start().starts_with("//"))
}

fn has_unsafe(line: &str) -> bool {
    line.split(|character: char| !character.is_alphanumeric() && character != '_')
        .any(|word| word == "unsafe")
}

/// What git tracks under these paths. None, having said so, where this is no checkout.
fn tracked(paths: &[&str]) -> Option<BTreeSet<String>> {
    let output =
        Command::new("git").args(["ls-files", "-z", "--"]).args(paths).current_dir(repository("")).output();
    let Some(output) = output.ok().filter(|output| output.status.success()) else {
        eprintln!("skipped: what git tracks is not known here");
        return None;
    };
    let names = output.stdout.split(|&byte| byte == 0).filter(|name| !name.is_empty());
    Some(names.map(|name| String::from_utf8(name.to_vec()).unwrap()).collect())
}

/// What stands between the first `start` and the next `end`.
pub(crate) fn between<'a>(text: &'a str, start: &str, end: &str) -> Option<&'a str> {
    let rest = &text[text.find(start)? + start.len()..];
    rest.find(end).map(|end| &rest[..end])
}

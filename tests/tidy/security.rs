//! What `host/SECURITY.md` says is what the tests say.
//!
//! A test that tries an attack says so in the last lines of its comment, each as long as fits one line:
//!
//! ```text
//! /// try: what is tried | what it gets | who else notices
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;

use super::{between, repository, sources};

const PAGE: &str = "host/SECURITY.md";
const BEGIN: &str = "<!-- tries: begin -->\n";
const END: &str = "<!-- tries: end -->\n";

/// When it is 1, the table is written and not compared.
const BLESS: &str = "WASMCLUSTER_BLESS";

/// What begins a row.
const TRY: &str = "/// try: ";

/// How long the line of a row may be.
const WIDEST: usize = 130;

/// Where rows are, in the order of the page.
const GROUPS: &[(&str, &[&str])] = &[
    (
        "Hostile guests",
        &[
            "limits",
            "limits::after",
            "limits::guests",
            "limits::memory",
            "traps",
            "http::response",
            "isolation",
        ],
    ),
    ("Grants", &["grants", "grants::resolved"]),
    (
        "Hostile clients",
        &[
            "hostile::silence",
            "hostile::unread",
            "hostile::leaving",
            "hostile::size",
            "hostile::http2",
            "limits::clients",
            "limits::crowd",
            "http::connection",
            "http::leaving",
            "http::origin",
            "http::request",
        ],
    ),
    ("Hostile bytes", &["hostile::framing", "hostile::head"]),
    ("The sandbox", &["sandbox", "sandbox::intruded", "user", "user::intruded"]),
    ("Hostile files", &["rejected", "limits::compiling", "push::refused", "cache", "history"]),
    ("Another user", &["control::names", "control::strangers"]),
    ("Everything at once", &["torture"]),
];

#[test]
fn the_tries_are_those_of_the_tests() {
    let path = repository(PAGE);
    let page = fs::read_to_string(&path).unwrap();
    let written = between(&page, BEGIN, END).expect("both markers");
    let table = table(&tests());
    if std::env::var(BLESS).is_ok_and(|value| value == "1") {
        fs::write(&path, page.replacen(written, &table, 1)).unwrap();
        return;
    }
    assert!(written == table, "{PAGE} is not what the tests say; {BLESS}=1 writes it:\n{table}");
}

#[test]
fn every_test_that_is_named_exists() {
    let known: BTreeSet<_> = tests().into_iter().map(|test| test.name()).collect();
    let page = fs::read_to_string(repository(PAGE)).unwrap();
    let named: Vec<_> = page.split('`').skip(1).step_by(2).filter(|code| is_path(code)).collect();
    assert!(!named.is_empty());
    for name in named {
        assert!(known.contains(name), "{PAGE}: there is no test `{name}`");
    }
}

#[test]
fn every_promise_has_a_test() {
    let page = fs::read_to_string(repository(PAGE)).unwrap();
    let promises = between(&page, "\n## What is promised\n", "\n## ").expect("promises");
    let rows = promises.lines().filter(|line| line.starts_with("| ") && *line != "| promise | held by |");
    let held = |row: &str| row.split('`').skip(1).step_by(2).any(is_path);
    let rows: Vec<_> = rows.collect();
    assert!(!rows.is_empty());
    for row in rows {
        assert!(held(row), "{PAGE}: nothing holds {row}");
    }
}

/// A test, and what it says that it tries.
struct Test {
    module: String,
    function: String,
    tries: Vec<String>,
}

impl Test {
    fn name(&self) -> String {
        format!("{}::{}", self.module, self.function)
    }
}

/// All tests of this binary, in the order in which they stand in each file.
fn tests() -> Vec<Test> {
    sources("tests").into_iter().flat_map(|(file, text)| tests_of(&file, &text)).collect()
}

fn tests_of(file: &str, text: &str) -> Vec<Test> {
    let path = file.trim_start_matches("tests/").trim_end_matches(".rs").trim_end_matches("/mod");
    let outer = path.replace('/', "::");
    let mut module = outer.clone();
    let (mut found, mut tries, mut is_test) = (Vec::new(), Vec::new(), false);
    for line in text.lines() {
        let code = line.trim_start();
        if let Some(inner) = line.strip_prefix("mod ").and_then(|rest| rest.strip_suffix(" {")) {
            module = format!("{outer}::{inner}");
        } else if line == "}" {
            module.clone_from(&outer);
        } else if let Some(row) = code.strip_prefix(TRY) {
            assert!(line.chars().count() <= WIDEST, "{file}: too long for a line: {row}");
            tries.push(row.to_owned());
        } else if code == "#[test]" {
            is_test = true;
        } else if let Some(function) = code.strip_prefix("fn ").and_then(|rest| rest.split('(').next()) {
            let tries = std::mem::take(&mut tries);
            if std::mem::take(&mut is_test) {
                found.push(Test { module: module.clone(), function: function.to_owned(), tries });
            } else {
                assert!(tries.is_empty(), "{file}: `{function}` is no test and tries something");
            }
        } else {
            // Attributes may stand between, and nothing else.
            assert!(
                tries.is_empty() || code.starts_with("#["),
                "{file}: not the last of its comment: {tries:?}"
            );
        }
    }
    found
}

/// The tables of all groups.
fn table(tests: &[Test]) -> String {
    let mut of_module = BTreeMap::<_, Vec<_>>::new();
    for test in tests.iter().filter(|test| !test.tries.is_empty()) {
        of_module.entry(test.module.as_str()).or_default().push(test);
    }
    let mut text = String::new();
    for (heading, modules) in GROUPS {
        write!(text, "\n### {heading}\n\n").unwrap();
        text += "| what is tried | what it gets | who else notices | test |\n|---|---|---|---|\n";
        for module in *modules {
            let tests = of_module.remove(module).unwrap_or_else(|| panic!("`{module}` tries nothing"));
            for test in tests {
                for row in &test.tries {
                    assert_eq!(row.split(" | ").count(), 3, "{}: {row}", test.name());
                    writeln!(text, "| {row} | `{}` |", test.name()).unwrap();
                }
            }
        }
    }
    assert!(of_module.is_empty(), "in no group: {:?}", of_module.keys());
    text + "\n"
}

/// Whether this is how a test is named: `hostile::size::over_http2`.
fn is_path(code: &str) -> bool {
    let is_of_path = |character: char| {
        character.is_ascii_lowercase() || character.is_ascii_digit() || "_:".contains(character)
    };
    code.contains("::") && code.chars().all(is_of_path)
}

//! The tools that projects in each language are built with, and which of them this machine lacks.

use std::path::Path;
use std::process::{Command, Stdio};

use super::new::Language;

/// Something that is not as it should be, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) problem: String,
    pub(crate) fix: String,
}

/// A program that says its version.
struct Tool {
    name: &'static str,
    command: &'static str,
    version: &'static [&'static str],
    least: (u32, u32),
    install: &'static str,
}

const RUST: Tool = Tool {
    name: "Rust",
    command: "rustc",
    version: &["--version"],
    least: (1, 91),
    install: "`rustup update stable`, or https://rustup.rs where there is no rustup",
};
const NODE: Tool = Tool {
    name: "Node.js",
    command: "node",
    version: &["--version"],
    least: (20, 0),
    install: "https://nodejs.org/en/download has it for every system",
};
const GO: Tool = Tool {
    name: "Go",
    command: "go",
    version: &["version"],
    least: (1, 24),
    install: "https://go.dev/dl has it for every system",
};
const PYTHON: Tool = Tool {
    name: "Python",
    command: "python3",
    version: &["--version"],
    least: (3, 10),
    install: "https://www.python.org/downloads has it, and so has your distribution",
};

/// What a project in `language` cannot be built without, and is not there.
pub(crate) fn missing(language: Language) -> Vec<Finding> {
    match language {
        Language::Rust | Language::RustP3 => match RUST.look() {
            Ok(_) => wasm_target().err().into_iter().collect(),
            Err(finding) => vec![finding],
        },
        Language::Js | Language::Ts => NODE.look().err().into_iter().collect(),
        Language::Go => GO.look().err().into_iter().collect(),
        Language::Python => PYTHON.look().err().into_iter().collect(),
    }
}

impl Tool {
    /// Its version, if it is there and new enough.
    fn look(&self) -> Result<String, Finding> {
        let said = said(self.command, self.version);
        self.judge(said.as_deref())
    }

    fn judge(&self, said: Option<&str>) -> Result<String, Finding> {
        let Self { name, least: (major, minor), install, .. } = self;
        let lacking = |what: &str| Finding {
            problem: format!("{name} {major}.{minor} or newer is needed, and {what}"),
            fix: (*install).into(),
        };
        let said = said.ok_or_else(|| lacking("there is none"))?;
        match version(said) {
            Some(found) if found >= self.least => Ok(format!("{}.{}", found.0, found.1)),
            Some((major, minor)) => Err(lacking(&format!("this is {major}.{minor}"))),
            None => Err(lacking("there is one that does not say its version")),
        }
    }
}

/// The standard library for components.
fn wasm_target() -> Result<(), Finding> {
    let directory = said("rustc", &["--print", "target-libdir", "--target", "wasm32-wasip2"]);
    let entries = directory.and_then(|directory| Path::new(directory.trim()).read_dir().ok());
    let is_std = |name: &str| name.starts_with("libstd-");
    if entries.into_iter().flatten().flatten().any(|entry| entry.file_name().to_str().is_some_and(is_std)) {
        return Ok(());
    }
    Err(Finding {
        problem: "Rust has no standard library for wasm32-wasip2".into(),
        fix: "`rustup target add wasm32-wasip2`".into(),
    })
}

/// What a program prints that is not there to do anything else.
fn said(command: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(command).args(args).stdin(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The first two numbers of the first version in a text.
fn version(text: &str) -> Option<(u32, u32)> {
    text.split(|character: char| !character.is_ascii_digit() && character != '.').find_map(|word| {
        let mut numbers = word.split('.').map(str::parse);
        Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_found_where_tools_say_it() {
        for (text, expected) in [
            ("rustc 1.95.0 (59807616e 2026-04-14)", Some((1, 95))),
            ("v20.20.2\n", Some((20, 20))),
            ("go version go1.27.3 linux/amd64", Some((1, 27))),
            ("Python 3.11.7", Some((3, 11))),
            ("no version", None),
            ("", None),
        ] {
            assert_eq!(version(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_missing_or_too_old_is_said_with_the_way_to_it() {
        assert_eq!(GO.judge(Some("go version go1.24.1 linux/amd64")), Ok("1.24".into()));
        let problem = |said| GO.judge(said).expect_err("not good enough").problem;
        assert_eq!(problem(None), "Go 1.24 or newer is needed, and there is none");
        assert_eq!(problem(Some("go version go1.19.8")), "Go 1.24 or newer is needed, and this is 1.19");
        assert!(problem(Some("?")).ends_with("does not say its version"));
    }
}

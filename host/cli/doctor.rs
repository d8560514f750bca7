//! `wasmcluster doctor`: what this machine gives, and what would make it better.

use std::io::{IsTerminal, Write};

use clap::{Parser, ValueEnum};
use nix::sys::resource::{Resource, getrlimit};
use serde::Serialize;
use wasmcluster_core::message::{Conditions, Confinement, MemoryReset};
use wasmcluster_core::record::Record;

use super::args::{Cli, Command, DoctorArgs};
use super::exit::{Exit, Failure};
use super::moment::serve_for_a_moment;
use super::new::Language;
use super::render::{self, Colours};
use super::table::{Cell, Side, Tone, table};
use super::toolchain::{self, Finding};

/// One thing that was looked at.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Check {
    check: &'static str,
    found: String,
    /// What to do about it; nothing, where all is well.
    fix: Option<String>,
}

impl Check {
    fn good(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, found: found.into(), fix: None }
    }

    fn bad(check: &'static str, found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { check, found: found.into(), fix: Some(fix.into()) }
    }
}

/// Looks, and serves the demo for a moment. It is no failure that something could be better.
pub(crate) fn run(args: &DoctorArgs) -> Exit {
    let mut checks = machine();
    let served = serve_the_demo();
    match &served {
        Ok(conditions) => checks.extend(conditions.iter().flat_map(of_workers)),
        Err(Failure { message, hint, .. }) => {
            let fix = hint.as_deref().unwrap_or("`wasmcluster serve` says more");
            checks.push(Check::bad("serving", message, fix));
        }
    }
    checks.extend(Language::value_variants().iter().map(toolchain));
    if args.json {
        render::answer(&checks);
    } else {
        let mut stdout = std::io::stdout();
        let _ = stdout.write_all(words(&checks, Colours::of(stdout.is_terminal())).as_bytes());
    }
    served.map_or_else(|failure| failure.exit, |_| Exit::Done)
}

fn machine() -> Vec<Check> {
    let setting = |path: &str| std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
    let number = |path: &str| setting(path).and_then(|text| text.parse::<u64>().ok());
    let mut checks = Vec::new();
    if let Some(release) = setting("/proc/sys/kernel/osrelease") {
        checks.push(Check::good("kernel", format!("Linux {release}")));
    }
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        checks.push(descriptors(hard));
    }
    if let Some(mappings) = number("/proc/sys/vm/max_map_count") {
        checks.push(mapped(mappings));
    }
    if let Some(backlog) = number("/proc/sys/net/core/somaxconn") {
        checks.push(waiting(backlog));
    }
    checks
}

/// A worker takes up to 4096 connections, if nobody says otherwise.
fn descriptors(hard: u64) -> Check {
    let found = format!("{hard} files may be open in a process");
    match hard {
        0..4_160 => Check::bad("descriptors", found, "`ulimit -Hn 65536`, or lower `--max-connections`"),
        4_160..65_536 => {
            Check::bad("descriptors", found, "`ulimit -Hn 65536` lets a worker keep more connections")
        }
        _ => Check::good("descriptors", found),
    }
}

/// An instance that serves takes about eight of them.
fn mapped(most: u64) -> Check {
    let found = format!("{most} mappings in a process");
    match most {
        ..16_384 => Check::bad(
            "mappings",
            found,
            "`sysctl -w vm.max_map_count=65530`: instances are mapped one by one",
        ),
        _ => Check::good("mappings", found),
    }
}

fn waiting(most: u64) -> Check {
    let found = format!("{most} connections may wait at a listener");
    match most {
        ..1_024 => Check::bad(
            "backlog",
            found,
            "`sysctl -w net.core.somaxconn=4096`, or a burst of connections is refused",
        ),
        _ => Check::good("backlog", found),
    }
}

/// What a worker finds of which it can only be said once there is one.
fn of_workers(Conditions { reset, confinement, .. }: &Conditions) -> [Check; 2] {
    let sandbox = match confinement {
        Confinement::Full => Check::good("sandbox", "complete: Landlock and seccomp"),
        Confinement::Off => Check::bad("sandbox", "off", "unset WASMCLUSTER_SANDBOX"),
        Confinement::Partial { missing } => Check::bad(
            "sandbox",
            format!("in part, without {}", missing.join("; ")),
            "a kernel of 6.12 or newer, with Landlock switched on, has all of it",
        ),
    };
    let memory = match reset {
        MemoryReset::Pagemap => Check::good("memory", "reset by the pages that were written"),
        MemoryReset::Decommit { reason } => Check::bad(
            "memory",
            format!("given back page by page, which is slower: {reason}"),
            "a kernel of 6.7 or newer tells which pages were written",
        ),
        MemoryReset::OnDemand { reason } => Check::bad(
            "memory",
            format!("mapped for each instance, which is slower: {reason}"),
            "`ulimit -v unlimited`, and `sysctl -w vm.overcommit_memory=0`",
        ),
    };
    [sandbox, memory]
}

/// Serves the demo until it serves. What it takes, every app takes: directories, an address, a builder, a worker.
fn serve_the_demo() -> Result<Option<Conditions>, Failure> {
    let mut args = match Cli::try_parse_from(["wasmcluster", "serve"]).map(|cli| cli.command) {
        Ok(Command::Serve(args)) => *args,
        Ok(_) => return Ok(None),
        Err(error) => {
            let hint = "it comes from the environment".to_owned();
            return Err(Failure::usage(error.to_string().lines().next().unwrap_or_default(), Some(hint)));
        }
    };
    args.component = None;
    let mut found = None;
    serve_for_a_moment(args, |record| {
        if let Record::Conditions(conditions) = record {
            found = Some(conditions);
        }
    })?;
    Ok(found)
}

fn toolchain(language: &Language) -> Check {
    let check = match language {
        Language::Rust => "rust",
        Language::RustP3 => "rust-p3",
        Language::Js => "js",
        Language::Ts => "ts",
        Language::Go => "go",
        Language::Python => "python",
    };
    match toolchain::missing(*language).pop() {
        None => Check::good(check, "all that a project needs"),
        Some(Finding { problem, fix }) => Check::bad(check, problem, fix),
    }
}

fn words(checks: &[Check], colours: Colours) -> String {
    let columns = [("check", Side::Left), ("found", Side::Left), ("fix", Side::Left)];
    let rows: Vec<[Cell; 3]> = checks
        .iter()
        .map(|Check { check, found, fix }| {
            let tone = if fix.is_some() { Tone::Passing } else { Tone::Good };
            [
                Cell::plain(check),
                Cell { text: found.clone(), tone },
                Cell::plain(fix.as_deref().unwrap_or_default()),
            ]
        })
        .collect();
    table(columns, &rows, colours)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_short_comes_with_its_fix() {
        for (check, is_good) in [
            (descriptors(1_024), false),
            (descriptors(4_200), false),
            (descriptors(1 << 20), true),
            (mapped(1_000), false),
            (mapped(65_530), true),
            (waiting(128), false),
            (waiting(4_096), true),
        ] {
            assert_eq!(check.fix.is_none(), is_good, "{check:?}");
        }
    }
}

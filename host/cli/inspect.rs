//! `wasmcluster inspect`: what `serve` would make of a component.

use std::fs::File;
use std::io::{IsTerminal, Read, Write};
use std::time::Duration;

use bytesize::ByteSize;
use serde::Serialize;
use sha2::{Digest, Sha256};
use wasmcluster_core::app::{DirGrant, Guest};
use wasmcluster_core::component::{self, Inspected, Producer};
use wasmcluster_core::message::Shape;
use wasmcluster_core::record::Record;
use wasmcluster_core::rejection::Rejection;
use wasmcluster_supervisor::Component;

use super::args::{InspectArgs, ServeArgs};
use super::exit::{Exit, Failure};
use super::moment::serve_for_a_moment;
use super::render::{self, Colours, visible};
use super::serve::configuration;
use super::table::{Cell, Side, Tone, short_digest, table};

/// What a component is, and what it would get.
#[derive(Debug, Serialize)]
struct Report {
    component: String,
    bytes: u64,
    sha256: String,
    /// Of WASI's HTTP.
    wasi: &'static str,
    /// How many requests each instance would serve.
    max_instance_reuse_count: u32,
    /// Whether it is JavaScript of which an instance serves no other request, whatever it was told.
    fetch_event: bool,
    /// How long an instance takes to start, in microseconds, where that was measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    start_us: Option<u64>,
    made_by: Vec<MadeBy>,
    imports: Vec<Import>,
    exports: Vec<String>,
}

#[derive(Debug, Serialize)]
struct MadeBy {
    field: String,
    name: String,
    version: String,
}

#[derive(Debug, Serialize)]
struct Import {
    name: String,
    #[serde(flatten)]
    gets: Gets,
}

/// What a component gets of something that it imports.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "gets", rename_all = "kebab-case")]
enum Gets {
    /// Nothing could be granted or denied.
    All,
    /// What was granted, each by a flag.
    Granted { what: Vec<String> },
    /// What this flag grants, and it was not given.
    Nothing { flag: &'static str },
    /// There is no flag for it.
    Never,
    /// It can be linked, and a call ends the request.
    Refused,
    /// Nothing that could be linked.
    Missing,
}

/// Says what the component is that `serve` would serve.
pub(crate) fn run(args: InspectArgs) -> Exit {
    let InspectArgs { serve: args, measure } = args;
    let json = args.json;
    let looked = look(&args).and_then(|(report, missing)| match missing {
        // What cannot be linked cannot be started.
        Ok(()) if measure => Ok((Report { start_us: start(args)?, ..report }, Ok(()))),
        missing => Ok((report, missing)),
    });
    let (report, missing) = match looked {
        Ok(found) => found,
        Err(failure) => return render::failure(&failure, json),
    };
    if json {
        render::answer(&report);
        // What is missing stands in it.
        return if missing.is_ok() { Exit::Done } else { Exit::Rejected };
    }
    let mut stdout = std::io::stdout();
    let _ = stdout.write_all(words(&report, Colours::of(stdout.is_terminal())).as_bytes());
    missing.map_or_else(|rejection| render::failure(&rejected(rejection), false), |()| Exit::Done)
}

/// What it is, and whether everything is there that it imports.
fn look(args: &ServeArgs) -> Result<(Report, Result<(), Rejection>), Failure> {
    let configuration = configuration(args);
    let (component, guest) = (&configuration.component, &configuration.guest);
    let (name, bytes) = (component.name(), read(component)?);
    let inspected = component::inspect(&name, &bytes).map_err(rejected)?;
    let missing = component::imports(&name, &inspected.imports);
    let Inspected { shape, imports, exports, producers, fetch_event } = inspected;
    let import = |name: String| Import { gets: gets(&name, guest), name };
    let report = Report {
        component: name,
        bytes: bytes.len() as u64,
        sha256: format!("{:x}", Sha256::digest(&bytes)),
        wasi: match shape {
            Shape::P2 => "0.2",
            Shape::P3 => "0.3",
        },
        max_instance_reuse_count: match fetch_event {
            true => 1,
            false => guest.max_instance_reuse_count.unwrap_or(shape.default_reuse()).max(1),
        },
        fetch_event,
        start_us: None,
        made_by: producers
            .into_iter()
            .map(|Producer { field, name, version }| MadeBy { field, name, version })
            .collect(),
        imports: imports.into_iter().map(import).collect(),
        exports,
    };
    Ok((report, missing))
}

/// How long an instance takes to start, in microseconds.
fn start(args: ServeArgs) -> Result<Option<u64>, Failure> {
    let mut took = None;
    serve_for_a_moment(args, |record| {
        if let Record::InstanceStarted { micros, .. } = record {
            took = Some(micros);
        }
    })?;
    Ok(took)
}

fn read(component: &Component) -> Result<Vec<u8>, Failure> {
    let opened = component.open().map_err(|error| Failure {
        exit: Exit::Rejected,
        message: error.to_string(),
        hint: error.hint(),
    })?;
    let mut bytes = Vec::new();
    File::from(opened).read_to_end(&mut bytes).map_err(|error| Failure {
        exit: Exit::Rejected,
        message: format!("cannot read `{}`: {error}", component.name()),
        hint: None,
    })?;
    Ok(bytes)
}

fn rejected(Rejection { message, hint, limit: _ }: Rejection) -> Failure {
    Failure { exit: Exit::Rejected, message, hint }
}

/// What a guest with these grants gets of `import`.
fn gets(import: &str, guest: &Guest) -> Gets {
    fn granted(flag: &'static str, what: impl Iterator<Item = String>) -> Gets {
        let what: Vec<String> = what.collect();
        if what.is_empty() { Gets::Nothing { flag } } else { Gets::Granted { what } }
    }
    let names = |pairs: &[(String, String)]| pairs.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    if !component::is_provided(import) {
        return if component::is_foreign(import) { Gets::Refused } else { Gets::Missing };
    }
    match import.split_once('@').map_or(import, |(interface, _)| interface) {
        "wasi:cli/environment" => granted("env", names(&guest.env).into_iter()),
        "wasi:config/store" | "wasi:config/runtime" | "fermyon:spin/variables" => {
            granted("config-var", names(&guest.config).into_iter())
        }
        "wasi:filesystem/preopens" | "wasi:filesystem/types" => {
            let shown = |dir: &DirGrant| match dir.writable {
                true => dir.guest.clone(),
                false => format!("{} (read only)", dir.guest),
            };
            granted("dir", guest.dirs.iter().map(shown))
        }
        "wasi:http/outgoing-handler" | "wasi:http/client" => {
            granted("allow-outbound", guest.outbound.iter().map(ToString::to_string))
        }
        interface if interface.starts_with("wasi:sockets/") => Gets::Never,
        _ => Gets::All,
    }
}

fn words(report: &Report, colours: Colours) -> String {
    let Report { component, sha256, wasi, exports, .. } = report;
    let shown = |text: &str| visible(text, colours).into_owned();
    let mut lines = vec![
        format!(
            "{}: a component of {}, sha256 {}",
            shown(component),
            ByteSize(report.bytes).display().si(),
            short_digest(sha256)
        ),
        format!("  handler  wasi:http {wasi}"),
        match report.max_instance_reuse_count {
            _ if report.fetch_event => {
                "  reuse    none: it answers fetch events, and its engine only the first one".to_owned()
            }
            1 => "  reuse    none: each request gets a fresh instance".to_owned(),
            most => format!("  reuse    an instance serves up to {most} requests"),
        },
    ];
    if let Some(micros) = report.start_us {
        lines.push(format!("  start    a fresh instance takes {:?}", Duration::from_micros(micros)));
    }
    if !report.made_by.is_empty() {
        let made_by = report
            .made_by
            .iter()
            .map(|MadeBy { name, version, .. }| shown(format!("{name} {version}").trim_end()));
        lines.push(format!("  made by  {}", made_by.collect::<Vec<_>>().join(", ")));
    }
    lines.push(format!(
        "  exports  {}",
        exports.iter().map(|name| shown(name)).collect::<Vec<_>>().join(", ")
    ));
    let mut text = lines.join("\n") + "\n";
    if !report.imports.is_empty() {
        let rows: Vec<[Cell; 2]> = report
            .imports
            .iter()
            .map(|import| [Cell::plain(shown(&import.name)), import.gets.cell(shown)])
            .collect();
        text += "\n";
        text += &table([("import", Side::Left), ("what it gets", Side::Left)], &rows, colours);
    }
    text
}

impl Gets {
    fn cell(&self, shown: impl Fn(&str) -> String) -> Cell {
        let (text, tone) = match self {
            Self::All => ("all of it".to_owned(), Tone::Plain),
            Self::Granted { what } => {
                (what.iter().map(|what| shown(what)).collect::<Vec<_>>().join(", "), Tone::Good)
            }
            Self::Nothing { flag } => (format!("nothing: `--{flag}` was not given"), Tone::Passing),
            Self::Never => ("nothing: there is no flag for it".to_owned(), Tone::Plain),
            Self::Refused => ("nothing: a call ends the request".to_owned(), Tone::Passing),
            Self::Missing => ("it is not there".to_owned(), Tone::Bad),
        };
        Cell { text, tone }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a guest with one of everything gets, and one with nothing.
    fn guests() -> [Guest; 2] {
        let line = [
            "serve",
            "--env",
            "A=1",
            "--dir",
            "/tmp::/data::ro",
            "--config-var",
            "k=v",
            "--allow-outbound",
            "*",
        ];
        [&line[..], &line[..1]].map(|line| {
            let cli = <crate::cli::args::Cli as clap::Parser>::parse_from([&["wasmcluster"], line].concat());
            match cli.command {
                crate::cli::args::Command::Serve(args) => configuration(&args).guest,
                other => panic!("{other:?}"),
            }
        })
    }

    /// Names are whatever their author wrote, and a terminal obeys what is printed on it.
    #[test]
    fn names_do_not_steer_a_terminal() {
        let name = "\x1b]0;title\x07";
        let report = Report {
            component: name.into(),
            bytes: 8,
            sha256: "0".repeat(64),
            wasi: "0.2",
            max_instance_reuse_count: 1,
            fetch_event: false,
            start_us: Some(21),
            made_by: vec![MadeBy { field: "language".into(), name: name.into(), version: name.into() }],
            imports: vec![Import { name: name.into(), gets: Gets::Granted { what: vec![name.into()] } }],
            exports: vec![name.into()],
        };
        let text = words(&report, Colours::Plain);
        assert!(text.chars().all(|character| character == '\n' || !character.is_control()), "{text:?}");
        assert_eq!(text.matches("\\u{1b}]0;title\\u{7}").count(), 6);
    }

    #[test]
    fn what_is_granted_is_what_the_flags_say() {
        let [all, none] = guests();
        for (import, flag, what) in [
            ("wasi:cli/environment@0.2.3", "env", "A"),
            ("wasi:filesystem/types@0.3.0", "dir", "/data (read only)"),
            ("wasi:config/store@0.2.0-rc.1", "config-var", "k"),
            ("wasi:config/store@0.2.0-draft-2024-09-27", "config-var", "k"),
            ("wasi:http/outgoing-handler@0.2.0", "allow-outbound", "*"),
            ("wasi:http/client@0.3.0", "allow-outbound", "*"),
        ] {
            assert_eq!(gets(import, &all), Gets::Granted { what: vec![what.into()] }, "{import}");
            assert_eq!(gets(import, &none), Gets::Nothing { flag }, "{import}");
        }
        for (import, expected) in [
            ("wasi:io/streams@0.2.0", Gets::All),
            ("wasi:sockets/tcp@0.2.0", Gets::Never),
            ("fermyon:spin/key-value@2.0.0", Gets::Refused),
            ("wasi:http/types@0.3.0-rc-2026-01-01", Gets::Missing),
            ("acme:thing/store", Gets::Missing),
        ] {
            for guest in guests() {
                assert_eq!(gets(import, &guest), expected, "{import}");
            }
        }
    }
}

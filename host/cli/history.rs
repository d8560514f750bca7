//! `wasmcluster history`.

use std::io::{IsTerminal, Write};

use bytesize::ByteSize;
use serde::Serialize;
use wasmcluster_core::cluster::Generation;
use wasmcluster_core::history::{Entry, Fate, Way};
use wasmcluster_supervisor::App;

use super::args::HistoryArgs;
use super::exit::{Exit, Failure};
use super::render::{self, Colours, Why, calendar, visible};
use super::table::{Cell, Side, Tone, short_digest, table};

/// An entry, for a program to read.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    generation: Generation,
    time: String,
    component: &'a str,
    digest: &'a str,
    bytes: u64,
    #[serde(flatten)]
    way: &'a Way,
    #[serde(flatten)]
    fate: &'a Fate,
}

/// Asks one app which generations it had.
pub(crate) fn run(args: HistoryArgs) -> Exit {
    match ask(&args) {
        Ok(entries) if args.json => {
            render::answer(&entries.iter().map(Shown::of).collect::<Vec<_>>());
        }
        Ok(entries) => {
            let mut stdout = std::io::stdout();
            let _ = stdout.write_all(words(&entries, Colours::of(stdout.is_terminal())).as_bytes());
        }
        Err(failure) => return render::failure(&failure, args.json),
    }
    Exit::Done
}

fn ask(args: &HistoryArgs) -> Result<Vec<Entry>, Failure> {
    let app = App::find(&args.which.place.directory(), args.which.app.clone())?;
    Ok(app.history()?)
}

impl<'a> Shown<'a> {
    fn of(entry: &'a Entry) -> Self {
        let Entry { generation, component, digest, bytes, at, way, fate } = entry;
        Self { generation: *generation, time: calendar(*at), component, digest, bytes: *bytes, way, fate }
    }
}

fn words(entries: &[Entry], colours: Colours) -> String {
    let columns = [
        ("generation", Side::Right),
        ("time", Side::Left),
        ("way", Side::Left),
        ("component", Side::Left),
        ("sha256", Side::Left),
        ("size", Side::Right),
        ("fate", Side::Left),
    ];
    let rows: Vec<_> = entries.iter().map(|entry| row(entry, colours)).collect();
    table(columns, &rows, colours)
}

fn row(entry: &Entry, colours: Colours) -> [Cell; 7] {
    let way = match entry.way {
        Way::Start => "start".to_owned(),
        Way::Push => "push".to_owned(),
        Way::Reload => "reload".to_owned(),
        Way::Watch => "watch".to_owned(),
        Way::Upgrade => "upgrade".to_owned(),
        Way::Rollback { to } => format!("rollback to {to}"),
    };
    let (fate, tone) = match &entry.fate {
        Fate::Rolling => ("rolling out".to_owned(), Tone::Passing),
        Fate::Serving => ("serving".to_owned(), Tone::Good),
        Fate::Served => ("served".to_owned(), Tone::Plain),
        Fate::GivenUp { abort } => (format!("given up: {}", Why(abort)), Tone::Bad),
    };
    [
        Cell::plain(entry.generation),
        Cell::plain(calendar(entry.at)),
        Cell::plain(way),
        Cell::plain(visible(&entry.component, colours)),
        Cell::plain(short_digest(&entry.digest)),
        Cell::plain(ByteSize(entry.bytes).display().si()),
        Cell { text: fate, tone },
    ]
}

#[cfg(test)]
mod tests {
    use wasmcluster_core::cluster::Abort;
    use wasmcluster_core::record::Stamp;

    use super::*;

    #[test]
    fn every_generation_is_shown_with_its_fate() {
        let entry = |generation, way, fate| Entry {
            generation: Generation(generation),
            component: "shop.wasm".into(),
            digest: "0123456789abcdef".repeat(4),
            bytes: 91_000,
            at: Stamp(1_700_000_000_000 + generation),
            way,
            fate,
        };
        let abort = Abort::Refused { reason: "it traps".into() };
        let entries = [
            entry(1, Way::Start, Fate::Served),
            entry(2, Way::Push, Fate::GivenUp { abort }),
            entry(3, Way::Rollback { to: Generation(1) }, Fate::Serving),
        ];
        let expected = "\
generation  time                      way            component  sha256           size  fate
         1  2023-11-14T22:13:20.001Z  start          shop.wasm  0123456789ab  91.0 kB  served
         2  2023-11-14T22:13:20.002Z  push           shop.wasm  0123456789ab  91.0 kB  given up: it traps
         3  2023-11-14T22:13:20.003Z  rollback to 1  shop.wasm  0123456789ab  91.0 kB  serving
";
        assert_eq!(words(&entries, Colours::File), expected);
    }
}

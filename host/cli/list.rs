//! `wasmcluster list`.

use core::net::SocketAddr;
use std::io::{IsTerminal, Write};
use std::thread;

use serde::Serialize;
use wasmcluster_core::cluster::Generation;
use wasmcluster_core::control::AppName;
use wasmcluster_supervisor::App;

use super::args::ListArgs;
use super::exit::{Exit, Failure};
use super::render::{self, Colours};
use super::table::{Cell, Side, Tone, table};

/// One app in the list. Of one that does not answer only the first two are known.
#[derive(Debug, Serialize)]
struct Entry {
    name: AppName,
    pid: Option<i32>,
    #[serde(flatten)]
    found: Found,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Found {
    Running { addr: SocketAddr, generation: Generation, serving: usize, instances: usize },
    Unanswered { error: String },
}

/// Asks all apps, and shows a line for each.
pub(crate) fn run(args: ListArgs) -> Exit {
    let entries: Vec<Entry> = match App::all(&args.place.directory()) {
        Ok(apps) => ask(apps),
        Err(error) => return render::failure(&Failure::from(error), args.json),
    };
    if args.json {
        render::answer(&entries);
        return Exit::Done;
    }
    // For a person; a script that counts lines on stdout counts none.
    if entries.is_empty() {
        let _ = writeln!(std::io::stderr(), "no app is running");
        return Exit::Done;
    }
    let mut stdout = std::io::stdout();
    let _ = stdout.write_all(words(&entries, Colours::of(stdout.is_terminal())).as_bytes());
    Exit::Done
}

/// All at once: one that does not answer makes nobody else wait.
fn ask(apps: Vec<App>) -> Vec<Entry> {
    thread::scope(|scope| {
        let asked: Vec<_> = apps.into_iter().map(|app| scope.spawn(|| Entry::of(app))).collect();
        asked.into_iter().filter_map(|entry| entry.join().ok()).collect()
    })
}

impl Entry {
    fn of(app: App) -> Self {
        let (name, pid) = (app.name().clone(), app.pid());
        let found = match app.status() {
            Ok(status) => Found::Running {
                addr: status.addr,
                generation: status.cluster.generation,
                serving: status.cluster.serving(),
                instances: status.cluster.slots.len(),
            },
            Err(error) => Found::Unanswered { error: error.to_string() },
        };
        Self { name, pid, found }
    }
}

fn words(entries: &[Entry], colours: Colours) -> String {
    let columns = [
        ("name", Side::Left),
        ("address", Side::Left),
        ("pid", Side::Right),
        ("generation", Side::Right),
        ("workers", Side::Right),
    ];
    let rows: Vec<_> = entries.iter().map(row).collect();
    table(columns, &rows, colours)
}

fn row(Entry { name, pid, found }: &Entry) -> [Cell; 5] {
    let (name, pid) = (Cell::plain(name), Cell::optional(*pid));
    match found {
        Found::Running { addr, generation, serving, instances } => {
            let tone = if serving == instances { Tone::Good } else { Tone::Passing };
            let workers = Cell { text: format!("{serving}/{instances}"), tone };
            [name, Cell::plain(format_args!("http://{addr}/")), pid, Cell::plain(generation), workers]
        }
        Found::Unanswered { .. } => {
            let silent = Cell { text: "does not answer".into(), tone: Tone::Bad };
            [name, silent, pid, Cell::nothing(), Cell::nothing()]
        }
    }
}

//! What each component of a directory takes: to be compiled, and to answer with a fresh instance and with one that is reused.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::args::Args;
use crate::cells::Table;
use crate::compare::Comparison;
use crate::measure::Load;
use crate::peer::{Peer, Wasmcluster};
use crate::program::{cache, program};
use crate::report::Row;
use crate::sample::median;
use crate::server::Server;
use crate::table::ratio;

const FRESH: &[&str] = &["--max-instance-reuse-count", "1"];
const REUSED: &[&str] = &["--max-instance-reuse-count", "1000000"];

/// What was found, in the order of the components' names.
#[derive(Debug, Serialize)]
pub(crate) struct Languages {
    rounds: u32,
    seconds: f64,
    connections: u32,
    hyper: Row,
    components: Vec<Component>,
}

#[derive(Debug, Serialize)]
struct Component {
    name: String,
    #[serde(flatten)]
    inspected: Inspected,
    /// The median time from exec to the first response with an empty cache, less that with a full one.
    compile_seconds: f64,
    /// From exec to the first response with a full cache: the median.
    start_ms: f64,
    fresh: Row,
    /// None where an instance serves one request, whatever it was told.
    reused: Option<Row>,
}

/// Of what `wasmcluster inspect` says, that which is shown.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Inspected {
    bytes: u64,
    /// Of WASI's HTTP.
    wasi: String,
    max_instance_reuse_count: u32,
}

impl Languages {
    pub(crate) fn measure(args: &Args, directory: &Path) -> Result<Self> {
        let comparison = Comparison::new(args)?;
        let program = program(args)?;
        let mut guests = Vec::new();
        for file in components(directory)? {
            guests.push(Guest::new(&file, &program)?);
        }
        let mut times = Vec::new();
        for guest in &guests {
            times.push(guest.start(comparison.rounds)?);
        }
        let peers: Vec<&dyn Peer> = guests.iter().flat_map(Guest::peers).collect();
        let milliseconds = comparison.milliseconds();
        let closed = |_: &str| Load::Closed { milliseconds };
        let mut rows = comparison.rows(&peers, 1, comparison.connections, closed)?.into_iter();
        let mut next = || rows.next().ok_or("a row is missing");
        let hyper = next()?;
        let mut components = Vec::new();
        for (guest, (compile_seconds, start_ms)) in guests.iter().zip(times) {
            components.push(Component {
                name: guest.name.clone(),
                inspected: guest.inspected.clone(),
                compile_seconds,
                start_ms,
                fresh: next()?,
                reused: guest.reused.as_ref().map(|_| next()).transpose()?,
            });
            guest.forget()?;
        }
        let Comparison { rounds, seconds, connections, .. } = comparison;
        Ok(Self { rounds, seconds, connections, hyper, components })
    }

    pub(crate) fn text(&self) -> String {
        self.table().text() + &self.note()
    }

    pub(crate) fn markdown(&self) -> String {
        self.table().markdown() + &self.note()
    }

    fn table(&self) -> Table {
        let mut hyper = ["bare hyper", "–", "–", "–"].map(str::to_owned).to_vec();
        // It has no instances: what it takes stands beside both.
        for _ in [FRESH, REUSED] {
            hyper.extend(cells(&self.hyper));
        }
        let rows = std::iter::once(hyper).chain(self.components.iter().map(Component::cells)).collect();
        Table {
            title: format!("1 instance, server and client on a core each, {} connections", self.connections),
            head: vec![
                "",
                "MB",
                "compile s",
                "start ms",
                "fresh: CPU µs/request",
                "× hyper",
                "worker MB",
                "reused: CPU µs/request",
                "× hyper",
                "worker MB",
            ],
            rows,
        }
    }

    /// What the table cannot say.
    fn note(&self) -> String {
        let once = self.components.iter().filter(|component| component.reused.is_none());
        let names: Vec<_> = once.map(|component| format!("`{}`", component.name)).collect();
        if names.is_empty() {
            return String::new();
        }
        format!("Refused: an instance of {} serves one request, whatever it was told.\n", names.join(", "))
    }
}

impl Component {
    fn cells(&self) -> Vec<String> {
        #[expect(clippy::cast_precision_loss, reason = "components are far smaller than 2^53")]
        let megabytes = self.inspected.bytes as f64 / 1e6;
        let mut cells = vec![
            self.name.clone(),
            format!("{megabytes:.1}"),
            format!("{:.1}", self.compile_seconds),
            format!("{:.0}", self.start_ms),
        ];
        cells.extend(self::cells(&self.fresh));
        cells.extend(match &self.reused {
            Some(row) => self::cells(row),
            None => ["refused", "–", "–"].map(str::to_owned),
        });
        cells
    }
}

fn cells(row: &Row) -> [String; 3] {
    let median = &row.median;
    [format!("{:.1}", median.cpu_micros), ratio(row), format!("{:.1}", median.worker_pss_mb)]
}

/// A component, and the servers of it.
struct Guest {
    name: String,
    inspected: Inspected,
    /// Its own, so that it can be emptied.
    cache: PathBuf,
    fresh: Wasmcluster,
    reused: Option<Wasmcluster>,
}

impl Guest {
    fn new(file: &Path, program: &Path) -> Result<Self> {
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let cache = cache()?.with_file_name(format!("wasmcluster-load-cache-of-{name}"));
        let inspected = inspect(file, program)?;
        let peer = |how: &str, flags: &[&'static str]| Wasmcluster {
            name: format!("{name} {how}"),
            program: program.to_owned(),
            cache: cache.clone(),
            component: Some(file.to_owned()),
            body: None,
            flags: flags.to_vec(),
        };
        let fresh = peer("fresh", FRESH);
        let reused = (inspected.max_instance_reuse_count > 1).then(|| peer("reused", REUSED));
        Ok(Self { name, inspected, cache, fresh, reused })
    }

    fn peers(&self) -> impl Iterator<Item = &dyn Peer> {
        std::iter::once(&self.fresh).chain(&self.reused).map(|peer| peer as &dyn Peer)
    }

    /// The seconds that it takes to be compiled, and the milliseconds to the first response when it has been.
    #[expect(clippy::print_stderr, reason = "so that people see that something happens")]
    fn start(&self, rounds: u32) -> Result<(f64, f64)> {
        let (mut empty, mut full) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            self.forget()?;
            DirBuilder::new().mode(0o700).create(&self.cache)?;
            empty.push(Server::cold_start(&self.fresh)?.as_secs_f64());
            full.push(Server::cold_start(&self.fresh)?.as_secs_f64());
        }
        let (empty, full) = (median(empty), median(full));
        eprintln!("{:<27} {empty:>7.3} s to the first response, {full:.3} s when compiled", self.name);
        Ok((empty - full, full * 1e3))
    }

    /// Empties its cache.
    fn forget(&self) -> Result<()> {
        if self.cache.exists() {
            fs::remove_dir_all(&self.cache)?;
        }
        Ok(())
    }
}

fn inspect(file: &Path, program: &Path) -> Result<Inspected> {
    let mut command = Command::new(program);
    command.args(["inspect", "--json"]).args(REUSED).arg(file).current_dir("/");
    let output = command.output().map_err(|error| format!("cannot run `{}`: {error}", program.display()))?;
    serde_json::from_slice(&output.stdout).map_err(|_| {
        format!("{}: {}", file.display(), String::from_utf8_lossy(&output.stderr).trim_end()).into()
    })
}

/// The components in a directory, by their names.
fn components(directory: &Path) -> Result<Vec<PathBuf>> {
    let error = |error| format!("{}: {error}", directory.display());
    let mut files = Vec::new();
    for entry in directory.canonicalize().and_then(fs::read_dir).map_err(error)? {
        let file = entry.map_err(error)?.path();
        if file.extension() == Some(OsStr::new("wasm")) {
            files.push(file);
        }
    }
    files.sort();
    if files.is_empty() {
        return Err(format!("there is no component in `{}`", directory.display()).into());
    }
    Ok(files)
}

//! The benchmark: who takes turns at what.

use std::env;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::args::Args;
use crate::measure::{Load, Turn};
use crate::peer::{BODY, Hyper, Peer, Wasmcluster, WasmtimeServe};
use crate::report::{ColdStart, Ratio, Report, Row, Sandbox, Spread};
use crate::sample::{Sample, median, quartiles};
use crate::server::Server;
use crate::{Result, launch, table};

const INSTANCES: [u32; 3] = [1, 2, 4];
/// Fresh connections at once: enough for all workers to have one, few enough to time the server and not the queue.
const FRESH_AT_ONCE: u32 = 8;
/// Slots, fresh connections, and how far from the mean a slot's share may be.
const SPREAD: (u32, u64, f64) = (4, 20_000, 0.05);
/// Of what a server can do at most, the constant rate at which its tails are looked at.
const LOAD_FACTOR: f64 = 0.5;

/// Pairs of turns in a round that weigh the sandbox, and how long each of them is. What it costs is less than two turns differ
/// by, and what they differ by comes and goes within tenths of a second: many short ones find what a few long ones do not.
const PAIRS: u32 = 40;
/// See [`PAIRS`], in milliseconds.
const SHORT_TURN: u64 = 60;

/// What a run consists of.
struct Plan {
    rounds: u32,
    seconds: f64,
    connections: u32,
    cold_starts: u32,
    fresh_requests: u64,
    /// Pairs of turns that weigh the sandbox.
    pairs: u32,
    sleep: bool,
    cpus: Option<(usize, usize)>,
    variants: Vec<Box<dyn Peer>>,
    /// Those of `variants` whose sandbox is weighed.
    sandboxed: Vec<Wasmcluster>,
    demo: Wasmcluster,
}

/// Runs what `args` ask for, prints it, and says whether nothing was wrong.
#[expect(clippy::print_stdout, reason = "a program for people")]
pub(crate) fn run(args: &Args) -> Result<bool> {
    let plan = Plan::new(args)?;
    let report = plan.run()?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else if args.markdown {
        print!("{}", table::markdown(&report));
    } else {
        print!("{}", table::text(&report, !args.quick));
    }
    // Wrong answers have ended the run already, and times are for people to judge. So is the spread where somebody is in a
    // hurry: who falls behind has what waits taken away, and a machine that is busy makes somebody fall behind.
    Ok(args.quick || report.spread.is_none_or(|spread| spread.widest() <= SPREAD.2))
}

impl Plan {
    fn new(args: &Args) -> Result<Self> {
        let program = program(args)?;
        let cache = cache()?;
        let mut variants: Vec<Box<dyn Peer>> = Vec::new();
        for variant in Wasmcluster::variants(&program, &cache) {
            variants.push(Box::new(variant));
        }
        if let Some(wasmtime) = &args.wasmtime {
            let wasmtime =
                wasmtime.canonicalize().map_err(|error| format!("{}: {error}", wasmtime.display()))?;
            for variant in WasmtimeServe::variants(&wasmtime) {
                variants.push(Box::new(variant));
            }
        }
        if let Some(only) = &args.only {
            variants.retain(|variant| variant.name().contains(only.as_str()));
        }
        let mut sandboxed = Wasmcluster::variants(&program, &cache);
        sandboxed.retain(|variant| variants.iter().any(|row| row.name() == variant.name()));
        let seconds = args.seconds.unwrap_or(if args.quick { 0.2 } else { 2.0 });
        if !(0.05..=600.0).contains(&seconds) {
            return Err("--seconds must be between 0.05 and 600".into());
        }
        let rounds = args.rounds.unwrap_or(if args.quick { 1 } else { 3 });
        Ok(Self {
            rounds,
            seconds,
            connections: args.connections,
            cold_starts: if args.quick { 3 } else { 20 },
            fresh_requests: if args.quick { 2_000 } else { 20_000 },
            pairs: if args.quick { 3 } else { rounds * PAIRS },
            sleep: args.sleeping_client,
            cpus: launch::two_cpus()?,
            variants,
            sandboxed,
            demo: Wasmcluster::demo(&program, &cache),
        })
    }

    fn run(&self) -> Result<Report> {
        let mut report = Report {
            rounds: self.rounds,
            seconds: self.seconds,
            connections: self.connections,
            ..Report::default()
        };
        let milliseconds = self.milliseconds();
        report.cold_start = self.cold_start()?;
        for instances in INSTANCES {
            let rows = self.compare(instances, self.connections, |_| Load::Closed { milliseconds })?;
            report.keep_alive.extend(rows);
        }
        let requests = self.fresh_requests;
        for instances in [1, 4] {
            let rows = self.compare(instances, FRESH_AT_ONCE, |_| Load::Fresh { requests })?;
            report.fresh_connections.extend(rows);
        }
        let fastest = |name: &str| {
            let row = report.keep_alive.iter().find(|row| row.instances == 1 && row.name == name);
            row.map_or(1_000.0, |row| row.median.requests_per_second)
        };
        report.constant_rate = self.compare(1, self.connections, |name| Load::Open {
            milliseconds,
            rate: fastest(name) * LOAD_FACTOR,
        })?;
        for variant in &self.sandboxed {
            report.sandbox.push(self.sandbox(variant)?);
        }
        report.spread = Some(self.spread()?);
        Ok(report)
    }

    /// Lets hyper and each variant take turns, and puts each variant beside the hyper that ran just before it.
    fn compare(&self, instances: u32, connections: u32, load: impl Fn(&str) -> Load) -> Result<Vec<Row>> {
        let cpus = self.cpus.filter(|_| instances == 1);
        let mut hyper = Vec::new();
        let variants: Vec<&dyn Peer> = self.peers(instances).collect();
        let mut theirs = vec![Vec::new(); variants.len()];
        for round in 1..=self.rounds {
            for (variant, samples) in variants.iter().zip(&mut theirs) {
                let take = |peer: &dyn Peer| -> Result<Sample> {
                    let load = load(peer.name());
                    let sample = Turn { instances, connections, load, sleep: self.sleep, cpus }.take(peer)?;
                    self.progress(round, peer.name(), instances, &load, &sample);
                    Ok(sample)
                };
                hyper.push(take(&Hyper)?);
                samples.push((take(*variant)?, hyper.len() - 1));
            }
        }
        let mut rows = Vec::new();
        for (variant, samples) in variants.iter().zip(theirs) {
            let ratios: Vec<f64> =
                samples.iter().map(|(own, at)| own.cpu_micros / hyper[*at].cpu_micros).collect();
            let samples: Vec<Sample> = samples.into_iter().map(|(sample, _)| sample).collect();
            rows.push(Row {
                name: variant.name().to_owned(),
                ours: variant.is_ours(),
                instances,
                median: Sample::median_of(&samples),
                ratio: Some(Ratio::of(&ratios)),
            });
        }
        let name = Hyper.name().to_owned();
        rows.insert(0, Row { name, ours: false, instances, median: Sample::median_of(&hyper), ratio: None });
        Ok(rows)
    }

    /// Who can be `instances` processes.
    fn peers(&self, instances: u32) -> impl Iterator<Item = &dyn Peer> {
        self.variants.iter().map(AsRef::as_ref).filter(move |peer| instances <= peer.max_instances())
    }

    /// Lets a server and the same without its sandbox take many short turns. Both are there all the time, so that whatever
    /// else happens to a pair of turns happens to both of them.
    fn sandbox(&self, variant: &Wasmcluster) -> Result<Sandbox> {
        let server_cpu = self.cpus.map(|(server, _)| server);
        let with = Server::start(variant, 1, server_cpu)?;
        let without = Server::start(&variant.without_sandbox(), 1, server_cpu)?;
        let turn = Turn {
            instances: 1,
            connections: self.connections,
            load: Load::Closed { milliseconds: SHORT_TURN },
            sleep: self.sleep,
            cpus: self.cpus,
        };
        let mut turns = [Vec::new(), Vec::new()];
        for pair in 0..self.pairs {
            let mut order = [(&with, 0), (&without, 1)];
            // Who is first follows the other's break.
            if pair % 2 == 1 {
                order.reverse();
            }
            for (server, at) in order {
                turns[at].push(turn.load(server, &["--body", BODY])?.cpu_micros(variant.name())?);
            }
        }
        let [with, without] = turns;
        let ratios: Vec<f64> = with.iter().zip(&without).map(|(with, without)| with / without).collect();
        Ok(Sandbox {
            name: variant.name().to_owned(),
            pairs: ratios.len(),
            with: median(with),
            without: median(without),
            ratio: quartiles(&ratios),
        })
    }

    fn cold_start(&self) -> Result<Vec<ColdStart>> {
        let mut peers: Vec<&dyn Peer> = vec![&Hyper];
        peers.extend(self.peers(1));
        let mut times = vec![Vec::new(); peers.len()];
        // The first start of each fills the cache and is not counted.
        for round in 0..=self.cold_starts {
            for (peer, times) in peers.iter().zip(&mut times) {
                let time = Server::cold_start(*peer)?.as_secs_f64() * 1e3;
                if round > 0 {
                    times.push(time);
                }
            }
        }
        let cold_start = |(peer, times): (&&dyn Peer, Vec<f64>)| ColdStart {
            name: peer.name().to_owned(),
            ours: peer.is_ours(),
            starts: self.cold_starts,
            least: times.iter().copied().fold(f64::INFINITY, f64::min),
            most: times.iter().copied().fold(0.0, f64::max),
            median: median(times),
        };
        Ok(peers.iter().zip(times).map(cold_start).collect())
    }

    fn spread(&self) -> Result<Spread> {
        let (instances, requests, _) = SPREAD;
        let server = Server::start(&self.demo, instances, None)?;
        let turn = Turn {
            instances,
            connections: FRESH_AT_ONCE,
            load: Load::Fresh { requests },
            sleep: false,
            cpus: None,
        };
        let outcome = turn.load(&server, &["--path", "/json", "--slots"])?;
        if !outcome.errors.is_empty() {
            return Err(
                format!("the demo: {} good answers, and {:?}", outcome.requests, outcome.errors).into()
            );
        }
        Ok(Spread::of(outcome.slots, instances))
    }

    fn milliseconds(&self) -> u64 {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 50 and 600,000")]
        let milliseconds = (self.seconds * 1e3) as u64;
        milliseconds
    }

    #[expect(clippy::print_stderr, reason = "so that people see that something happens")]
    fn progress(&self, round: u32, name: &str, instances: u32, load: &Load, sample: &Sample) {
        eprintln!(
            "{round}/{} {name:<19} x{instances} {:>7.0} requests/s {:>6.2} µs CPU {:>3.0} % waiting   {load:?}",
            self.rounds,
            sample.requests_per_second,
            sample.cpu_micros,
            sample.server_waited * 100.0
        );
    }
}

/// The program to measure: what was asked for, or the one beside this one, built if need be.
fn program(args: &Args) -> Result<PathBuf> {
    if let Some(program) = &args.server {
        return Ok(program.canonicalize().map_err(|error| format!("{}: {error}", program.display()))?);
    }
    let own = env::current_exe()?;
    let program = own.with_file_name("wasmcluster");
    if program.is_file() {
        return Ok(program);
    }
    build(&own)?;
    if program.is_file() { Ok(program) } else { Err(format!("{} was not built", program.display()).into()) }
}

/// Builds our server with the profile, and into the directory, that this program was built with.
#[expect(clippy::print_stderr, reason = "it takes minutes")]
fn build(own: &Path) -> Result<()> {
    let (Some(profile_dir), Some(target)) = (own.parent(), own.ancestors().nth(2)) else {
        return Err("this program is not in a target directory: say --server PATH".into());
    };
    let profile = match profile_dir.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(profile) => profile,
    };
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Cargo.toml");
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    eprintln!("building wasmcluster, which takes minutes");
    let built = Command::new(cargo)
        .args(["build", "--package", "wasmcluster", "--profile", profile, "--manifest-path"])
        .arg(manifest)
        .arg("--target-dir")
        .arg(target)
        .status();
    match built {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("cargo failed: {status}").into()),
        Err(error) => Err(format!("cannot run cargo ({error}): run `cargo build --release` first").into()),
    }
}

/// Where compiled components are kept from run to run: beside this program, and nobody else's to write.
fn cache() -> Result<PathBuf> {
    let cache = env::current_exe()?.with_file_name("wasmcluster-load-cache");
    DirBuilder::new().recursive(true).mode(0o700).create(&cache)?;
    Ok(cache)
}

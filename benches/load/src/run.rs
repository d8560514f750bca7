//! The benchmark: who takes turns at what.

use serde::Serialize;

use crate::args::Args;
use crate::compare::Comparison;
use crate::languages::Languages;
use crate::measure::{Load, Turn};
use crate::peer::{BODY, Hyper, Peer, Wasmcluster, WasmtimeServe};
use crate::program::{cache, program};
use crate::report::{ColdStart, Report, Sandbox, Spread};
use crate::sample::{median, quartiles};
use crate::server::Server;
use crate::{Result, table};

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
    comparison: Comparison,
    cold_starts: u32,
    fresh_requests: u64,
    /// Pairs of turns that weigh the sandbox.
    pairs: u32,
    variants: Vec<Box<dyn Peer>>,
    /// Those of `variants` whose sandbox is weighed.
    sandboxed: Vec<Wasmcluster>,
    demo: Wasmcluster,
}

/// Runs what `args` ask for, prints it, and says whether nothing was wrong.
pub(crate) fn run(args: &Args) -> Result<bool> {
    if let Some(directory) = &args.languages {
        let languages = Languages::measure(args, directory)?;
        print(args, &languages, Languages::markdown, Languages::text)?;
        return Ok(true);
    }
    let report = Plan::new(args)?.run()?;
    print(args, &report, table::markdown, |report| table::text(report, !args.quick))?;
    // Wrong answers have ended the run already, and times are for people to judge. So is the spread where somebody is in a
    // hurry: who falls behind has what waits taken away, and a machine that is busy makes somebody fall behind.
    Ok(args.quick || report.spread.is_none_or(|spread| spread.widest() <= SPREAD.2))
}

/// Prints what was measured in the form that `args` ask for.
#[expect(clippy::print_stdout, reason = "a program for people")]
fn print<T: Serialize>(
    args: &Args,
    measured: &T,
    markdown: impl Fn(&T) -> String,
    text: impl Fn(&T) -> String,
) -> Result<()> {
    if args.json {
        println!("{}", serde_json::to_string_pretty(measured)?);
    } else if args.markdown {
        print!("{}", markdown(measured));
    } else {
        print!("{}", text(measured));
    }
    Ok(())
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
        let comparison = Comparison::new(args)?;
        Ok(Self {
            cold_starts: if args.quick { 3 } else { 20 },
            fresh_requests: if args.quick { 2_000 } else { 20_000 },
            pairs: if args.quick { 3 } else { comparison.rounds * PAIRS },
            comparison,
            variants,
            sandboxed,
            demo: Wasmcluster::demo(&program, &cache),
        })
    }

    fn run(&self) -> Result<Report> {
        let comparison = &self.comparison;
        let (connections, milliseconds) = (comparison.connections, comparison.milliseconds());
        let mut report = Report {
            rounds: comparison.rounds,
            seconds: comparison.seconds,
            connections,
            cold_start: self.cold_start()?,
            ..Report::default()
        };
        for instances in INSTANCES {
            let closed = |_: &str| Load::Closed { milliseconds };
            let rows = comparison.rows(&self.peers(instances), instances, connections, closed)?;
            report.keep_alive.extend(rows);
        }
        let requests = self.fresh_requests;
        for instances in [1, 4] {
            let fresh = |_: &str| Load::Fresh { requests };
            let rows = comparison.rows(&self.peers(instances), instances, FRESH_AT_ONCE, fresh)?;
            report.fresh_connections.extend(rows);
        }
        let fastest = |name: &str| {
            let row = report.keep_alive.iter().find(|row| row.instances == 1 && row.name == name);
            row.map_or(1_000.0, |row| row.median.requests_per_second)
        };
        let open = |name: &str| Load::Open { milliseconds, rate: fastest(name) * LOAD_FACTOR };
        report.constant_rate = comparison.rows(&self.peers(1), 1, connections, open)?;
        for variant in &self.sandboxed {
            report.sandbox.push(self.sandbox(variant)?);
        }
        report.spread = Some(self.spread()?);
        Ok(report)
    }

    /// Who can be `instances` processes.
    fn peers(&self, instances: u32) -> Vec<&dyn Peer> {
        let peers = self.variants.iter().map(AsRef::as_ref);
        peers.filter(|peer| instances <= peer.max_instances()).collect()
    }

    /// Lets a server and the same without its sandbox take many short turns. Both are there all the time, so that whatever
    /// else happens to a pair of turns happens to both of them.
    fn sandbox(&self, variant: &Wasmcluster) -> Result<Sandbox> {
        let Comparison { connections, sleep, cpus, .. } = self.comparison;
        let server_cpu = cpus.map(|(server, _)| server);
        let with = Server::start(variant, 1, server_cpu)?;
        let without = Server::start(&variant.without_sandbox(), 1, server_cpu)?;
        let turn =
            Turn { instances: 1, connections, load: Load::Closed { milliseconds: SHORT_TURN }, sleep, cpus };
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
}

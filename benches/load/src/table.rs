//! The report for people: as text, and as Markdown for the README.

use std::fmt::Write as _;

use crate::cells::Table;
use crate::report::{Report, Row, Sandbox};

/// The most CPU per request that each row may take, as a multiple of bare hyper's.
const RATIOS: [(&str, f64); 3] = [("0.2 fresh", 3.2), ("0.2 reused", 2.0), ("0.3 reused", 2.8)];
/// The most that each may take of what `wasmtime serve` takes for the same component: the multiples above, divided by those
/// that it had on the machine on which they were set. There a request cost hyper more of what it cost the others.
const BESIDE_WASMTIME: [(&str, f64); 3] = [("0.2 fresh", 0.36), ("0.2 reused", 0.89), ("0.3 reused", 0.99)];
/// The most memory that a worker, and the supervisor, may take, in MB.
const PSS: f64 = 8.0;
/// The most that the sandbox of workers may add to what a request costs, as a factor.
const SANDBOX: f64 = 1.05;
/// The longest time from exec to the first response, in milliseconds.
const COLD_START: f64 = 15.0;

/// The share of a core that other programs may take before it is mentioned.
const NOISE: f64 = 0.05;

/// For a terminal, and, if so asked, with what was promised.
pub(crate) fn text(report: &Report, judge: bool) -> String {
    let mut text: String = tables(report).iter().map(Table::text).collect();
    let waited =
        report.keep_alive.iter().filter(|row| row.instances == 1).map(|row| row.median.server_waited);
    let waited = waited.fold(0.0, f64::max);
    if waited > NOISE {
        let _ = writeln!(
            text,
            "\nOther programs took up to {:.0} % of the server's core: CPU per request and its ratios hold, requests/s and \
             latencies do not.",
            waited * 100.0
        );
    }
    if judge {
        text.push_str("\nPromised\n");
        for (promise, kept) in promises(report) {
            let _ = writeln!(text, "  {}  {promise}", if kept { "kept  " } else { "BROKEN" });
        }
    }
    text
}

/// For the README.
pub(crate) fn markdown(report: &Report) -> String {
    tables(report).iter().map(Table::markdown).collect()
}

fn tables(report: &Report) -> Vec<Table> {
    let mut tables = Vec::new();
    for instances in [1, 2, 4] {
        let placed = if instances == 1 {
            ", server and client on a core each"
        } else {
            ", on all cores with the client"
        };
        tables.push(Table {
            title: format!(
                "{instances} instance{}{placed}, {} connections",
                if instances == 1 { "" } else { "s" },
                report.connections
            ),
            head: vec![
                "",
                "requests/s",
                "CPU µs/request",
                "× hyper",
                "p50 µs",
                "p99 µs",
                "worker MB",
                "supervisor MB",
            ],
            rows: report.keep_alive.iter().filter(|row| row.instances == instances).map(closed).collect(),
        });
    }
    tables.push(Table {
        title: "A new connection for each request".into(),
        head: vec!["", "instances", "requests/s", "CPU µs/request", "× hyper", "p50 µs", "p99 µs"],
        rows: report.fresh_connections.iter().map(fresh).collect(),
    });
    tables.push(Table {
        title: "1 instance at a constant rate, half of what it can do".into(),
        head: vec!["", "requests/s", "CPU µs/request", "p50 µs", "p99 µs", "p99.9 µs"],
        rows: report.constant_rate.iter().map(constant).collect(),
    });
    tables.push(Table {
        title: "What the sandbox of workers costs: the same with `--sandbox off`, in turns".into(),
        head: vec!["", "pairs of turns", "CPU µs/request", "without", "×"],
        rows: report
            .sandbox
            .iter()
            .map(|row| {
                let [low, median, high] = row.ratio;
                vec![
                    row.name.clone(),
                    row.pairs.to_string(),
                    format!("{:.1}", row.with),
                    format!("{:.1}", row.without),
                    format!("{median:.2} ({low:.2}–{high:.2})"),
                ]
            })
            .collect(),
    });
    tables.push(Table {
        title: "From exec to the first response, compiled before".into(),
        head: vec!["", "median ms", "least", "most"],
        rows: report
            .cold_start
            .iter()
            .map(|start| {
                vec![
                    start.name.clone(),
                    format!("{:.1}", start.median),
                    format!("{:.1}", start.least),
                    format!("{:.1}", start.most),
                ]
            })
            .collect(),
    });
    if let Some(spread) = &report.spread {
        tables.push(Table {
            title: format!("{} new connections over {} slots", spread.requests, spread.slots.len()),
            head: vec!["slot", "connections"],
            rows: spread
                .slots
                .iter()
                .map(|(slot, count)| vec![slot.to_string(), count.to_string()])
                .collect(),
        });
    }
    tables
}

fn closed(row: &Row) -> Vec<String> {
    let median = &row.median;
    vec![
        row.name.clone(),
        format!("{:.0}", median.requests_per_second),
        format!("{:.1}", median.cpu_micros),
        ratio(row),
        format!("{:.0}", median.p50_micros),
        format!("{:.0}", median.p99_micros),
        format!("{:.1}", median.worker_pss_mb),
        median.supervisor_pss_mb.map_or_else(|| "–".into(), |megabytes| format!("{megabytes:.1}")),
    ]
}

fn fresh(row: &Row) -> Vec<String> {
    let median = &row.median;
    vec![
        row.name.clone(),
        row.instances.to_string(),
        format!("{:.0}", median.requests_per_second),
        format!("{:.1}", median.cpu_micros),
        ratio(row),
        format!("{:.0}", median.p50_micros),
        format!("{:.0}", median.p99_micros),
    ]
}

fn constant(row: &Row) -> Vec<String> {
    let median = &row.median;
    vec![
        row.name.clone(),
        format!("{:.0}", median.requests_per_second),
        format!("{:.1}", median.cpu_micros),
        format!("{:.0}", median.p50_micros),
        format!("{:.0}", median.p99_micros),
        format!("{:.0}", median.p999_micros),
    ]
}

pub(crate) fn ratio(row: &Row) -> String {
    row.ratio.map_or_else(
        || "1".into(),
        |ratio| format!("{:.2} ({:.2}–{:.2})", ratio.median, ratio.least, ratio.most),
    )
}

/// What was promised, and whether it was kept.
fn promises(report: &Report) -> Vec<(String, bool)> {
    let mut promises = Vec::new();
    let multiple = |name: &str| {
        let row = report.keep_alive.iter().find(|row| row.instances == 1 && row.name == name);
        row.and_then(|row| row.ratio).map(|ratio| ratio.median)
    };
    for (name, most) in RATIOS {
        if let Some(found) = multiple(name) {
            promises
                .push((format!("{name} takes {found:.2} times hyper's CPU, {most} at most"), found <= most));
        }
    }
    for (name, most) in BESIDE_WASMTIME {
        if let (Some(ours), Some(theirs)) = (multiple(name), multiple(&format!("wasmtime {name}"))) {
            let found = ours / theirs;
            let promise = format!("{name} takes {found:.2} times wasmtime serve's CPU, {most} at most");
            promises.push((promise, found <= most));
        }
    }
    for Sandbox { name, ratio: [_, ratio, _], .. } in &report.sandbox {
        let promise = format!("{name} takes {ratio:.2} times its CPU without the sandbox, {SANDBOX} at most");
        promises.push((promise, *ratio <= SANDBOX));
    }
    let ours = || report.keep_alive.iter().filter(|row| row.ours).map(|row| &row.median);
    let largest = |sizes: &mut dyn Iterator<Item = f64>| sizes.fold(0.0, f64::max);
    let worker = largest(&mut ours().map(|median| median.worker_pss_mb));
    promises.push((format!("a worker takes {worker:.1} MB, {PSS} at most"), worker <= PSS));
    let supervisor = largest(&mut ours().filter_map(|median| median.supervisor_pss_mb));
    promises.push((format!("a supervisor takes {supervisor:.1} MB, {PSS} at most"), supervisor <= PSS));
    let cold = largest(&mut report.cold_start.iter().filter(|start| start.ours).map(|start| start.median));
    promises.push((
        format!("the first response comes after {cold:.1} ms, {COLD_START} at most"),
        cold <= COLD_START,
    ));
    if let Some(spread) = &report.spread {
        let widest = spread.widest();
        promises.push((
            format!("no slot is further than {:.1} % from the mean, 5 % at most", widest * 100.0),
            widest <= 0.05,
        ));
    }
    promises
}

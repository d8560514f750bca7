//! Servers that take turns, each put beside a bare hyper.

use crate::args::Args;
use crate::measure::{Load, Turn};
use crate::peer::{Hyper, Peer};
use crate::report::{Ratio, Row};
use crate::sample::Sample;
use crate::{Result, launch};

/// How often, for how long, and from where servers are asked.
pub(crate) struct Comparison {
    pub(crate) rounds: u32,
    pub(crate) seconds: f64,
    pub(crate) connections: u32,
    pub(crate) sleep: bool,
    /// CPUs of server and client, where there are two.
    pub(crate) cpus: Option<(usize, usize)>,
}

impl Comparison {
    pub(crate) fn new(args: &Args) -> Result<Self> {
        let seconds = args.seconds.unwrap_or(if args.quick { 0.2 } else { 2.0 });
        if !(0.05..=600.0).contains(&seconds) {
            return Err("--seconds must be between 0.05 and 600".into());
        }
        Ok(Self {
            rounds: args.rounds.unwrap_or(if args.quick { 1 } else { 3 }),
            seconds,
            connections: args.connections,
            sleep: args.sleeping_client,
            cpus: launch::two_cpus()?,
        })
    }

    /// Lets hyper and each peer take turns, and puts each peer beside the hyper that ran just before it.
    ///
    /// The first row is hyper's; the others are in the order of `peers`.
    pub(crate) fn rows(
        &self,
        peers: &[&dyn Peer],
        instances: u32,
        connections: u32,
        load: impl Fn(&str) -> Load,
    ) -> Result<Vec<Row>> {
        let cpus = self.cpus.filter(|_| instances == 1);
        let mut hyper = Vec::new();
        let mut theirs = vec![Vec::new(); peers.len()];
        for round in 1..=self.rounds {
            for (peer, samples) in peers.iter().zip(&mut theirs) {
                let take = |peer: &dyn Peer| -> Result<Sample> {
                    let load = load(peer.name());
                    let sample = Turn { instances, connections, load, sleep: self.sleep, cpus }.take(peer)?;
                    self.progress(round, peer.name(), instances, &load, &sample);
                    Ok(sample)
                };
                hyper.push(take(&Hyper)?);
                samples.push((take(*peer)?, hyper.len() - 1));
            }
        }
        let mut rows = Vec::new();
        for (peer, samples) in peers.iter().zip(theirs) {
            let ratios: Vec<f64> =
                samples.iter().map(|(own, at)| own.cpu_micros / hyper[*at].cpu_micros).collect();
            let samples: Vec<Sample> = samples.into_iter().map(|(sample, _)| sample).collect();
            rows.push(Row {
                name: peer.name().to_owned(),
                ours: peer.is_ours(),
                instances,
                median: Sample::median_of(&samples),
                ratio: Some(Ratio::of(&ratios)),
            });
        }
        let name = Hyper.name().to_owned();
        rows.insert(0, Row { name, ours: false, instances, median: Sample::median_of(&hyper), ratio: None });
        Ok(rows)
    }

    pub(crate) fn milliseconds(&self) -> u64 {
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

//! What it all came to: tables for people, and a list of promises that were not kept.

use std::collections::BTreeSet;
use std::fmt;
use std::time::{Duration, Instant};

use super::ends::Ends;
use super::good::{Heard, KINDS, Kind};
use super::left::Left;
use super::tally::{self, Run};
use crate::figures::shown;
use crate::support::Loss;

/// As many times as long as when it was quiet is promised.
const FACTOR: u32 = 3;

/// What was said so long before a request was lost may have to do with it.
const LATELY: Duration = Duration::from_secs(7);
/// What has to do with it is said so soon after it.
const NEWS: Duration = Duration::from_millis(500);

pub(super) struct Summary {
    /// What the 99th of a hundred may take whatever it took before.
    pub(super) floor: Duration,
    /// Quiet, torture, and rollouts alone: what became of each kind of good traffic.
    pub(super) phases: [Vec<Heard>; 3],
    pub(super) runs: Vec<Run>,
    pub(super) ends: Ends,
    /// All that the supervisor said, and when.
    pub(super) log: Vec<(Instant, String)>,
    pub(super) before: Left,
    pub(super) left: Left,
    pub(super) leaks: Vec<String>,
}

impl Summary {
    /// Every promise that was not kept, in words.
    pub(super) fn broken_promises(&self) -> Vec<String> {
        let mut broken = Vec::new();
        for (number, kind) in KINDS.iter().enumerate() {
            for (phase, heard) in self.of(number) {
                for (at, loss) in self.unexcused(heard) {
                    let last = self.ends.last_before(*at);
                    broken.push(format!("{}, {phase}: lost for no reason, {last}: {loss}", kind.name));
                    broken.extend(self.said_before(*at));
                }
            }
            let [_, _, (_, after)] = self.of(number);
            if kind.stays && after.outcome.reconnected > 0 {
                let times = after.outcome.reconnected;
                broken.push(format!("{}: {times} connections did not outlive a rollout", kind.name));
            }
            let [quiet, torture, _] = self.of(number).map(|(_, heard)| beyond(kind, heard, 99));
            // A guest that sleeps waits for its turn once more.
            let floor = if kind.sleeps.is_zero() { self.floor } else { 2 * self.floor };
            if torture > floor.max(quiet * FACTOR) {
                let (quiet, torture) = (shown(quiet), shown(torture));
                broken.push(format!("{}: a p99 of {torture}, and of {quiet} when it was quiet", kind.name));
            }
        }
        for run in self.runs.iter().filter(|run| !self.is_right(run)) {
            broken.push(format!(
                "{}: {} after {}, from {:?}",
                run.name,
                run.seen,
                shown(run.until - run.from),
                run.local
            ));
        }
        broken.extend(self.unexplained().into_iter().map(|line| format!("nobody killed it: {line}")));
        broken.extend(self.leaks.iter().map(|leak| format!("left: {leak}")));
        broken
    }

    fn of(&self, kind: usize) -> [(&'static str, &Heard); 3] {
        let [quiet, torture, after] = &self.phases;
        [("quiet", &quiet[kind]), ("torture", &torture[kind]), ("after", &after[kind])]
    }

    /// What was lost and did not go with its worker.
    fn unexcused<'a>(&'a self, heard: &'a Heard) -> impl Iterator<Item = &'a (Instant, Loss)> {
        heard.lost.iter().filter(|(at, loss)| !self.ends.excuse(*at, loss.local))
    }

    /// Whether an attack came to what it may, or its worker was killed meanwhile.
    fn is_right(&self, run: &Run) -> bool {
        run.expected || self.ends.excuse(run.until, run.local)
    }

    /// Ends of workers that are not among those that were brought about.
    fn unexplained(&self) -> Vec<&str> {
        let killed = self.ends.pids();
        let ended = |line: &&str| {
            line.starts_with("slot ")
                && [": ended with", ": was killed", ": stopped with"].iter().any(|word| line.contains(word))
        };
        let by_us = |line: &&str| {
            let pid = line.split("(pid ").nth(1).and_then(|rest| rest.split(')').next()?.parse().ok());
            pid.is_some_and(|pid| killed.contains(&pid))
        };
        self.lines().filter(ended).filter(|line| !by_us(line)).collect()
    }

    /// What the supervisor had said of its workers lately, each with the seconds until then.
    fn said_before(&self, then: Instant) -> Vec<String> {
        let lately = self.log.iter().filter(|(at, _)| (then - LATELY..=then + NEWS).contains(at));
        let own = lately.filter(|(_, line)| !line.contains(" | "));
        let seconds = |at: Instant| {
            at.saturating_duration_since(then).as_secs_f64()
                - (then.saturating_duration_since(at)).as_secs_f64()
        };
        own.map(|(at, line)| format!("    {:+.3} s: {line}", seconds(*at))).collect()
    }

    fn lines(&self) -> impl Iterator<Item = &str> {
        self.log.iter().map(|(_, line)| line.as_str())
    }

    fn said(&self, words: &str) -> usize {
        self.lines().filter(|line| line.starts_with("slot ") && line.contains(words)).count()
    }
}

/// What a request takes more than its guest takes on purpose.
fn beyond(kind: &Kind, heard: &Heard, percent: usize) -> Duration {
    heard.outcome.percentile(percent).saturating_sub(kind.sleeps)
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "\n| good traffic: p50, p99, longest | quiet | torture | after | p99 in torture | lost | with a worker that was killed |"
        )?;
        writeln!(f, "|---|---|---|---|---:|---:|---:|")?;
        let mut losses = Vec::new();
        for (number, kind) in KINDS.iter().enumerate() {
            let phases = self.of(number);
            write!(f, "| {} |", kind.name)?;
            for (_, heard) in phases {
                let [half, most, all] = [50, 99, 100].map(|percent| shown(beyond(kind, heard, percent)));
                write!(f, " {} ok: {half}, {most}, {all} |", heard.outcome.ok)?;
            }
            let [quiet, torture, _] = phases.map(|(_, heard)| beyond(kind, heard, 99).as_secs_f64());
            let unexcused: Vec<_> =
                phases.iter().flat_map(|(_, heard)| self.unexcused(heard)).map(|(at, _)| *at).collect();
            let lost: usize = phases.iter().map(|(_, heard)| heard.lost.len()).sum();
            writeln!(
                f,
                " {:.1} × quiet | {} | {} |",
                torture / quiet,
                unexcused.len(),
                lost - unexcused.len()
            )?;
            losses.extend(unexcused);
        }

        writeln!(
            f,
            "\n| attack | times | what it got | good requests lost meanwhile |\n|---|---:|---|---:|"
        )?;
        for (name, row) in tally::rows(&self.runs, &losses) {
            let seen: Vec<_> = row.seen.iter().map(|(seen, count)| format!("{count} × {seen}")).collect();
            writeln!(f, "| {name} | {} | {} | {} |", row.count, seen.join(", "), row.lost_meanwhile)?;
        }

        let pids: BTreeSet<u32> = self.ends.pids();
        writeln!(
            f,
            "\n{} workers were killed, with {} connections of any kind; {} ended by themselves; {} became ready.",
            pids.len(),
            self.ends.connections(),
            self.unexplained().len(),
            self.said(": ready after")
        )?;
        let excused = self.runs.iter().filter(|run| !run.expected && self.is_right(run)).count();
        writeln!(
            f,
            "{excused} attacks were cut with their worker; {} otherwise than they may.",
            self.runs.iter().filter(|run| !self.is_right(run)).count()
        )?;

        writeln!(
            f,
            "\n| | processes | zombies | descriptors | threads | supervisor | largest worker | descriptors of one | files | components kept |"
        )?;
        writeln!(f, "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|")?;
        writeln!(f, "| quiet | {} |\n| after | {} |", self.before, self.left)
    }
}

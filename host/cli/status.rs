//! `wasmcluster status`.

use std::io::{IsTerminal, Write};

use wasmcluster_core::cluster::{
    RolloutStage, RolloutStatus, SlotPhase, SlotStatus, WorkerPhase, WorkerStatus,
};
use wasmcluster_core::control::AppStatus;
use wasmcluster_core::limit::Reached;
use wasmcluster_core::message::Confinement;
use wasmcluster_supervisor::App;

use super::args::StatusArgs;
use super::exit::{Exit, Failure};
use super::render::{self, Colours, Short, visible};
use super::table::{Cell, Side, Tone, short_digest, table};

/// Asks one app, and shows what it says.
pub(crate) fn run(args: StatusArgs) -> Exit {
    match ask(&args) {
        Ok(status) if args.json => render::answer(&status),
        Ok(status) => {
            let mut stdout = std::io::stdout();
            let _ = stdout.write_all(words(&status, Colours::of(stdout.is_terminal())).as_bytes());
        }
        Err(failure) => return render::failure(&failure, args.json),
    }
    Exit::Done
}

fn ask(args: &StatusArgs) -> Result<AppStatus, Failure> {
    let app = App::find(&args.which.place.directory(), args.which.app.clone())?;
    Ok(app.status()?)
}

fn words(status: &AppStatus, colours: Colours) -> String {
    let AppStatus { name, pid, addr, component, digest, uptime, confinement, user, reached, cluster } =
        status;
    let digest = short_digest(digest);
    let columns = [
        ("slot", Side::Right),
        ("phase", Side::Left),
        ("pid", Side::Right),
        ("generation", Side::Right),
        ("uptime", Side::Right),
        ("restarts", Side::Right),
    ];
    let rows: Vec<_> = cluster.slots.iter().flat_map(rows).collect();
    format!(
        "{name} at http://{addr}/ for {} (pid {pid})\ngeneration {}: {} (sha256 {digest})\n{}{}{}{}\n{}",
        Short(*uptime),
        cluster.generation,
        visible(component, colours),
        confinement.as_ref().map(confinement_line).unwrap_or_default(),
        user.as_ref().map(|user| format!("user of the workers: {user}\n")).unwrap_or_default(),
        reached_line(reached),
        cluster.rollout.map(|rollout| rollout_line(&rollout)).unwrap_or_default(),
        table(columns, &rows, colours)
    )
}

/// What keeps workers from the rest of the machine.
fn confinement_line(confinement: &Confinement) -> String {
    match confinement {
        Confinement::Off => "sandbox of the workers: off\n".into(),
        Confinement::Full => "sandbox of the workers: complete\n".into(),
        Confinement::Partial { missing } => {
            format!("sandbox of the workers: in part, without {}\n", missing.join("; "))
        }
    }
}

/// What was too much, if anything was.
fn reached_line(reached: &Reached) -> String {
    if reached.is_empty() {
        return String::new();
    }
    let limits: Vec<_> = reached.iter().map(|(limit, times)| format!("{limit} {times}")).collect();
    format!("limits reached: {}\n", limits.join(", "))
}

/// What slots are on their way from, and how far they are.
fn rollout_line(rollout: &RolloutStatus) -> String {
    let from = rollout.from;
    match rollout.stage {
        RolloutStage::Canary => format!("replacing generation {from}: the first slots\n"),
        RolloutStage::Baking { left } => {
            format!("replacing generation {from}: the first slots are watched for {} more\n", Short(left))
        }
        RolloutStage::Rolling => format!("replacing generation {from}: slot by slot\n"),
        RolloutStage::Returning => "the new generation failed: slots return to this one\n".into(),
    }
}

/// A row for each worker of a slot, or one that says why there is none.
fn rows(slot: &SlotStatus) -> Vec<[Cell; 6]> {
    let row = |phase, worker: Option<&WorkerStatus>| {
        [
            Cell::plain(slot.slot),
            phase,
            Cell::optional(worker.and_then(|worker| worker.pid)),
            Cell::optional(worker.map(|worker| worker.generation)),
            Cell::optional(worker.and_then(|worker| worker.uptime).map(Short)),
            Cell::plain(slot.restarts),
        ]
    };
    if slot.workers.is_empty() {
        return vec![row(slot_phase(slot.phase), None)];
    }
    slot.workers.iter().map(|worker| row(worker_phase(worker.phase), Some(worker))).collect()
}

fn slot_phase(phase: SlotPhase) -> Cell {
    let (text, tone) = match phase {
        SlotPhase::Serving => ("serving".into(), Tone::Good),
        SlotPhase::Starting => ("starting".into(), Tone::Passing),
        SlotPhase::Draining => ("draining".into(), Tone::Passing),
        SlotPhase::Waiting { restart_in } => (format!("restart in {}", Short(restart_in)), Tone::Passing),
        SlotPhase::Errored => ("errored".into(), Tone::Bad),
        SlotPhase::Stopped => ("stopped".into(), Tone::Plain),
    };
    Cell { text, tone }
}

fn worker_phase(phase: WorkerPhase) -> Cell {
    let (text, tone) = match phase {
        WorkerPhase::Starting => ("starting", Tone::Passing),
        WorkerPhase::Serving => ("serving", Tone::Good),
        WorkerPhase::Draining => ("draining", Tone::Passing),
        WorkerPhase::Killed => ("killed", Tone::Bad),
    };
    Cell { text: text.into(), tone }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use wasmcluster_core::app::User;
    use wasmcluster_core::cluster::{ClusterPhase, Generation, SlotId, Status, WorkerId};
    use wasmcluster_core::limit::Limit;

    use super::*;

    #[test]
    fn every_slot_is_shown_with_its_workers() {
        let worker = |id: u64, phase, uptime| WorkerStatus {
            worker: WorkerId(id),
            pid: u32::try_from(700 + id).ok(),
            generation: Generation::FIRST,
            phase,
            age: Duration::from_secs(70),
            uptime,
        };
        let slot = |id, phase, restarts, workers| SlotStatus { slot: SlotId(id), phase, restarts, workers };
        let slots = vec![
            slot(
                0,
                SlotPhase::Serving,
                0,
                vec![worker(1, WorkerPhase::Serving, Some(Duration::from_secs(65)))],
            ),
            slot(1, SlotPhase::Starting, 3, vec![worker(2, WorkerPhase::Starting, None)]),
            slot(2, SlotPhase::Waiting { restart_in: Duration::from_millis(1_500) }, 12, Vec::new()),
        ];
        let status = AppStatus {
            name: "shop".parse().expect("a name"),
            pid: 700,
            addr: "127.0.0.1:8080".parse().expect("an address"),
            component: "shop.wasm".into(),
            digest: "0123456789abcdef".repeat(4),
            uptime: Duration::from_secs(70),
            confinement: Some(Confinement::Full),
            user: Some(User { name: Some("www-data".into()), uid: 33, gid: 33, groups: vec![33] }),
            reached: [(Limit::Timeout, 3), (Limit::MaxBodySize, 1)].into_iter().collect(),
            cluster: Status {
                phase: ClusterPhase::Running,
                generation: Generation::FIRST,
                rollout: None,
                slots,
            },
        };
        let expected = "\
shop at http://127.0.0.1:8080/ for 1m 10s (pid 700)
generation 1: shop.wasm (sha256 0123456789ab)
sandbox of the workers: complete
user of the workers: www-data (33:33)
limits reached: timeout 3, max-body-size 1

slot  phase                pid  generation  uptime  restarts
   0  serving              701           1   1m 5s         0
   1  starting             702           1       -         3
   2  restart in 1s 500ms    -           -       -        12
";
        assert_eq!(words(&status, Colours::File), expected);
    }
}

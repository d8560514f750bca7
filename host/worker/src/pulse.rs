//! What a worker says about itself while it serves: that it lives, what it has served, and when that is enough.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use nix::unistd::{SysconfVar, sysconf};
use wasmcluster_core::cluster::Wear;
use wasmcluster_core::message::{FromWorker, PULSE, Pulse, ReportKind};

use crate::app::App;
use crate::output::{LogPipe, Losses};
use crate::reached;
use crate::trim::Program;

/// For as long as it is polled.
pub(crate) async fn pulse(app: &'static App, logs: [LogPipe; 2], footprint: Footprint, program: Program) {
    tokio::select! {
        () = beat(app, logs, footprint, program) => {}
        () = wear(app) => {}
    }
}

async fn beat(app: &'static App, logs: [LogPipe; 2], footprint: Footprint, program: Program) {
    let mut heavy = false;
    let mut program = Some(program);
    loop {
        tokio::time::sleep(PULSE).await;
        app.reports.refill();
        logs[0].refill();
        count_losses(app, &logs);
        say(app).await;
        app.instances.look_again();
        // The first requests went where none goes after them.
        if let Some(program) = program.take_if(|_| app.served.any()) {
            program.trim();
        }
        if let Some(most) = app.serving.max_memory
            && !heavy
            && let Some(bytes) = footprint.bytes().filter(|bytes| *bytes > most)
        {
            heavy = true;
            app.reports.send(FromWorker::Worn(Wear::Memory { bytes })).await;
        }
    }
}

/// Says what there is to say of the time until now.
pub(crate) async fn say(app: &App) {
    let pulse = Pulse { served: app.served.so_far(), reached: reached::take() };
    app.reports.send(FromWorker::Pulse(Box::new(pulse))).await;
}

async fn wear(app: &'static App) {
    let served = app.served.enough().await;
    app.reports.send(FromWorker::Worn(Wear::Requests { served })).await;
    // Enough is enough: nothing more is to be said of it.
    std::future::pending().await
}

/// What this process has in memory. Opened once: later its sandbox opens nothing.
pub(crate) struct Footprint(File);

impl Footprint {
    pub(crate) fn open() -> io::Result<Self> {
        File::open("/proc/self/statm").map(Self)
    }

    /// In bytes.
    fn bytes(&self) -> Option<u64> {
        // Seven numbers of at most twenty digits.
        let mut statm = [0; 160];
        let read = self.0.read_at(&mut statm, 0).ok()?;
        let pages: u64 = std::str::from_utf8(&statm[..read]).ok()?.split(' ').nth(1)?.parse().ok()?;
        let page = u64::try_from(sysconf(SysconfVar::PAGE_SIZE).ok()??).ok()?;
        Some(pages * page)
    }
}

/// Says how much could not be said.
fn count_losses(app: &App, logs: &[LogPipe; 2]) {
    let losses = logs.each_ref().map(LogPipe::take_losses);
    let say = |lines: u64, why: &str, hint: Option<&str>| {
        if lines > 0 {
            let message = format!("threw away {lines} lines of guest output: {why}");
            app.reports.say(ReportKind::OutputDropped, message, hint.map(Into::into));
        }
    };
    let sum = |lines: fn(&Losses) -> u64| losses.iter().map(lines).sum();
    say(sum(|losses| losses.dropped), "they came faster than the log takes them", None);
    say(
        sum(|losses| losses.refused),
        "guests printed more than they may in a second",
        Some("raise `--max-log-lines` or `--max-log-size` if that is to be expected"),
    );
    let reports = app.reports.take_dropped();
    if reports > 0 {
        app.reports.say(ReportKind::Worker, format!("left out {reports} reports like those above"), None);
    }
}

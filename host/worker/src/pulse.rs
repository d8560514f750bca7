//! What a worker says about itself while it serves: that it lives, what it has served, and when that is enough.

use std::fs;

use nix::unistd::{SysconfVar, sysconf};
use wasmcluster_core::cluster::Wear;
use wasmcluster_core::message::{FromWorker, PULSE, ReportKind};

use crate::app::App;
use crate::output::LogPipe;

/// For as long as it is polled.
pub(crate) async fn pulse(app: &'static App, logs: [LogPipe; 2]) {
    tokio::select! {
        () = beat(app, logs) => {}
        () = wear(app) => {}
    }
}

async fn beat(app: &'static App, logs: [LogPipe; 2]) {
    let mut heavy = false;
    loop {
        tokio::time::sleep(PULSE).await;
        app.reports.send(FromWorker::Pulse(Box::new(app.served.so_far()))).await;
        count_losses(app, &logs);
        if let Some(most) = app.serving.max_memory
            && !heavy
            && let Some(bytes) = memory().filter(|bytes| *bytes > most)
        {
            heavy = true;
            app.reports.send(FromWorker::Worn(Wear::Memory { bytes })).await;
        }
    }
}

async fn wear(app: &'static App) {
    let served = app.served.enough().await;
    app.reports.send(FromWorker::Worn(Wear::Requests { served })).await;
    // Enough is enough: nothing more is to be said of it.
    std::future::pending().await
}

/// What this process has in memory, in bytes.
fn memory() -> Option<u64> {
    let statm = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
    let page = u64::try_from(sysconf(SysconfVar::PAGE_SIZE).ok()??).ok()?;
    Some(pages * page)
}

/// Says how much could not be said.
fn count_losses(app: &App, logs: &[LogPipe; 2]) {
    let lines: u64 = logs.iter().map(LogPipe::take_dropped).sum();
    if lines > 0 {
        app.reports.say(
            ReportKind::OutputDropped,
            format!("threw away {lines} lines of guest output: they came faster than the log takes them"),
            None,
        );
    }
    let reports = app.reports.take_dropped();
    if reports > 0 {
        app.reports.say(ReportKind::Worker, format!("left out {reports} reports like those above"), None);
    }
}

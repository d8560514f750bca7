//! `wasmcluster stop`.

use std::io::Write;

use serde::Serialize;
use wasmcluster_core::control::AppName;
use wasmcluster_supervisor::App;

use super::args::StopArgs;
use super::exit::{Exit, Failure};
use super::render;

/// What came of it.
#[derive(Debug, Serialize)]
struct Outcome {
    name: AppName,
    pid: Option<i32>,
    /// False where nobody waited for it.
    stopped: bool,
}

/// Asks one app to stop.
pub(crate) fn run(args: StopArgs) -> Exit {
    match stop(&args) {
        Ok(outcome) if args.json => render::answer(&outcome),
        Ok(Outcome { name, pid, stopped }) => {
            let process = pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default();
            let what = if stopped { "has stopped" } else { "is stopping" };
            let _ = writeln!(std::io::stdout(), "`{name}`{process} {what}");
        }
        Err(failure) => return render::failure(&failure, args.json),
    }
    Exit::Done
}

fn stop(args: &StopArgs) -> Result<Outcome, Failure> {
    let app = App::find(&args.which.place.directory(), args.which.app.clone())?;
    let (name, pid) = (app.name().clone(), app.pid());
    let stopping = app.stop(args.fast)?;
    if !args.detach {
        stopping.wait()?;
    }
    Ok(Outcome { name, pid, stopped: !args.detach })
}

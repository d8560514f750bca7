//! `wasmcluster restart`.

use wasmcluster_core::cluster::SlotId;
use wasmcluster_supervisor::{App, Following};

use super::args::RestartArgs;
use super::exit::{Exit, Failure};
use super::waiting;

/// Has an app have another worker in a slot.
pub(crate) fn run(args: RestartArgs) -> Exit {
    waiting::follow(restart(&args), &args.wait)
}

fn restart(args: &RestartArgs) -> Result<Following, Failure> {
    let app = App::find(&args.wait.which.place.directory(), args.wait.which.app.clone())?;
    Ok(app.restart(SlotId(args.slot))?)
}

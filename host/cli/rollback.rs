//! `wasmcluster rollback`.

use wasmcluster_core::cluster::Generation;
use wasmcluster_supervisor::{App, Following};

use super::args::RollbackArgs;
use super::exit::{Exit, Failure};
use super::waiting;

/// Has an app serve an older generation once more.
pub(crate) fn run(args: RollbackArgs) -> Exit {
    waiting::follow(roll_back(&args), &args.wait)
}

fn roll_back(args: &RollbackArgs) -> Result<Following, Failure> {
    let app = App::find(&args.wait.which.place.directory(), args.wait.which.app.clone())?;
    Ok(app.roll_back(args.to.map(Generation))?)
}

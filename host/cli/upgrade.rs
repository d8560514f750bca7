//! `wasmcluster upgrade`.

use wasmcluster_supervisor::{App, Following};

use super::args::UpgradeArgs;
use super::exit::{Exit, Failure};
use super::waiting;

/// Has another version of this program go on with an app.
pub(crate) fn run(args: UpgradeArgs) -> Exit {
    waiting::follow(upgrade(&args), &args.wait)
}

fn upgrade(args: &UpgradeArgs) -> Result<Following, Failure> {
    let app = App::find(&args.wait.which.place.directory(), args.wait.which.app.clone())?;
    Ok(app.upgrade()?)
}

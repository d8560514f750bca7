//! `wasmcluster scale`.

use wasmcluster_supervisor::{App, Following};

use super::args::ScaleArgs;
use super::exit::{Exit, Failure};
use super::waiting;

/// Has an app have more workers, or fewer.
pub(crate) fn run(args: ScaleArgs) -> Exit {
    waiting::follow(scale(&args), &args.wait)
}

fn scale(args: &ScaleArgs) -> Result<Following, Failure> {
    let app = App::find(&args.wait.which.place.directory(), args.wait.which.app.clone())?;
    Ok(app.scale(args.change)?)
}

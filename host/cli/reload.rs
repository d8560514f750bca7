//! `wasmcluster reload`.

use wasmcluster_supervisor::{App, Following};

use super::args::ReloadArgs;
use super::exit::{Exit, Failure};
use super::waiting;

/// Has an app serve what its component is now.
pub(crate) fn run(args: ReloadArgs) -> Exit {
    waiting::follow(reload(&args), &args.wait)
}

fn reload(args: &ReloadArgs) -> Result<Following, Failure> {
    let app = App::find(&args.wait.which.place.directory(), args.wait.which.app.clone())?;
    Ok(app.reload()?)
}

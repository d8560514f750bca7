//! `wasmcluster push`.

use std::os::fd::AsFd;

use wasmcluster_supervisor::{App, Component, ComponentError, Following};

use super::args::PushArgs;
use super::exit::{Exit, Failure};
use super::waiting;

/// Has an app serve the component in a file.
pub(crate) fn run(args: PushArgs) -> Exit {
    waiting::follow(push(&args), &args.wait)
}

fn push(args: &PushArgs) -> Result<Following, Failure> {
    // It is read by whoever may read it here, so that neither paths nor the app's own rights matter.
    let component = Component::File(args.file.clone());
    let file = component.open().map_err(missing)?;
    let app = App::find(&args.wait.which.place.directory(), args.wait.which.app.clone())?;
    Ok(app.push(component.name(), file.as_fd())?)
}

fn missing(error: ComponentError) -> Failure {
    let hint = match &error {
        ComponentError::Missing { .. } => Some("name the `.wasm` file that is to be served".into()),
        error => error.hint(),
    };
    Failure { exit: Exit::Rejected, message: error.to_string(), hint }
}

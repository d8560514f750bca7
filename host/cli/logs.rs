//! `wasmcluster logs`.

use std::io::{IsTerminal, Write};

use wasmcluster_core::control::FromSupervisor;
use wasmcluster_supervisor::{App, Following};

use super::args::LogsArgs;
use super::exit::{Exit, Failure};
use super::render::{self, Colours, Rendered, Renderer};

/// Shows what one app said, in the words in which it did.
pub(crate) fn run(args: LogsArgs) -> Exit {
    match ask(&args).and_then(|following| show(following, args.json)) {
        Ok(()) => Exit::Done,
        Err(failure) => render::failure(&failure, args.json),
    }
}

fn ask(args: &LogsArgs) -> Result<Following, Failure> {
    let app = App::find(&args.which.place.directory(), args.which.app.clone())?;
    Ok(app.logs(args.lines as usize, args.follow)?)
}

/// Until the app has nothing more to say, or nobody wants to read it.
fn show(mut following: Following, json: bool) -> Result<(), Failure> {
    let mut stdout = std::io::stdout();
    let mut renderer = Renderer::following(json, Colours::of(stdout.is_terminal()));
    let mut rendered = Rendered::default();
    while let Some(answer) = following.answer()? {
        let records = match answer {
            FromSupervisor::Logs(records) => records,
            FromSupervisor::Record(record) => vec![*record],
            FromSupervisor::Missed(records) => {
                renderer.render_missed(records, &mut rendered);
                Vec::new()
            }
            _ => Vec::new(),
        };
        if rendered.write_to(&mut stdout).is_err() {
            return Ok(());
        }
        for record in &records {
            renderer.render_stamped(record, &mut rendered);
            // One by one, so that the order stays what it was.
            if rendered.write_to(&mut stdout).is_err() {
                return Ok(());
            }
        }
    }
    let _ = stdout.flush();
    Ok(())
}

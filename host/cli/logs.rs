//! `wasmcluster logs`.

use std::io::{IsTerminal, Write};

use wasmcluster_core::control::FromSupervisor;
use wasmcluster_core::record::Stamped;
use wasmcluster_supervisor::{App, Following};

use super::args::LogsArgs;
use super::exit::{Exit, Failure};
use super::render::{self, Colours, Rendered, Renderer};

/// Shows what one app said, in the words in which it did.
pub(crate) fn run(args: LogsArgs) -> Exit {
    match ask(&args).and_then(|following| show(following, &args)) {
        Ok(()) => Exit::Done,
        Err(failure) => render::failure(&failure, args.json),
    }
}

fn ask(args: &LogsArgs) -> Result<Following, Failure> {
    let app = App::find(&args.which.place.directory(), args.which.app.clone())?;
    // Not every record is a line: what is no news to a person has no words.
    let records = if args.json { args.lines as usize } else { usize::MAX };
    Ok(app.logs(records, args.follow)?)
}

/// Until the app has nothing more to say, or nobody wants to read it.
fn show(mut following: Following, args: &LogsArgs) -> Result<(), Failure> {
    let mut stdout = std::io::stdout();
    let mut renderer = Renderer::following(args.json, Colours::of(stdout.is_terminal()));
    while let Some(answer) = following.answer()? {
        // One by one, so that the order stays what it was.
        let lines = match answer {
            FromSupervisor::Logs(records) => {
                let rendered = records.iter().map(|record| rendered(&mut renderer, record));
                let mut lines: Vec<_> = rendered.filter(|rendered| rendered.len() > 0).collect();
                lines.split_off(lines.len().saturating_sub(args.lines as usize))
            }
            FromSupervisor::Record(record) => vec![rendered(&mut renderer, &record)],
            FromSupervisor::Missed(records) => {
                let mut missed = Rendered::default();
                renderer.render_missed(records, &mut missed);
                vec![missed]
            }
            _ => Vec::new(),
        };
        for mut line in lines {
            if line.write_to(&mut stdout).is_err() {
                return Ok(());
            }
        }
    }
    let _ = stdout.flush();
    Ok(())
}

fn rendered(renderer: &mut Renderer, record: &Stamped) -> Rendered {
    let mut rendered = Rendered::default();
    renderer.render_stamped(record, &mut rendered);
    rendered
}

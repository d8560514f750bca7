//! What the commands that begin a rollout have in common: what happens is shown as it happens, and the last line says what
//! became of it.

use std::io::{IsTerminal, Write};

use serde::Serialize;
use wasmcluster_core::cluster::Generation;
use wasmcluster_core::control::{Ended, Fault, FromSupervisor};
use wasmcluster_supervisor::Following;

use super::args::WaitArgs;
use super::exit::{Exit, Failure};
use super::render::{self, Colours, Rendered, Renderer, Short, Why};

/// What a command says that does not wait.
#[derive(Debug, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
enum Detached {
    Rolling { generation: Generation, from: Generation },
}

/// Shows what becomes of a rollout that was asked for. Its end is that of the command.
pub(crate) fn follow(asked: Result<Following, Failure>, args: &WaitArgs) -> Exit {
    let ended = asked.and_then(|following| watch(following, args));
    match ended {
        Ok(exit) => exit,
        Err(failure) => render::failure(&failure, args.json),
    }
}

fn watch(mut following: Following, args: &WaitArgs) -> Result<Exit, Failure> {
    let mut progress = Progress::new(args.json);
    loop {
        match following.answer()? {
            Some(FromSupervisor::Rolling { generation, from }) if args.detach => {
                if args.json {
                    event(&Detached::Rolling { generation, from });
                } else {
                    say(&format!("generation {generation} is rolled out in place of generation {from}"));
                }
                return Ok(Exit::Done);
            }
            Some(FromSupervisor::Ended(ended)) if args.json => {
                event(&ended);
                return Ok(judge(ended).map_or_else(|failure| failure.exit, |_| Exit::Done));
            }
            Some(FromSupervisor::Ended(ended)) => {
                say(&judge(ended)?);
                return Ok(Exit::Done);
            }
            Some(answer) => progress.show(answer),
            None => return Err(following.broke_off().into()),
        }
    }
}

/// What happens on the way: for people beside the result, for programs before it.
struct Progress {
    json: bool,
    renderer: Renderer,
    rendered: Rendered,
}

impl Progress {
    fn new(json: bool) -> Self {
        let colours = Colours::of(std::io::stderr().is_terminal());
        Self { json, renderer: Renderer::following(json, colours), rendered: Rendered::default() }
    }

    fn show(&mut self, answer: FromSupervisor) {
        match answer {
            FromSupervisor::Record(stamped) => self.renderer.render_stamped(&stamped, &mut self.rendered),
            FromSupervisor::Missed(records) => self.renderer.render_missed(records, &mut self.rendered),
            // What was heard is not news, and what it became is said by the first record about it.
            _ => return,
        }
        // Nobody who reads along is no reason to stop waiting.
        let _ = match self.json {
            true => self.rendered.write_to(&mut std::io::stdout()),
            false => self.rendered.write_to(&mut std::io::stderr()),
        };
    }
}

/// The last line: what has come of it, or what has not and what serves instead.
fn judge(ended: Ended) -> Result<String, Failure> {
    let failed = |exit, message, hint| Err(Failure { exit, message, hint });
    match ended {
        Ended::Serving { generation, slots, took } => {
            let slots = if slots == 1 { "its one slot".to_owned() } else { format!("all {slots} slots") };
            Ok(format!("generation {generation} serves in {slots}, after {}", Short(took)))
        }
        Ended::Unchanged { generation } => {
            Ok(format!("generation {generation} serves this already; nothing was replaced"))
        }
        Ended::GivenUp { generation, serving, abort } if generation == serving => {
            failed(Exit::GivenUp, format!("generation {generation} was given up: {}", Why(&abort)), None)
        }
        Ended::GivenUp { generation, serving, abort } => failed(
            Exit::GivenUp,
            format!("generation {generation} was given up: {}; generation {serving} serves", Why(&abort)),
            Some("`wasmcluster logs` says more".into()),
        ),
        Ended::Superseded { generation } => {
            let what = match generation {
                Some(generation) => format!("generation {generation} was superseded"),
                None => "superseded before it was built".into(),
            };
            failed(
                Exit::Superseded,
                format!("{what}: something else was pushed, reloaded or rolled back to"),
                Some("`wasmcluster history` says what".into()),
            )
        }
        Ended::Refused { fault, message, hint, serving } => {
            let exit = match fault {
                Fault::Component => Exit::Rejected,
                Fault::Cache => Exit::Cache,
                Fault::Other => Exit::Failed,
            };
            failed(exit, format!("{message}; generation {serving} serves"), hint)
        }
    }
}

fn say(words: &str) {
    let _ = writeln!(std::io::stdout(), "{words}");
}

fn event(what: &impl Serialize) {
    let mut text = Vec::new();
    render::event(&mut text, what);
    let _ = std::io::stdout().write_all(&text);
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use wasmcluster_core::cluster::{Abort, Cause, Exit as Ended_, WorkerId};

    use super::*;

    fn words(ended: Ended) -> (u8, String) {
        match judge(ended) {
            Ok(words) => (0, words),
            Err(failure) => (failure.exit as u8, failure.message),
        }
    }

    #[test]
    fn the_last_line_says_what_happened_and_what_serves() {
        let generation = Generation(3);
        let serving = |slots| Ended::Serving { generation, slots, took: Duration::from_millis(212) };
        assert_eq!(words(serving(4)), (0, "generation 3 serves in all 4 slots, after 212ms".into()));
        assert_eq!(words(serving(1)), (0, "generation 3 serves in its one slot, after 212ms".into()));
        let cause = Cause::Exited { exit: Ended_::Signal(9) };
        let abort = Abort::Crashed { worker: WorkerId(7), cause };
        assert_eq!(
            words(Ended::GivenUp { generation, serving: Generation(2), abort }),
            (10, "generation 3 was given up: a worker ended with signal 9; generation 2 serves".into())
        );
        assert_eq!(words(Ended::Superseded { generation: None }).0, 11);
        let refused = Ended::Refused {
            fault: Fault::Component,
            message: "`a.wasm` is not WebAssembly".into(),
            hint: None,
            serving: Generation(2),
        };
        assert_eq!(words(refused), (3, "`a.wasm` is not WebAssembly; generation 2 serves".into()));
    }
}

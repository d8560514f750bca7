//! What the commands have in common that wait for something: what happens is shown as it happens, and the last line says
//! what became of it.

use std::io::{IsTerminal, Write};

use serde::Serialize;
use wasmcluster_core::control::{Begun, Ended, Fault, FromSupervisor};
use wasmcluster_supervisor::Following;

use super::args::WaitArgs;
use super::exit::{Exit, Failure};
use super::render::{self, Colours, Rendered, Renderer, Short, Why};

/// Shows what becomes of what was asked for. Its end is that of the command.
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
            Some(FromSupervisor::Begun(begun)) if args.detach => {
                if args.json {
                    event(&begun);
                } else {
                    say(&words(begun));
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

/// For who does not wait.
fn words(begun: Begun) -> String {
    match begun {
        Begun::Rolling { generation, from } => {
            format!("generation {generation} is rolled out in place of generation {from}")
        }
        Begun::Scaling { from, to } => format!("going from {from} to {}", workers(to)),
        Begun::Restarting { slot } => format!("slot {slot} gets another worker"),
    }
}

fn workers(count: usize) -> String {
    if count == 1 { "1 worker".into() } else { format!("{count} workers") }
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
        Ended::Scaled { slots, took } => {
            let serve = if slots == 1 { "serves" } else { "serve" };
            Ok(format!("{} {serve}, after {}", workers(slots), Short(took)))
        }
        Ended::ScaledOtherwise { slots } => failed(
            Exit::Superseded,
            format!("superseded: there are to be {} now", workers(slots)),
            Some("`wasmcluster status` shows them".into()),
        ),
        Ended::Restarted { slot, took } => {
            Ok(format!("slot {slot} has another worker, after {}", Short(took)))
        }
        Ended::Errored { slot, serving, slots } => failed(
            Exit::Errored,
            format!("slot {slot} was given up: its workers do not stay up; {serving} of {slots} slots serve"),
            Some("`wasmcluster logs` says what they died of".into()),
        ),
        Ended::Retired { slot } => failed(
            Exit::Superseded,
            format!("superseded: slot {slot} is not wanted any more"),
            Some("`wasmcluster status` shows those that are".into()),
        ),
        Ended::Refused { fault, message, hint, serving } => {
            let exit = match fault {
                Fault::Resources => Exit::Resources,
                Fault::Usage => Exit::Usage,
                Fault::Component => Exit::Rejected,
                Fault::Cache => Exit::Cache,
                Fault::Other => Exit::Failed,
            };
            let serving = serving.map(|serving| format!("; generation {serving} serves")).unwrap_or_default();
            failed(exit, message + &serving, hint)
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

    use wasmcluster_core::cluster::{Abort, Cause, Exit as Ended_, Generation, SlotId, WorkerId};

    use super::*;

    fn last(ended: Ended) -> (u8, String) {
        match judge(ended) {
            Ok(words) => (0, words),
            Err(failure) => (failure.exit as u8, failure.message),
        }
    }

    #[test]
    fn the_last_line_says_what_happened_and_what_serves() {
        let generation = Generation(3);
        let serving = |slots| Ended::Serving { generation, slots, took: Duration::from_millis(212) };
        assert_eq!(last(serving(4)), (0, "generation 3 serves in all 4 slots, after 212ms".into()));
        assert_eq!(last(serving(1)), (0, "generation 3 serves in its one slot, after 212ms".into()));
        let cause = Cause::Exited { exit: Ended_::Signal(9) };
        let abort = Abort::Crashed { worker: WorkerId(7), cause };
        assert_eq!(
            last(Ended::GivenUp { generation, serving: Generation(2), abort }),
            (10, "generation 3 was given up: a worker ended with signal 9; generation 2 serves".into())
        );
        assert_eq!(last(Ended::Superseded { generation: None }).0, 11);
        let scaled = |slots| Ended::Scaled { slots, took: Duration::from_millis(5) };
        assert_eq!(last(scaled(1)), (0, "1 worker serves, after 5ms".into()));
        assert_eq!(last(scaled(8)), (0, "8 workers serve, after 5ms".into()));
        assert_eq!(
            last(Ended::Errored { slot: SlotId(3), serving: 3, slots: 4 }),
            (7, "slot 3 was given up: its workers do not stay up; 3 of 4 slots serve".into())
        );
        let refused = Ended::Refused {
            fault: Fault::Component,
            message: "`a.wasm` is not WebAssembly".into(),
            hint: None,
            serving: Some(Generation(2)),
        };
        assert_eq!(last(refused), (3, "`a.wasm` is not WebAssembly; generation 2 serves".into()));
    }
}

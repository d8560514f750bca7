//! What each record is called in words.

use core::fmt::{self, Display};
use core::time::Duration;

use bytesize::ByteSize;
use wasmcluster_core::cluster::{Abort, Cause, Exit as Ended, Notice, SlotId, Wear, Worse};
use wasmcluster_core::message::{Conditions, Confinement, MemoryReset};
use wasmcluster_core::record::{Record, Symptoms};

use super::{Renderer, visible};
use crate::cli::dev::Told;
use crate::cli::exit::{Exit, Failure};

/// The same number on every unix.
const SIGKILL: i32 = 9;

impl Renderer {
    /// One line or several; none for what is no news to a person.
    pub(super) fn words(&mut self, record: &Record) -> Option<String> {
        Some(match record {
            Record::Compiling { component, bytes, elapsed } => {
                let size = ByteSize(*bytes).display().si();
                format!("compiling `{component}` ({size}): {} s", elapsed.as_secs())
            }
            Record::WaitingForBuild { component, elapsed } => {
                format!("waiting for another process that compiles `{component}`: {} s", elapsed.as_secs())
            }
            Record::CacheRepaired { component } => {
                format!("the compiled code of `{component}` in the cache was damaged and was replaced")
            }
            Record::ReuseRefused { component } => self.hinted(
                format!(
                    "an instance of `{component}` serves one request, whatever `--max-instance-reuse-count` says: it \
                     answers fetch events, and its engine only the first one"
                ),
                Some("export `incomingHandler`, as the projects of `wasmcluster new js` do"),
            ),
            Record::Serving { addr, .. } => {
                self.serving = true;
                let mut words = format!("Serving HTTP on http://{addr}/");
                if self.look.demo {
                    words += "\nNo component was given: this is the built-in demo. `wasmcluster serve app.wasm` serves yours.";
                }
                if self.look.terminal && addr.ip().to_canonical().is_loopback() {
                    let all = format!("--addr 0.0.0.0:{}", addr.port());
                    words += &format!("\n{} `{all}` listens on all interfaces", self.stderr.hint("hint:"));
                }
                words
            }
            Record::Conditions(conditions) => self.conditions(conditions)?,
            Record::Reloading { component } => format!("looking at `{component}` again"),
            Record::Pushed { component } => format!("`{component}` was pushed"),
            Record::RollingBack { component, to } => {
                format!("rolling back to generation {to}, which was `{component}`")
            }
            Record::Upgrading { program, from, to } if from == to => {
                format!("`{program}` is to go on, version {to} as before")
            }
            Record::Upgrading { program, from, to } => {
                format!("`{program}` is to go on, version {to} after version {from}")
            }
            Record::Upgraded { to, .. } => format!("version {to} goes on"),
            Record::UpgradeFailed { message, hint } => {
                self.hinted(format!("no upgrade: {message}"), hint.as_deref())
            }
            Record::Renewing { component } => format!("`{component}` is built again, by the new version"),
            Record::Unchanged { component, generation } => {
                format!("generation {generation} serves `{component}` already")
            }
            Record::HistoryFailed { message, hint } => self.hinted(message.clone(), hint.as_deref()),
            Record::ReloadFailed { message, hint, serving } => {
                let message =
                    format!("generation {serving} goes on, the new one cannot be served: {message}");
                self.hinted(message, hint.as_deref())
            }
            Record::ScaleFailed { message, hint } => {
                self.hinted(format!("there cannot be more workers: {message}"), Some(hint))
            }
            Record::Unwatched { component, reason } => self.hinted(
                format!("`{component}` is not watched any more: {reason}"),
                Some("`wasmcluster reload` takes what is there, and watches it again"),
            ),
            Record::Unsteered { reason } => self.hinted(
                format!("the kernel deals new connections out by itself: {reason}"),
                Some("a slot without a worker gets its share, too, and its neighbours take it from there"),
            ),
            Record::Stopping { fast: false } => {
                "stopping: requests in flight are finished first; a second signal stops at once".into()
            }
            Record::Stopping { fast: true } => "stopping at once".into(),
            Record::Cluster { pid, notice } => return self.notice(*pid, notice),
            Record::Worker { slot, pid, report } => {
                let mut words = self.about(*slot, Some(*pid), &report.message);
                if let Some(request) = &report.request {
                    words += &format!(" (request {request})");
                }
                for frame in &report.backtrace {
                    words += &format!("\n    at {frame}");
                }
                self.hinted(words, report.hint.as_deref())
            }
            Record::InstanceStarted { .. } => return None,
            Record::WorkerHeld { slot, pid, symptoms } => {
                self.about(*slot, Some(*pid), format_args!("does not answer: {}", Seen(symptoms)))
            }
            Record::CoreDumped { slot, pid, file, bytes } => {
                let size = ByteSize(*bytes).display().iec();
                self.about(*slot, Some(*pid), format_args!("core dump of the guest in `{file}` ({size})"))
            }
            Record::CoreDumpFailed { slot, pid, message, hint } => {
                let what = format!("the guest's core dump is lost: {message}");
                self.hinted(self.about(*slot, Some(*pid), what), hint.as_deref())
            }
            Record::WorkerBroke { slot, pid, reason } => {
                self.about(*slot, Some(*pid), format_args!("killed for breaking the protocol: {reason}"))
            }
            Record::StrangerRefused { uid, pid } => {
                let process = pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default();
                format!("user {uid}{process} came to the control socket and was turned away")
            }
            // Not ours to prefix.
            Record::Output { .. } => return None,
        })
    }

    fn notice(&self, pid: Option<u32>, notice: &Notice) -> Option<String> {
        Some(match notice {
            Notice::WorkerReady { slot, took, .. } if self.serving => {
                self.about(*slot, pid, format_args!("ready after {}", Short(*took)))
            }
            Notice::StartTimedOut { slot, timeout, .. } => {
                self.about(*slot, pid, format_args!("not ready after {}", Short(*timeout)))
            }
            Notice::WorkerSilent { slot, silent, .. } => {
                self.about(*slot, pid, format_args!("says nothing since {}: killed", Short(*silent)))
            }
            Notice::WorkerStuck { slot, silent, .. } => {
                let what = format!("says nothing since {}: new connections go to others", Short(*silent));
                self.about(*slot, pid, what)
            }
            Notice::WorkerCrashed { slot, uptime, cause, restart_in, .. } => {
                let uptime = uptime.map(|uptime| format!(" after {}", Short(uptime))).unwrap_or_default();
                let next = match restart_in {
                    Some(Duration::ZERO) => "; restarting".into(),
                    Some(delay) => format!("; restarting in {}", Short(*delay)),
                    None => String::new(),
                };
                self.about(*slot, pid, format_args!("{}{uptime}{next}", Blow(cause)))
            }
            Notice::SlotErrored { slot, unstable_exits, window } => {
                let window = Short(*window);
                self.about(
                    *slot,
                    None,
                    format_args!("given up after {unstable_exits} early ends within {window}"),
                )
            }
            Notice::DrainDeadlinePassed { slot, .. } => self.about(*slot, pid, "still busy at its deadline"),
            Notice::RequestsCut { slot, cut, .. } => {
                let requests = if *cut == 1 { "request" } else { "requests" };
                self.about(*slot, pid, format_args!("{cut} {requests} cut at the deadline"))
            }
            Notice::WorkerStopped { slot, exit: Some(exit), .. } if is_news(*exit) => {
                self.about(*slot, pid, format_args!("stopped with {exit}"))
            }
            Notice::Scaling { from, to } if from < to => format!("going from {from} to {to} workers"),
            Notice::Scaling { from, to } => {
                format!("going from {from} to {to} workers: the last ones finish what they have")
            }
            Notice::WorkerLeaving { slot, wear, .. } => match wear {
                Wear::Asked => self.about(*slot, pid, "makes room for another worker"),
                Wear::Requests { served } => self.about(
                    *slot,
                    pid,
                    format_args!("makes room for another worker after {served} requests"),
                ),
                Wear::Memory { bytes } => {
                    let size = ByteSize(*bytes).display().iec();
                    self.about(*slot, pid, format_args!("uses {size} and makes room for another worker"))
                }
            },
            Notice::SlotTurning { slot, generation } => {
                self.about(*slot, None, format_args!("getting a worker of generation {generation}"))
            }
            Notice::RolloutBegan { generation, from } => {
                format!("rolling out generation {generation} in place of generation {from}")
            }
            Notice::RolloutBaking { generation, bake } => {
                format!(
                    "generation {generation} serves its first requests, and is watched for {}",
                    Short(*bake)
                )
            }
            Notice::RolloutDone { generation, took } => {
                format!("every slot serves generation {generation}, after {}", Short(*took))
            }
            Notice::RolloutAborted { generation, abort } => {
                format!("generation {generation} is given up: {}", Why(abort))
            }
            Notice::RolloutReturned { generation } => {
                format!("every slot serves generation {generation} again")
            }
            // The end that follows says it in full, or it is what everybody expects.
            Notice::GenerationRejected { .. }
            | Notice::WorkerReady { .. }
            | Notice::WorkerStopped { .. }
            | Notice::SlotServing { .. }
            | Notice::AllServing => return None,
        })
    }

    /// What is worth knowing of them: what is slower than it might be, or open.
    fn conditions(&self, Conditions { reset, confinement, .. }: &Conditions) -> Option<String> {
        let slower = match reset {
            MemoryReset::Pagemap => None,
            MemoryReset::Decommit { .. } if self.look.strict => None,
            MemoryReset::Decommit { reason } => {
                Some(format!("instances give back all of their memory, which is slower: {reason}"))
            }
            MemoryReset::OnDemand { reason } => {
                Some(format!("instances are mapped one by one, which is slower: {reason}"))
            }
        };
        let open = match confinement {
            Confinement::Off | Confinement::Full => None,
            Confinement::Partial { missing } => Some(self.hinted(
                format!("workers do without a part of their sandbox: {}", missing.join("; ")),
                Some("guests are walled in all the same; `--sandbox required` does not serve like this"),
            )),
        };
        let lines: Vec<_> = slower.into_iter().chain(open).collect();
        (!lines.is_empty()).then(|| lines.join("\n"))
    }

    /// What `--dev` has to say, with the end of its last line.
    pub(super) fn told(&self, told: &Told) -> String {
        let line = match told {
            Told::Building { command, changed: None } => {
                let first = command.lines().next().unwrap_or_default();
                let mark = if first.len() < command.len() { " …" } else { "" };
                format!("building: {}{mark}", visible(first, self.stderr))
            }
            Told::Building { changed: Some(file), .. } => {
                format!("building again: `{}` has changed", visible(file, self.stderr))
            }
            Told::Output { text, unfinished, .. } => {
                let mark = if *unfinished { "…" } else { "" };
                format!("{} {}{mark}", self.stderr.faint("build |"), visible(text, self.stderr))
            }
            Told::Rereading { changed } => {
                format!("reading the configuration again: `{}` has changed", visible(changed, self.stderr))
            }
            Told::Built { took } => format!("built after {}", Short(*took)),
            Told::BuildFailed { message, hint } => {
                let (exit, message, hint) = (Exit::Failed, message.clone(), Some(hint.clone()));
                return self.stderr.failure(&Failure { exit, message, hint });
            }
            Told::Warning { message, hint } => {
                self.hinted(format!("{} {message}", self.stderr.passing("warning:")), Some(hint))
            }
        };
        line + "\n"
    }

    pub(super) fn hinted(&self, message: String, hint: Option<&str>) -> String {
        match hint {
            Some(hint) => format!("{message}\n{} {hint}", self.stderr.hint("hint:")),
            None => message,
        }
    }

    fn about(&self, slot: SlotId, pid: Option<u32>, what: impl Display) -> String {
        let who = match pid {
            Some(pid) => format!("slot {slot} (pid {pid}):"),
            None => format!("slot {slot}:"),
        };
        format!("{} {what}", self.stderr.faint(&who))
    }
}

/// Whether a worker that was told to stop should have ended otherwise. Being killed is how the supervisor ends those
/// that it does not wait for.
fn is_news(exit: Ended) -> bool {
    !matches!(exit, Ended::Code(0) | Ended::Signal(SIGKILL))
}

/// A duration to the precision a person reads it with.
pub(crate) struct Short(pub(crate) Duration);

impl Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let duration = match self.0 {
            long if long >= Duration::from_secs(10) => Duration::from_secs(long.as_secs()),
            short if short >= Duration::from_millis(1) => Duration::from_millis(short.as_millis() as u64),
            tiny => Duration::from_micros(tiny.as_micros() as u64),
        };
        humantime::format_duration(duration).fmt(f)
    }
}

/// What brought a worker down.
struct Blow<'a>(&'a Cause);

impl Display for Blow<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Cause::Exited { exit } => write!(f, "ended with {exit}"),
            Cause::Silent { silent } => {
                write!(f, "was killed after it had said nothing for {}", Short(*silent))
            }
            Cause::StartTimedOut => f.write_str("was killed since it was not ready in time"),
            Cause::Failed { reason } => write!(f, "failed to start: {reason}"),
            Cause::SpawnFailed { reason } => write!(f, "could not be started: {reason}"),
        }
    }
}

/// In what a new version does worse than the old one.
struct Comparison<'a>(&'a Worse);

impl Display for Comparison<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Worse::Errors { errors, requests, traps, usual_percent } => {
                write!(f, "{errors} of its {requests} requests failed")?;
                if *traps > 0 {
                    write!(f, ", {traps} by a trap")?;
                }
                write!(f, "; before it was {usual_percent} of 100")
            }
            Worse::Latency { median, usual } => {
                write!(
                    f,
                    "half of its requests take up to {}; before it was {}",
                    Short(*median),
                    Short(*usual)
                )
            }
        }
    }
}

/// Why a rollout did not come to its end.
pub(crate) struct Why<'a>(pub(crate) &'a Abort);

impl Display for Why<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Abort::Refused { reason } => f.write_str(reason),
            Abort::Crashed { cause, .. } => write!(f, "a worker {}", Blow(cause)),
            Abort::Worse(worse) => Comparison(worse).fmt(f),
            Abort::Outgrown { bytes, .. } => {
                write!(f, "a worker came to use {}", ByteSize(*bytes).display().iec())
            }
            Abort::Superseded { by } => write!(f, "generation {by} is wanted instead"),
            Abort::Stopping => f.write_str("everything stops"),
        }
    }
}

/// What is to be seen of a process from outside.
struct Seen<'a>(&'a Symptoms);

impl Display for Seen<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Symptoms { state, waits_in, system_call, stack, requests } = self.0;
        write!(f, "its state is {}", state.as_deref().unwrap_or("not known"))?;
        if let Some(function) = waits_in {
            write!(f, ", it waits in `{function}`")?;
        }
        if let Some(number) = system_call {
            write!(f, ", in system call {number}")?;
        }
        for (number, function) in stack.iter().enumerate() {
            write!(f, "{}`{function}`", if number == 0 { "; in the kernel at " } else { " < " })?;
        }
        let unanswered = requests.iter().filter(|recent| !recent.answered);
        for (number, recent) in unanswered.enumerate() {
            write!(f, "{}`{}`", if number == 0 { "; not answered are " } else { ", " }, recent.request)?;
        }
        Ok(())
    }
}

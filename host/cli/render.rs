//! Records in words, or as lines of JSON.

use core::fmt::{self, Display};
use core::time::Duration;
use std::io::{IsTerminal, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use bytesize::ByteSize;
use serde::Serialize;
use wasmcluster_core::cluster::{Abort, Cause, Exit as Ended, Notice, SlotId, Wear, Worse};
use wasmcluster_core::message::MemoryReset;
use wasmcluster_core::record::{Record, Source, Stamp, Stamped as StampedRecord, Stream};

use super::exit::{Exit, Failure};
use super::writer::Line;

mod text;

pub(crate) use self::text::{Colours, visible};

/// The same number on every unix.
const SIGKILL: i32 = 9;

/// What is known about the reader, and about what was asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look {
    pub(crate) json: bool,
    /// Whether a person reads our messages as they come.
    pub(crate) terminal: bool,
    /// Whether the demo is served.
    pub(crate) demo: bool,
    /// Whether `--isolation strict` was asked for, so that it is no news.
    pub(crate) strict: bool,
}

/// Bytes for the two streams.
#[derive(Debug, Default)]
pub(crate) struct Rendered {
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
}

impl Rendered {
    pub(crate) fn len(&self) -> usize {
        self.stdout.len() + self.stderr.len()
    }

    pub(crate) fn clear(&mut self) {
        self.stdout.clear();
        self.stderr.clear();
    }

    /// Writes everything in the order in which it came, to one stream.
    pub(crate) fn write_to(&mut self, stream: &mut impl Write) -> std::io::Result<()> {
        let written = stream.write_all(&self.stdout).and_then(|()| stream.write_all(&self.stderr));
        self.clear();
        written.and_then(|()| stream.flush())
    }

    fn stream(&mut self, stream: Stream) -> &mut Vec<u8> {
        match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        }
    }
}

/// Turns lines into bytes. Guests' lines of stdout go to ours, everything else to our stderr.
#[derive(Debug)]
pub(crate) struct Renderer {
    look: Look,
    stdout: Colours,
    stderr: Colours,
    /// Whether everything served once: until then the only news is that it does.
    serving: bool,
}

impl Renderer {
    pub(crate) fn new(look: Look) -> Self {
        let stdout = Colours::of(std::io::stdout().is_terminal());
        Self { look, stdout, stderr: Colours::of(look.terminal), serving: false }
    }

    /// For a command that shows what an app says, all of it on one stream.
    pub(crate) fn following(json: bool, colours: Colours) -> Self {
        let look = Look { json, terminal: false, demo: false, strict: false };
        Self { look, stdout: colours, stderr: colours, serving: true }
    }

    /// One record that was made elsewhere.
    pub(crate) fn render_stamped(&mut self, stamped: &StampedRecord, rendered: &mut Rendered) {
        let StampedRecord { at, record } = stamped;
        if self.look.json {
            return object(&mut rendered.stdout, &Stamped { time: calendar(*at), what: record });
        }
        match record {
            Record::Output { source, stream, text, unfinished } => {
                self.output(*source, *stream, text, *unfinished, rendered);
            }
            record => {
                if let Some(words) = self.words(record) {
                    say(&mut rendered.stderr, &words);
                }
            }
        }
    }

    /// Records that were left out.
    pub(crate) fn render_missed(&self, records: u64, rendered: &mut Rendered) {
        if self.look.json {
            return event(&mut rendered.stdout, &OwnRecord::Missed { records });
        }
        let words = format!("{records} records are missing here: they were not read fast enough");
        say(&mut rendered.stderr, &self.stderr.faint(&words));
    }

    pub(crate) fn render(&mut self, line: &Line, rendered: &mut Rendered) {
        if self.look.json {
            return json(line, rendered);
        }
        match line {
            Line::Record(Record::Output { source, stream, text, unfinished }) => {
                self.output(*source, *stream, text, *unfinished, rendered);
            }
            Line::Record(record) => {
                if let Some(words) = self.words(record) {
                    say(&mut rendered.stderr, &words);
                }
            }
            Line::Lost(lines) => say(
                &mut rendered.stderr,
                &format!("{lines} lines of guests were lost: nobody read them fast enough"),
            ),
            Line::Failure(failure) => rendered.stderr.extend(self.stderr.failure(failure).into_bytes()),
        }
    }

    fn output(&self, source: Source, stream: Stream, text: &str, unfinished: bool, rendered: &mut Rendered) {
        let (name, colours) = match stream {
            Stream::Stdout => ("stdout", self.stdout),
            Stream::Stderr => ("stderr", self.stderr),
        };
        let who = match source {
            Source::Worker { slot, .. } => format!("slot {slot} {name} |"),
            Source::Builder => format!("builder {name} |"),
        };
        let text = visible(text, colours);
        let mark = if unfinished { "…" } else { "" };
        say(rendered.stream(stream), &format!("{} {text}{mark}", colours.faint(&who)));
    }

    /// One line or several; none for what is no news to a person.
    fn words(&mut self, record: &Record) -> Option<String> {
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
            Record::MemoryReset { reset } => match reset {
                MemoryReset::Pagemap => return None,
                MemoryReset::Decommit { .. } if self.look.strict => return None,
                MemoryReset::Decommit { reason } => {
                    format!("instances give back all of their memory, which is slower: {reason}")
                }
                MemoryReset::OnDemand { reason } => {
                    format!("instances are mapped one by one, which is slower: {reason}")
                }
            },
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
                self.hinted(self.about(*slot, Some(*pid), &report.message), report.hint.as_deref())
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

    fn hinted(&self, message: String, hint: Option<&str>) -> String {
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

/// Says what went wrong where there is no renderer.
pub(crate) fn failure(failure: &Failure, as_json: bool) -> Exit {
    let mut stderr = std::io::stderr();
    let mut rendered = Rendered::default();
    if as_json {
        json(&Line::Failure(failure.clone()), &mut rendered);
    } else {
        rendered.stderr.extend(Colours::of(stderr.is_terminal()).failure(failure).into_bytes());
    }
    let _ = stderr.write_all(&rendered.stderr);
    failure.exit
}

/// One thing that happened, for a program to read.
pub(crate) fn event(stream: &mut Vec<u8>, what: &impl Serialize) {
    object(stream, &Stamped { time: calendar(now()), what });
}

fn now() -> Stamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Stamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// A moment as RFC 3339 has it.
pub(crate) fn calendar(Stamp(millis): Stamp) -> String {
    // Beyond the year 9999 there is no way to write it.
    let moment = UNIX_EPOCH + Duration::from_millis(millis.min(253_402_300_799_999));
    humantime::format_rfc3339_millis(moment).to_string()
}

/// What a command found out, for a program to read.
pub(crate) fn answer(answer: &impl Serialize) {
    let mut text = Vec::new();
    object(&mut text, answer);
    let _ = std::io::stdout().write_all(&text);
}

fn say(stream: &mut Vec<u8>, words: &str) {
    stream.extend_from_slice(words.as_bytes());
    stream.push(b'\n');
}

/// What a line is in JSON.
#[derive(Serialize)]
struct Stamped<T> {
    time: String,
    #[serde(flatten)]
    what: T,
}

/// What is not the supervisor's to record.
#[derive(Serialize)]
#[serde(tag = "record", rename_all = "snake_case")]
enum OwnRecord<'a> {
    LinesLost { lines: u64 },
    Missed { records: u64 },
    Error { exit: u8, message: &'a str, hint: Option<&'a str> },
}

fn json(line: &Line, rendered: &mut Rendered) {
    let time = calendar(now());
    match line {
        Line::Record(record) => {
            let stream = match record {
                Record::Output { stream, .. } => *stream,
                _ => Stream::Stderr,
            };
            object(rendered.stream(stream), &Stamped { time, what: record });
        }
        Line::Lost(lines) => {
            object(&mut rendered.stderr, &Stamped { time, what: OwnRecord::LinesLost { lines: *lines } });
        }
        Line::Failure(Failure { exit, message, hint }) => {
            let what = OwnRecord::Error { exit: *exit as u8, message, hint: hint.as_deref() };
            object(&mut rendered.stderr, &Stamped { time, what });
        }
    }
}

fn object(stream: &mut Vec<u8>, value: &impl Serialize) {
    let start = stream.len();
    // Plain data with string keys: if it failed all the same, half an object would help nobody.
    match serde_json::to_writer(&mut *stream, value) {
        Ok(()) => stream.push(b'\n'),
        Err(_) => stream.truncate(start),
    }
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
            Cause::StartTimedOut => f.write_str("killed"),
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
            Abort::Superseded { by } => write!(f, "generation {by} is wanted instead"),
            Abort::Stopping => f.write_str("everything stops"),
        }
    }
}

#[cfg(test)]
mod tests;

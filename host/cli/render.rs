//! Records in words, or as lines of JSON.

use core::time::Duration;
use std::io::{IsTerminal, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use wasmcluster_core::record::{Record, Source, Stamp, Stamped as StampedRecord, Stream};

use super::exit::{Exit, Failure};
use super::writer::Line;

mod text;
mod words;

pub(crate) use self::text::{Colours, visible};
pub(crate) use self::words::{Short, Why};

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

impl Look {
    /// For when nothing is known.
    pub(crate) fn unknown() -> Self {
        Self { json: false, terminal: false, demo: false, strict: false }
    }
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
    /// For an app, and whether it serves already.
    pub(crate) fn new(look: Look, serving: bool) -> Self {
        let stdout = Colours::of(std::io::stdout().is_terminal());
        Self { look, stdout, stderr: Colours::of(look.terminal), serving }
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
            Line::Dev(told) => rendered.stderr.extend(self.told(told).into_bytes()),
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
        Line::Dev(told) => object(&mut rendered.stderr, &Stamped { time, what: told }),
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

#[cfg(test)]
mod tests;

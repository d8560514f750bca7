//! The thread that writes: the supervisor must not wait for a terminal or for whoever reads its log.

use core::time::Duration;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Instant;

use wasmcluster_core::record::Record;

use super::dev::Told;
use super::exit::Failure;
use super::render::{Rendered, Renderer};

/// Text of guests that may wait to be written, in bytes. What is more is lost, counted, and the count is written.
const MAX_WAITING: usize = 1 << 20;

/// What one line costs while it waits, besides its text.
const OVERHEAD: usize = 128;

/// How much is written at once when much waits.
const BATCH: usize = 64 << 10;

/// How often is looked whether there is room again.
const TURN: Duration = Duration::from_millis(5);

/// How often a loss is worth a line while it goes on.
const LOSS_INTERVAL: Duration = Duration::from_secs(1);

/// How long the last lines may take to be written. A reader that stands still does not keep us from ending.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Something to be written.
#[derive(Debug)]
pub(crate) enum Line {
    Record(Record),
    /// Lines of guests were lost.
    Lost(u64),
    Failure(Failure),
    /// What `--dev` has to say.
    Dev(Told),
}

/// The supervisor's side of the thread.
#[derive(Debug)]
pub(crate) struct Writer {
    lines: Lines,
    finished: Receiver<()>,
}

/// A way to the thread.
#[derive(Clone, Debug)]
pub(crate) struct Lines {
    lines: Sender<Line>,
    backlog: Arc<Backlog>,
}

/// What is between the two sides.
#[derive(Debug, Default)]
struct Backlog {
    waiting: AtomicUsize,
    lost: AtomicU64,
}

impl Writer {
    /// Starts the thread. Where it cannot be started nothing is written.
    pub(crate) fn start(renderer: Renderer) -> Self {
        let (lines, received) = channel();
        let (finish, finished) = channel();
        let backlog = Arc::new(Backlog::default());
        let shared = Arc::clone(&backlog);
        let _ = thread::Builder::new().name("writer".into()).stack_size(256 << 10).spawn(move || {
            write_all(renderer, &received, &shared);
            let _ = finish.send(());
        });
        Self { lines: Lines { lines, backlog }, finished }
    }

    /// A way to it for somebody else, who must have given it up when this [finishes](Self::finish).
    pub(crate) fn lines(&self) -> Lines {
        self.lines.clone()
    }

    pub(crate) fn write(&self, line: Line) {
        self.lines.write(line);
    }

    /// Waits until everything is written, within reason.
    pub(crate) fn finish(self) {
        drop(self.lines);
        let _ = self.finished.recv_timeout(LAST_WORDS);
    }
}

impl Lines {
    /// Passes a line on, never waiting. Only lines of guests are lost when too much waits: of those there is no bound,
    /// and of ours there is no flood.
    pub(crate) fn write(&self, line: Line) {
        let cost = cost(&line);
        if self.backlog.waiting.load(Ordering::Relaxed) + cost > MAX_WAITING && may_be_lost(&line) {
            self.backlog.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.backlog.waiting.fetch_add(cost, Ordering::Relaxed);
        let _ = self.lines.send(line);
    }

    /// The same with a line whose author can wait, as a build can: none is lost, and no more than may wait does.
    pub(crate) fn write_in_turn(&self, line: Line) {
        while self.backlog.waiting.load(Ordering::Relaxed) + cost(&line) > MAX_WAITING {
            thread::sleep(TURN);
        }
        self.write(line);
    }
}

fn may_be_lost(line: &Line) -> bool {
    matches!(line, Line::Record(Record::Output { .. } | Record::Worker { .. }))
}

fn cost(line: &Line) -> usize {
    let text = match line {
        Line::Record(Record::Output { text, .. }) | Line::Dev(Told::Output { text, .. }) => text.len(),
        Line::Record(Record::Worker { report, .. }) => report.message.len(),
        _ => 0,
    };
    OVERHEAD + text
}

fn write_all(mut renderer: Renderer, lines: &Receiver<Line>, backlog: &Backlog) {
    let mut rendered = Rendered::default();
    let mut loss_said: Option<Instant> = None;
    let mut ended = false;
    while !ended {
        // Lines are only lost while others wait, so a loss is always seen here before the thread goes to sleep.
        let mut next = match backlog.lost.load(Ordering::Relaxed) {
            0 => lines.recv().map_err(|_| RecvTimeoutError::Disconnected),
            _ => lines.recv_timeout(LOSS_INTERVAL),
        };
        ended = matches!(next, Err(RecvTimeoutError::Disconnected));
        while let Ok(line) = next {
            backlog.waiting.fetch_sub(cost(&line), Ordering::Relaxed);
            renderer.render(&line, &mut rendered);
            next = match rendered.len() {
                ..BATCH => lines.try_recv().map_err(|_| RecvTimeoutError::Timeout),
                _ => Err(RecvTimeoutError::Timeout),
            };
        }
        if ended || loss_said.is_none_or(|said| said.elapsed() >= LOSS_INTERVAL) {
            let lost = backlog.lost.swap(0, Ordering::Relaxed);
            if lost > 0 {
                renderer.render(&Line::Lost(lost), &mut rendered);
                loss_said = Some(Instant::now());
            }
        }
        // A reader that went away is no error: there is nobody to tell, and serving goes on.
        let _ = io::stdout().write_all(&rendered.stdout).and_then(|()| io::stdout().flush());
        let _ = io::stderr().write_all(&rendered.stderr);
        rendered.clear();
    }
}

#[cfg(test)]
mod tests {
    use wasmcluster_core::cluster::SlotId;
    use wasmcluster_core::record::{Source, Stream};

    use super::*;

    #[test]
    fn a_flood_loses_lines_of_guests_and_none_of_ours() {
        // Nobody takes anything out.
        let (lines, received) = channel();
        let (_, finished) = channel();
        let writer = Writer { lines: Lines { lines, backlog: Arc::default() }, finished };
        let source = Source::Worker { slot: SlotId(0), pid: 1 };
        for _ in 0..2_000 {
            let text = "x".repeat(1_000);
            writer.write(Line::Record(Record::Output {
                source,
                stream: Stream::Stdout,
                text,
                unfinished: false,
            }));
        }
        writer.write(Line::Record(Record::Stopping { fast: false }));
        let lost = writer.lines.backlog.lost.load(Ordering::Relaxed);
        assert!(lost > 0);
        let kept: Vec<_> = received.try_iter().collect();
        assert_eq!(kept.len() as u64, 2_000 - lost + 1);
        assert!(kept.iter().map(cost).sum::<usize>() <= MAX_WAITING + 2 * OVERHEAD);
        assert!(matches!(kept.last(), Some(Line::Record(Record::Stopping { .. }))));
    }
}

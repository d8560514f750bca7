//! The thread that writes: the supervisor must not wait for a terminal or for whoever reads its log.

use core::time::Duration;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use wasmcluster_supervisor::Record;

use super::exit::Failure;
use super::render::{Rendered, Renderer};

/// Text of guests that may wait to be written, in bytes. What is more is lost, counted, and the count is written.
const MAX_WAITING: usize = 1 << 20;

/// What one line costs while it waits, besides its text.
const OVERHEAD: usize = 128;

/// How much is written at once when much waits.
const BATCH: usize = 64 << 10;

/// How long the last lines may take to be written. A reader that stands still does not keep us from ending.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Something to be written.
#[derive(Debug)]
pub(crate) enum Line {
    Record(Record),
    /// Lines of guests were lost.
    Lost(u64),
    Failure(Failure),
}

/// The supervisor's side of the thread.
#[derive(Debug)]
pub(crate) struct Writer {
    lines: Sender<Line>,
    backlog: Arc<Backlog>,
    finished: Receiver<()>,
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
        Self { lines, backlog, finished }
    }

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

    /// Waits until everything is written, within reason.
    pub(crate) fn finish(self) {
        drop(self.lines);
        let _ = self.finished.recv_timeout(LAST_WORDS);
    }
}

fn may_be_lost(line: &Line) -> bool {
    matches!(line, Line::Record(Record::Output { .. } | Record::Worker { .. }))
}

fn cost(line: &Line) -> usize {
    let text = match line {
        Line::Record(Record::Output { text, .. }) => text.len(),
        Line::Record(Record::Worker { report, .. }) => report.message.len(),
        _ => 0,
    };
    OVERHEAD + text
}

fn write_all(mut renderer: Renderer, lines: &Receiver<Line>, backlog: &Backlog) {
    let mut rendered = Rendered::default();
    while let Ok(first) = lines.recv() {
        let mut next = Some(first);
        while let Some(line) = next {
            backlog.waiting.fetch_sub(cost(&line), Ordering::Relaxed);
            renderer.render(&line, &mut rendered);
            next = if rendered.len() < BATCH { lines.try_recv().ok() } else { None };
        }
        match backlog.lost.swap(0, Ordering::Relaxed) {
            0 => {}
            lost => renderer.render(&Line::Lost(lost), &mut rendered),
        }
        // A reader that went away is no error: there is nobody to tell, and serving goes on.
        let _ = io::stdout().write_all(&rendered.stdout).and_then(|()| io::stdout().flush());
        let _ = io::stderr().write_all(&rendered.stderr);
        rendered.clear();
    }
}

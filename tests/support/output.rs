//! What a process writes, collected while it runs.

use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// One stream of a process, read to its end by a thread of its own so that the process never waits for us.
#[derive(Debug)]
pub(crate) struct Output {
    state: Arc<(Mutex<State>, Condvar)>,
    reader: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct State {
    text: String,
    /// When each line came, and where it ends.
    lines: Vec<(Instant, usize)>,
    ended: bool,
}

impl Output {
    pub(crate) fn of(stream: impl Read + Send + 'static) -> Self {
        let state = Arc::new((Mutex::new(State::default()), Condvar::new()));
        let shared = Arc::clone(&state);
        let reader = thread::spawn(move || {
            let mut stream = BufReader::new(stream);
            let (state, news) = &*shared;
            let mut line = Vec::new();
            while stream.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
                let mut state = state.lock().unwrap();
                state.text.push_str(&String::from_utf8_lossy(&line));
                let end = state.text.len();
                state.lines.push((Instant::now(), end));
                drop(state);
                news.notify_all();
                line.clear();
            }
            state.lock().unwrap().ended = true;
            news.notify_all();
        });
        Self { state, reader: Some(reader) }
    }

    /// Everything so far.
    pub(crate) fn text(&self) -> String {
        self.state.0.lock().unwrap().text.clone()
    }

    /// Every line so far, and when it came.
    pub(crate) fn lines(&self) -> Vec<(Instant, String)> {
        let state = self.state.0.lock().unwrap();
        let begins = std::iter::once(0).chain(state.lines.iter().map(|(_, end)| *end));
        let line = |(begin, (at, end)): (usize, &(Instant, usize))| {
            (*at, state.text[begin..*end].trim_end().to_owned())
        };
        begins.zip(&state.lines).map(line).collect()
    }

    /// Waits until `found` finds something in the text. None when the stream ends, or the time, without it.
    pub(crate) fn wait_for<T>(&self, time: Duration, mut found: impl FnMut(&str) -> Option<T>) -> Option<T> {
        let deadline = Instant::now() + time;
        let (state, news) = &*self.state;
        let mut state = state.lock().unwrap();
        loop {
            if let Some(found) = found(&state.text) {
                return Some(found);
            }
            let left = deadline.checked_duration_since(Instant::now()).filter(|_| !state.ended)?;
            state = news.wait_timeout(state, left).unwrap().0;
        }
    }

    /// Everything, once every process that has the stream open has closed it.
    pub(crate) fn finish(&mut self) -> String {
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        self.text()
    }
}

//! The last records, kept for those who ask what happened, and those who follow.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use wasmcluster_core::control::FromSupervisor;
use wasmcluster_core::record::{Record, Stamped};

use crate::control::{Answers, Control, PassedAnswers, Released};
use crate::history::now;
use crate::upgrade::Descriptors;

/// How many records are kept.
const RECORDS: usize = 1000;

/// How much text of guests is kept, in bytes. Written as JSON it may become six times as much, and all of it has to fit
/// in one frame of the control socket.
const TEXT: usize = 512 << 10;

/// The end of the log, and its readers.
#[derive(Debug, Default)]
pub(crate) struct Log {
    kept: VecDeque<Stamped>,
    /// The text in it, in bytes.
    text: usize,
    followers: Vec<Answers>,
}

/// A [`Log`] that nobody writes.
#[derive(Debug)]
pub(crate) struct ReleasedLog {
    kept: Vec<Stamped>,
    followers: Vec<Released>,
}

impl ReleasedLog {
    /// What somebody else needs to go on with it.
    pub(crate) async fn pass(self, deadline: Instant, descriptors: &mut Descriptors) -> PassedLog {
        let mut followers = Vec::new();
        for follower in self.followers {
            followers.extend(follower.pass(deadline, descriptors).await);
        }
        PassedLog { kept: self.kept, followers }
    }
}

/// A [`Log`] on its way to another program.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PassedLog {
    kept: Vec<Stamped>,
    followers: Vec<PassedAnswers>,
}

impl Log {
    /// Takes note of a record.
    pub(crate) fn note(&mut self, record: &Record) {
        let stamped = Stamped { at: now(), record: record.clone() };
        self.followers.retain(Answers::are_awaited);
        for follower in &mut self.followers {
            follower.send_record(&stamped);
        }
        self.text += text(&stamped.record);
        self.kept.push_back(stamped);
        while self.kept.len() > RECORDS || self.text > TEXT {
            let Some(oldest) = self.kept.pop_front() else { break };
            self.text -= text(&oldest.record);
        }
    }

    /// Answers with the last records, and with those to come where they are wanted.
    pub(crate) fn show(&mut self, last: usize, follow: bool, mut answers: Answers) {
        let skipped = self.kept.len().saturating_sub(last);
        let records = FromSupervisor::Logs(self.kept.iter().skip(skipped).cloned().collect());
        if follow {
            answers.send(records);
            self.followers.push(answers);
        } else {
            answers.end(records);
        }
    }

    /// Leaves it to somebody else, readers and all.
    pub(crate) fn release(self) -> ReleasedLog {
        let followers = self.followers.into_iter().map(Answers::release).collect();
        ReleasedLog { kept: self.kept.into(), followers }
    }

    /// Goes on with what somebody else had.
    pub(crate) fn take(&mut self, passed: PassedLog, control: &Control, descriptors: &mut Descriptors) {
        let PassedLog { kept, followers } = passed;
        let since = std::mem::take(&mut self.kept);
        self.kept = kept.into_iter().chain(since).collect();
        self.text = self.kept.iter().map(|kept| text(&kept.record)).sum();
        // Whoever cannot be taken over sees that the connection ends.
        self.followers
            .extend(followers.into_iter().filter_map(|passed| control.take(passed, descriptors).ok()));
    }

    /// Lets all readers go.
    pub(crate) fn close(&mut self) {
        self.followers.clear();
    }
}

/// What of a record has no bound of its own.
fn text(record: &Record) -> usize {
    match record {
        Record::Output { text, .. } => text.len(),
        Record::Worker { report, .. } => report.message.len(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use wasmcluster_core::cluster::SlotId;
    use wasmcluster_core::record::{Source, Stream};

    use super::*;

    fn line(text: String) -> Record {
        let source = Source::Worker { slot: SlotId(0), pid: 1 };
        Record::Output { source, stream: Stream::Stdout, text, unfinished: false }
    }

    #[test]
    fn the_last_records_are_kept_and_no_more_than_fit_a_frame() {
        let mut log = Log::default();
        for number in 0..2 * RECORDS {
            log.note(&line(number.to_string()));
        }
        assert_eq!(log.kept.len(), RECORDS);
        assert_eq!(log.kept.back().map(|last| &last.record), Some(&line((2 * RECORDS - 1).to_string())));
        // The worst that a guest can write: each byte becomes six.
        for _ in 0..RECORDS {
            log.note(&line("\u{1}".repeat(8 << 10)));
        }
        assert!(log.text <= TEXT);
        assert_eq!(log.text, log.kept.iter().map(|kept| text(&kept.record)).sum::<usize>());
        let all: Vec<_> = log.kept.iter().cloned().collect();
        let frame = serde_json::to_vec(&FromSupervisor::Logs(all)).expect("plain data");
        assert!(frame.len() < wasmcluster_core::channel::MAX_FRAME, "{}", frame.len());
    }
}

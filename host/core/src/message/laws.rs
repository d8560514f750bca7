//! What holds for every message and for the history, whoever wrote them.

use core::fmt::Debug;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{FromBuilder, FromWorker, ToBuilder, ToWorker};
use crate::cluster;
use crate::control::{FromSupervisor, ToSupervisor};
use crate::history::{self, Entry};

/// Any text is no message, or one that is written and read again as the same, for every kind of message that there is. Whoever
/// acts on it lives on.
pub fn any_text_is_read_as_it_is_written(text: &[u8]) {
    is_read_as_written::<ToWorker>(text);
    is_read_as_written::<ToBuilder>(text);
    is_read_as_written::<FromBuilder>(text);
    is_read_as_written::<ToSupervisor>(text);
    is_read_as_written::<FromSupervisor>(text);
    if let Some(FromWorker::Pulse(pulse)) = is_read_as_written(text) {
        cluster::laws::any_pulses_are_judged(&[pulse.served]);
    }
    if let Some(entries) = is_read_as_written::<Vec<Entry>>(text) {
        history::laws::any_entries_are_gone_on_with(&entries);
    }
}

fn is_read_as_written<T: Serialize + DeserializeOwned + Debug>(text: &[u8]) -> Option<T> {
    let message: T = serde_json::from_slice(text).ok()?;
    let written = serde_json::to_vec(&message).expect("whatever was read can be written");
    let again: T = serde_json::from_slice(&written).expect("whatever was written can be read");
    assert_eq!(format!("{again:?}"), format!("{message:?}"));
    Some(message)
}

//! What holds for whatever a peer sends.

use core::fmt::Debug;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Channel, LENGTH, MAX_FRAME};
use crate::laws::pieces;

/// What was heard of some bytes: each message as it prints, and why it ended if it did.
#[derive(Debug, PartialEq)]
struct Heard<T> {
    messages: Vec<T>,
    error: Option<String>,
}

/// Any bytes, in any pieces, are the same messages and come to the same end, in no more memory than was sent. What was heard
/// can be said again, and is heard as it was.
pub fn any_bytes_are_heard_in_any_pieces<T: Serialize + DeserializeOwned + Debug>(
    bytes: &[u8],
    lengths: &[u8],
) {
    let whole = hear::<T>(bytes, &[]);
    let cut = hear::<T>(bytes, lengths);
    assert_eq!(shown(&cut.messages), shown(&whole.messages), "{lengths:?}");
    assert_eq!(cut.error, whole.error, "{lengths:?}");
    what_is_said_is_heard(&whole.messages, lengths);
}

/// What is sent is received, in any pieces, in its order, and nothing besides.
pub fn what_is_said_is_heard<T: Serialize + DeserializeOwned + Debug>(messages: &[T], lengths: &[u8]) {
    let mut channel = Channel::<T, T>::new();
    messages.iter().for_each(|message| channel.send(message));
    let heard = hear::<T>(channel.outgoing(), lengths);
    assert_eq!(heard.error, None);
    assert_eq!(shown(&heard.messages), shown(messages));
}

fn hear<T: Serialize + DeserializeOwned>(bytes: &[u8], lengths: &[u8]) -> Heard<T> {
    let mut channel = Channel::<T, T>::new();
    let mut heard = Heard { messages: Vec::new(), error: None };
    for piece in pieces(bytes, lengths) {
        channel.read(piece);
        loop {
            match channel.receive() {
                Ok(Some(message)) => heard.messages.push(message),
                Ok(None) => break,
                Err(error) => {
                    heard.error = Some(error.to_string());
                    return heard;
                }
            }
        }
        assert!(channel.incoming.len() < LENGTH + MAX_FRAME, "more is kept than a frame");
        // A vector that grows doubles. A length that is only announced must not count.
        assert!(channel.incoming.capacity() <= 2 * bytes.len().max(LENGTH), "memory for what never came");
    }
    heard
}

fn shown<T: Debug>(messages: &[T]) -> Vec<String> {
    messages.iter().map(|message| format!("{message:?}")).collect()
}

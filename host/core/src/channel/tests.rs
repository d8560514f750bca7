use proptest::prelude::*;

use super::laws::{any_bytes_are_heard_in_any_pieces, what_is_said_is_heard};
use super::*;
use crate::laws::cases;

type Left = Channel<u32, String>;
type Right = Channel<String, u32>;

fn connect(left: &mut Left, right: &mut Right) {
    right.read(left.outgoing());
    left.wrote(left.outgoing().len());
    left.read(right.outgoing());
    right.wrote(right.outgoing().len());
}

#[test]
fn messages_cross_in_order() {
    let (mut left, mut right) = (Left::new(), Right::new());
    left.send(&1);
    left.send(&2);
    right.send(&"three".into());
    connect(&mut left, &mut right);
    assert_eq!(right.receive().expect("valid"), Some(1));
    assert_eq!(right.receive().expect("valid"), Some(2));
    assert_eq!(right.receive().expect("valid"), None);
    assert_eq!(left.receive().expect("valid").as_deref(), Some("three"));
}

#[test]
fn a_message_may_arrive_byte_by_byte() {
    let (mut left, mut right) = (Left::new(), Right::new());
    left.send(&7);
    let mut received = Vec::new();
    for byte in left.outgoing() {
        right.read(&[*byte]);
        received.extend(right.receive().expect("valid"));
    }
    assert_eq!(received, [7]);
}

#[test]
fn a_frame_that_is_too_large_is_refused_before_it_arrives() {
    let mut right = Right::new();
    right.read(&u32::MAX.to_le_bytes());
    assert!(matches!(right.receive(), Err(ChannelError::TooLarge(_))));
}

#[test]
fn another_build_is_refused() {
    let mut right = Right::new();
    let hello = br#"{"protocol":999}"#;
    right.read(&(hello.len() as u32).to_le_bytes());
    right.read(hello);
    assert!(matches!(right.receive(), Err(ChannelError::Protocol { theirs: 999 })));
}

proptest! {
    #![proptest_config(cases(128))]

    #[test]
    fn any_bytes(bytes: Vec<u8>, lengths: Vec<u8>) {
        any_bytes_are_heard_in_any_pieces::<String>(&bytes, &lengths);
    }

    /// Garbage seldom gets beyond the greeting.
    #[test]
    fn any_bytes_among_messages(messages: Vec<String>, junk: Vec<u8>, at: usize, lengths: Vec<u8>) {
        let mut channel = Channel::<String, String>::new();
        messages.iter().for_each(|message| channel.send(message));
        let mut bytes = channel.outgoing().to_owned();
        let at = at % (bytes.len() + 1);
        bytes.splice(at..at, junk);
        any_bytes_are_heard_in_any_pieces::<String>(&bytes, &lengths);
    }

    #[test]
    fn any_messages(messages: Vec<String>, lengths: Vec<u8>) {
        what_is_said_is_heard(&messages, &lengths);
    }

    /// Of a frame of which the length has come, nothing is kept for what has not.
    #[test]
    fn any_length(length: u32, bytes: Vec<u8>) {
        let greeting = Right::new().outgoing().to_owned();
        any_bytes_are_heard_in_any_pieces::<String>(&[&greeting, &length.to_le_bytes()[..], &bytes].concat(), &[1; 200]);
    }
}

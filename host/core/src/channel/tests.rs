use super::*;

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

#[test]
fn garbage_is_an_error_and_not_a_panic() {
    for seed in 0..1_000 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut right = Right::new();
        let bytes: Vec<u8> = (0..rng.usize(..200)).map(|_| rng.u8(..)).collect();
        right.read(&bytes);
        while let Ok(Some(_)) = right.receive() {}
    }
}

use proptest::collection::vec;
use proptest::prelude::*;

use super::laws::{any_bytes_are_read_in_any_pieces, any_bytes_are_written_in_any_pieces};
use super::*;
use crate::laws::cases;

/// What becomes of `bytes` that arrive in pieces of `piece` bytes, then end.
fn lines(bytes: &[u8], piece: usize) -> Vec<Line> {
    let mut buffer = LineReader::default();
    let mut lines = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let space = buffer.space();
        assert!(!space.is_empty(), "no space left");
        let length = piece.min(space.len()).min(rest.len());
        space[..length].copy_from_slice(&rest[..length]);
        buffer.filled(length);
        rest = &rest[length..];
        lines.extend(std::iter::from_fn(|| buffer.next_line()));
    }
    buffer.end();
    lines.extend(std::iter::from_fn(|| buffer.next_line()));
    lines
}

#[track_caller]
fn check(bytes: &[u8], expected: &[&str]) {
    let expected: Vec<Line> =
        expected.iter().map(|text| Line { text: (*text).to_owned(), unfinished: false }).collect();
    for piece in [1, 2, 3, 7, MAX_READ] {
        assert_eq!(lines(bytes, piece), expected, "in pieces of {piece}");
    }
}

#[test]
fn lines_are_whole_however_they_arrive() {
    check(b"", &[]);
    check(b"one\n", &["one"]);
    check(b"one\ntwo\n\nfour", &["one", "two", "", "four"]);
    check(b"from windows\r\nand not\rhere\n", &["from windows", "and not\rhere"]);
    check("grüße, 世界\n".as_bytes(), &["grüße, 世界"]);
}

#[test]
fn what_is_not_utf_8_is_replaced() {
    check(b"a\xffb\n", &["a\u{fffd}b"]);
    check(b"\xe4\xb8", &["\u{fffd}"]);
}

#[test]
fn a_long_line_is_split_and_says_so() {
    let mut long = vec![b'x'; 2 * MAX_READ + 5];
    long.push(b'\n');
    let pieces = lines(&long, MAX_READ);
    let lengths: Vec<_> = pieces.iter().map(|line| (line.text.len(), line.unfinished)).collect();
    assert_eq!(lengths, [(MAX_READ, true), (MAX_READ, true), (5, false)]);
}

#[test]
fn a_split_does_not_cut_a_character() {
    for character in ["ü", "世", "🦀"] {
        for offset in 0..4 {
            let text = "x".repeat(offset) + &character.repeat(MAX_READ);
            let pieces = lines(text.as_bytes(), 1000);
            assert!(pieces.len() > 1);
            assert_eq!(pieces.into_iter().map(|line| line.text).collect::<String>(), text);
        }
    }
}

#[test]
fn garbage_neither_stalls_nor_panics() {
    for byte in [0x80, 0xbf, 0xc0, 0xf0, 0xff] {
        let pieces = lines(&vec![byte; 3 * MAX_READ], 4096);
        assert!(pieces.iter().all(|line| !line.text.is_empty()));
    }
}

/// What becomes of `writes` of one guest.
fn printed(writes: &[&str]) -> String {
    let (mut writer, mut lines) = (LineWriter::default(), String::new());
    let mut push = |line: &[u8]| {
        lines += str::from_utf8(line).expect("text, as what went in");
        lines.push('\n');
    };
    for write in writes {
        writer.write(write.as_bytes(), &mut push);
    }
    writer.end(&mut push);
    lines
}

#[test]
fn lines_are_put_together_and_the_last_one_ends() {
    assert_eq!(printed(&["one\ntw", "o\n", "three"]), "one\ntwo\nthree\n");
    assert_eq!(printed(&["\n\n"]), "\n\n");
    assert_eq!(printed(&[]), "");
}

#[test]
fn a_line_without_end_is_broken() {
    let long = "x".repeat(MAX_WRITTEN * 2 + 10);
    let text = printed(&[&long, "\nnext\n"]);
    let lengths: Vec<usize> = text.lines().map(str::len).collect();
    assert_eq!(lengths, [MAX_WRITTEN, MAX_WRITTEN, 10, 4]);
}

#[test]
fn a_line_is_one_however_it_was_printed() {
    let longest = "x".repeat(MAX_WRITTEN);
    let whole = printed(&[&format!("{longest}\nnext\n")]);
    assert_eq!(whole.lines().count(), 2);
    assert_eq!(printed(&[&longest, "\nnext\n"]), whole);
}

#[test]
fn a_break_does_not_cut_a_character() {
    for character in ["ü", "世", "🦀"] {
        for offset in 0..4 {
            let text = "x".repeat(offset) + &character.repeat(MAX_WRITTEN);
            for writes in [&[text.as_str()][..], &["", &text, "\n"]] {
                // It panics where a line is no text.
                assert_eq!(printed(writes).lines().collect::<String>(), text);
            }
        }
    }
}

/// Lines of all lengths, most of them as long as a line may be, of text and of what is none.
fn printings() -> impl Strategy<Value = Vec<u8>> {
    let some = prop_oneof![Just("x"), Just("ü"), Just("世"), Just("🦀"), Just("\r"), Just(" ")];
    let long = (some, MAX_WRITTEN - 5..MAX_READ + 5).prop_map(|(some, length)| {
        let mut line = some.repeat(length / some.len() + 1);
        line.insert_str(0, &"a".repeat(length % some.len()));
        line.into_bytes()
    });
    let part = prop_oneof![
        3 => long,
        2 => ".{0,20}".prop_map(String::into_bytes),
        1 => any::<Vec<u8>>(),
        2 => Just(b"\n".to_vec()),
        1 => Just(b"\r\n".to_vec()),
    ];
    vec(part, ..6).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(cases(48))]

    #[test]
    fn whatever_is_read(bytes in printings(), lengths: Vec<u8>) {
        any_bytes_are_read_in_any_pieces(&bytes, &lengths);
    }

    #[test]
    fn whatever_is_written(bytes in printings(), lengths: Vec<u8>) {
        any_bytes_are_written_in_any_pieces(&bytes, &lengths);
    }
}

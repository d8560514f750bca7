//! What holds for whatever is printed.

use super::{Line, LineReader, LineWriter, MAX_READ, MAX_WRITTEN};
use crate::laws::pieces;

/// Any bytes, in any pieces, are read as the same lines, also where somebody else goes on with the rest after each piece. None
/// is longer than it may be, and together they are what was written, line by line.
pub fn any_bytes_are_read_in_any_pieces(bytes: &[u8], lengths: &[u8]) {
    let whole = read(bytes, &[], false);
    assert_eq!(read(bytes, lengths, false), whole, "{lengths:?}");
    assert_eq!(read(bytes, lengths, true), whole, "{lengths:?}, handed on");

    // Lines as anybody would split them, each of pieces of which all but the last are unfinished.
    let mut expected: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
    if expected.last().is_some_and(|last| last.is_empty()) {
        expected.pop();
    }
    let mut found = whole.iter().peekable();
    for expected in expected {
        let mut text = String::new();
        loop {
            let piece = found.next().expect("a line for each that was written");
            text += &piece.text;
            // Not even what stands for a byte that is no text makes it more than three times as long.
            assert!(piece.text.len() <= 3 * MAX_READ);
            let goes_on = piece.unfinished && found.peek().is_some();
            if !goes_on {
                break;
            }
        }
        if let Ok(expected) = str::from_utf8(expected) {
            assert_eq!(text, expected.strip_suffix('\r').filter(|_| text != expected).unwrap_or(expected));
        } else if expected.len() < MAX_READ {
            let expected = String::from_utf8_lossy(expected);
            assert!(text == expected || Some(&*text) == expected.strip_suffix('\r'));
        }
    }
    assert_eq!(found.next(), None);
}

/// Whatever a guest prints, in any pieces, becomes the same lines: each of at most as many bytes as are read as a line, none of
/// them lost, and no character cut in two. Lines that are not too long are what was printed.
pub fn any_bytes_are_written_in_any_pieces(bytes: &[u8], lengths: &[u8]) {
    let whole = write(bytes, &[]);
    assert!(write(bytes, lengths) == whole, "other lines in pieces of {lengths:?}");
    assert!(whole.iter().all(|line| line.len() <= MAX_WRITTEN));

    let mut expected: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
    if expected.last().is_some_and(|last| last.is_empty()) {
        expected.pop();
    }
    let mut found = whole.iter();
    for expected in &expected {
        let mut line = found.next().expect("a line for each that was printed").clone();
        assert!(line.len() >= expected.len().min(MAX_WRITTEN - 3), "broken without need");
        while line.len() < expected.len() {
            line.extend_from_slice(found.next().expect("as many bytes as were printed"));
        }
        assert!(line == *expected, "{} bytes for {}", line.len(), expected.len());
    }
    assert_eq!(found.next(), None);
    if str::from_utf8(bytes).is_ok() {
        assert!(whole.iter().all(|line| str::from_utf8(line).is_ok()), "a character was cut in two");
    }

    let piped: Vec<u8> = whole.iter().flat_map(|line| line.iter().chain(b"\n")).copied().collect();
    let lines = read(&piped, lengths, false);
    assert!(
        lines.iter().all(|line| !line.unfinished),
        "what one end writes as a line the other reads as two"
    );
    assert_eq!(lines.len(), whole.len());
}

fn write(bytes: &[u8], lengths: &[u8]) -> Vec<Vec<u8>> {
    let (mut writer, mut lines) = (LineWriter::default(), Vec::new());
    for piece in pieces(bytes, lengths) {
        writer.write(piece, |line| lines.push(line.to_owned()));
    }
    writer.end(|line| lines.push(line.to_owned()));
    lines
}

fn read(bytes: &[u8], lengths: &[u8], handed_on: bool) -> Vec<Line> {
    let (mut reader, mut lines) = (LineReader::default(), Vec::new());
    for mut piece in pieces(bytes, lengths) {
        while !piece.is_empty() {
            let space = reader.space();
            assert!(!space.is_empty(), "no space left");
            let fits = space.len().min(piece.len());
            space[..fits].copy_from_slice(&piece[..fits]);
            reader.filled(fits);
            piece = &piece[fits..];
            lines.extend(core::iter::from_fn(|| reader.next_line()));
        }
        if handed_on {
            reader = LineReader::resume(reader.rest().to_owned(), false);
        }
    }
    reader.end();
    lines.extend(core::iter::from_fn(|| reader.next_line()));
    lines
}

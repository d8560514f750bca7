//! Clients of HTTP/2 that send frames as none should.

use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

use fastrand::Rng;

use super::attack::{Attack, FOR_EVER};
use super::tally::Seen::{self, Cut, Held, Left, Status};
use crate::support::RawClient;
use crate::support::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PING, PREFACE, RST_STREAM, SETTINGS, WINDOW_UPDATE,
    frame,
};

/// `:method: GET`, `:path: /`, `:scheme: http`, and without an index `:authority: a`.
const GET: &[u8] = &[0x82, 0x84, 0x86, 0x01, 1, b'a'];

/// How much is sent to who takes it all.
const MOST: usize = 1 << 20;

pub(super) fn all() -> Vec<Attack> {
    vec![
        Attack::new("h2: requests that are taken back at once", [Cut, Left], |client, _| {
            let request = |stream| {
                let asked = frame(HEADERS, END_STREAM | END_HEADERS, stream, GET);
                [asked, frame(RST_STREAM, 0, stream, &8u32.to_be_bytes())].concat()
            };
            flood(client, (1..).step_by(2).map(request))
        }),
        Attack::new("h2: a head without an end", [Cut, Left], |client, _| {
            let fields = [0, 1, b'x', 1, b'y'].repeat(3000);
            let begun = frame(HEADERS, END_STREAM, 1, GET);
            flood(client, [begun].into_iter().chain(std::iter::repeat(frame(CONTINUATION, 0, 1, &fields))))
        }),
        Attack::new("h2: a flood of pings", [Cut, Left], |client, _| {
            flood(client, std::iter::repeat(frame(PING, 0, 0, &[0; 8]).repeat(100)))
        }),
        Attack::new("h2: a flood of settings", [Cut, Left], |client, _| {
            flood(client, std::iter::repeat(frame(SETTINGS, 0, 0, &[]).repeat(100)))
        }),
        Attack::new("h2: a flood of empty data", [Cut, Left], |client, _| {
            let post = [&[0x83, 0x86, 0x01, 1, b'a', 0x04, 8], &b"/discard"[..]].concat();
            let begun = frame(HEADERS, END_HEADERS, 1, &post);
            flood(client, [begun].into_iter().chain(std::iter::repeat(frame(DATA, 0, 1, &[]).repeat(100))))
        }),
        Attack::new("h2: takes no data", [Cut, Status(200)], take_nothing),
        Attack::new("h2: frames that are none", [Cut], nonsense),
    ]
}

/// Sends frame after frame, and reads nothing.
fn flood(client: &mut RawClient, frames: impl Iterator<Item = Vec<u8>>) -> io::Result<Seen> {
    client.stream().set_write_timeout(Some(Duration::from_millis(500)))?;
    client.try_send([PREFACE, &frame(SETTINGS, 0, 0, &[])].concat())?;
    let mut sent = 0;
    for frame in frames {
        match client.try_send(&frame) {
            Ok(()) => sent += frame.len(),
            // Nobody takes any more, which is as good.
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(_) => return Ok(Cut),
        }
        if sent > MOST {
            break;
        }
    }
    Ok(Left)
}

/// Asks for more than a window that it never opens: the stream has to end all the same.
fn take_nothing(client: &mut RawClient, rng: &mut Rng) -> io::Result<Seen> {
    let began = Instant::now();
    let window =
        *rng.choice([[0, 4, 0, 0, 0, 0], [0, 4, 0, 0, 0, 1], [0, 4, 0, 0, 255, 255]].iter()).expect("some");
    let path = [&[0x82, 0x86, 0x01, 1, b'a', 0x04, 12], &b"/huge?mib=10"[..]].concat();
    let hello = frame(SETTINGS, 0, 0, &window);
    client.try_send([PREFACE, &hello, &frame(HEADERS, END_STREAM | END_HEADERS, 1, &path)].concat())?;
    loop {
        let head = client.try_take(9)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let _ = client.try_take(length as usize)?;
        if head[3] == RST_STREAM {
            return Ok(Cut);
        }
        if began.elapsed() > FOR_EVER {
            return Ok(Held);
        }
    }
}

/// Breaks a rule of the protocol, and waits for the end of the connection.
fn nonsense(client: &mut RawClient, rng: &mut Rng) -> io::Result<Seen> {
    let settings = frame(SETTINGS, 0, 0, &[]);
    let bad = [
        b"garbage garbage garbage garbage".to_vec(),
        vec![0xff; 1000],
        // On a stream that cannot be, and on one that is nobody's.
        frame(HEADERS, END_STREAM | END_HEADERS, 0, GET),
        frame(HEADERS, END_STREAM | END_HEADERS, 2, GET),
        frame(DATA, 0, 5, b"hello"),
        // An index that is in no table, and an end that follows no beginning.
        frame(HEADERS, END_STREAM | END_HEADERS, 1, &[0xff, 0xff, 0xff, 0x7f]),
        frame(CONTINUATION, END_HEADERS, 1, GET),
        // Of a size that it cannot have.
        frame(SETTINGS, 0, 0, &[0; 5]),
        frame(PING, 0, 0, &[0; 7]),
        frame(WINDOW_UPDATE, 0, 0, &[0; 4]),
        frame(WINDOW_UPDATE, 0, 0, &0x7fff_ffffu32.to_be_bytes()),
        frame(DATA, 0, 1, &[0; 20_000]),
    ];
    let _ = client.try_send([PREFACE, &settings, rng.choice(bad.iter()).expect("some")].concat());
    let began = Instant::now();
    while !client.try_some()?.is_empty() {
        if began.elapsed() > FOR_EVER {
            return Ok(Held);
        }
    }
    Ok(Cut)
}

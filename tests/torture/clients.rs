//! Clients of HTTP/1.1 that send what none should, or nothing, or leave.

use std::io::{self, ErrorKind};
use std::net::Shutdown;
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;
use nix::libc::linger;
use nix::sys::socket::{setsockopt, sockopt};

use super::attack::{Attack, FOR_EVER, everything};
use super::shapes;
use super::tally::Seen::{self, Cut, Held, Left, Status};
use crate::support::RawClient;

/// Every way to misbehave but those of HTTP/2.
pub(super) fn all() -> Vec<Attack> {
    let refused = [Status(400), Cut];
    vec![
        Attack::bytes("what is not HTTP: TLS, HTTP/0.9, zeros", refused, shapes::foreign()),
        Attack::bytes("heads that are none: folded, spaced, with zeros", refused, shapes::heads()),
        Attack::bytes("lengths that are not one number", refused, shapes::lengths()),
        Attack::bytes("codings that hide the length", refused, shapes::codings()),
        Attack::bytes(
            "two requests in one: CL.TE, TE.CL, TE.TE",
            [Status(200), Status(400), Cut],
            shapes::smuggled(),
        ),
        Attack::bytes("chunks that are none", refused, shapes::chunks()),
        Attack::bytes("heads of 1 MB", [Status(431), Cut], shapes::large_heads()),
        Attack::bytes("bodies that are too large", [Status(413), Cut], shapes::large_bodies()),
        Attack::new("noise", [Status(400), Status(431), Status(501), Cut], noise),
        Attack::new("a head that drips", [Cut, Status(408)], drip("GET / HTTP/1.1\r\nhost: a\r\nx: ")),
        Attack::new(
            "a body that drips",
            [Status(408), Status(504), Cut],
            drip("POST /discard HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 100000\r\n\r\n"),
        ),
        Attack::bytes("half a body and silence", [Status(408), Cut], shapes::half_bodies()),
        Attack::bytes("nothing, or half a head", [Cut], shapes::half_heads()),
        Attack::new("reads nothing of a response without end", [Cut], read_nothing),
        Attack::new("pipelines and reads nothing", [Cut], pipeline),
        Attack::new("shuts down its side when it has asked", [Status(200)], half_close),
        Attack::new("resets in the middle", [Left], reset),
        Attack::new("leaves in the middle", [Left], leave),
    ]
}

fn noise(client: &mut RawClient, rng: &mut Rng) -> io::Result<Seen> {
    let length = rng.usize(1..4096);
    let bytes: Vec<u8> = (0..length).map(|_| rng.u8(..)).collect();
    let _ = client.try_send(bytes);
    everything(client)
}

/// Sends a byte now and then, for as long as the server lets it.
fn drip(head: &'static str) -> impl Fn(&mut RawClient, &mut Rng) -> io::Result<Seen> {
    move |client, rng| {
        let began = Instant::now();
        client.try_send(head)?;
        client.set_timeout(Duration::from_millis(rng.u64(20..200)));
        let mut answered = Vec::new();
        while client.try_send("y").is_ok() {
            match client.try_some() {
                Ok(some) if some.is_empty() => break,
                Ok(some) => answered.extend(some),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => break,
            }
            if began.elapsed() > FOR_EVER {
                return Ok(Held);
            }
        }
        let status = answered.get(9..12).and_then(|digits| str::from_utf8(digits).ok()?.parse().ok());
        Ok(status.map_or(Cut, Status))
    }
}

/// Asks for more than fits anywhere, and looks at it when its time must be up.
fn read_nothing(client: &mut RawClient, rng: &mut Rng) -> io::Result<Seen> {
    let path = rng.choice(["/huge?mib=1000", "/stream?chunks=1000000&ms=1&size=1000"]).expect("two of them");
    client.try_send(format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n"))?;
    // That nothing is read is the attack. Twice what a request may take, and a body be silent.
    thread::sleep(Duration::from_secs(5));
    everything(client)
}

fn pipeline(client: &mut RawClient, _: &mut Rng) -> io::Result<Seen> {
    let began = Instant::now();
    client.stream().set_write_timeout(Some(Duration::from_millis(300)))?;
    let requests = "GET /length?n=60000 HTTP/1.1\r\nhost: a\r\n\r\n".repeat(100);
    loop {
        match client.try_send(&requests) {
            Err(error) if error.kind() != ErrorKind::WouldBlock => return Ok(Cut),
            _ if began.elapsed() > FOR_EVER => return Ok(Held),
            _ => {}
        }
    }
}

fn half_close(client: &mut RawClient, _: &mut Rng) -> io::Result<Seen> {
    client.try_send("GET / HTTP/1.1\r\nhost: a\r\n\r\n")?;
    client.stream().shutdown(Shutdown::Write)?;
    everything(client)
}

/// What is left in the middle of.
const BEGINNINGS: [&str; 5] = [
    "GET / HT",
    "GET /stream?ms=1000000 HTTP/1.1\r\nhost: a\r\n\r\n",
    "GET /huge?mib=100 HTTP/1.1\r\nhost: a\r\n\r\n",
    "POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 100000\r\n\r\nhello",
    "POST /ignore-body HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhel",
];

fn reset(client: &mut RawClient, rng: &mut Rng) -> io::Result<Seen> {
    let at_once = linger { l_onoff: 1, l_linger: 0 };
    setsockopt(client.stream(), sockopt::Linger, &at_once).map_err(io::Error::from)?;
    leave(client, rng)
}

fn leave(client: &mut RawClient, rng: &mut Rng) -> io::Result<Seen> {
    client.try_send(rng.choice(BEGINNINGS).expect("some"))?;
    thread::sleep(Duration::from_millis(rng.u64(0..50)));
    Ok(Left)
}

//! What else comes to the control socket.

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;

use super::attack::FOR_EVER;
use super::tally::{Run, Seen};
use super::{APP, World};

/// One request too many at a time, and some.
const CROWD: usize = 24;

const HELLO: &[u8] = b"\x0e\0\0\0{\"protocol\":1}";

/// Sends one bad thing after the other.
pub(super) fn misuse(world: &World<'_>, mut rng: Rng) {
    let path = world.server.run_dir().join(APP).join("control.sock");
    while world.goes_on() {
        let from = Instant::now();
        let connect = || {
            let stream = UnixStream::connect(&path)?;
            stream.set_read_timeout(Some(FOR_EVER))?;
            Ok(stream)
        };
        let (name, seen) = match rng.u8(..8) {
            0 => ("control socket: a crowd that says nothing, or half", crowd(connect)),
            1 => ("control socket: leaves at once", connect().map(|_| Seen::Left)),
            _ => ("control socket: noise, and frames of 4 GB", garbage(connect, &mut rng)),
        };
        let seen = seen.unwrap_or_else(|error: io::Error| Seen::of(&error));
        let expected = matches!(seen, Seen::Cut | Seen::Left);
        world.tally.note(Run { name, from, until: Instant::now(), local: None, seen, expected });
        thread::sleep(Duration::from_millis(rng.u64(..400)));
    }
}

/// Those who came first have to go before the others are heard.
fn crowd(connect: impl Fn() -> io::Result<UnixStream>) -> io::Result<Seen> {
    let mut crowd = (0..CROWD).map(|_| connect()).collect::<io::Result<Vec<_>>>()?;
    for stream in crowd.iter_mut().step_by(2) {
        let _ = stream.write_all(&HELLO[..9]);
    }
    until_end(&mut crowd[0])
}

fn garbage(connect: impl Fn() -> io::Result<UnixStream>, rng: &mut Rng) -> io::Result<Seen> {
    let noise: Vec<u8> = (0..rng.usize(5..5000)).map(|_| rng.u8(..)).collect();
    let worst: [&[u8]; 7] = [
        b"GET / HTTP/1.1\r\n\r\n",
        &[0xff; 65536],
        b"\xff\xff\xff\xff",
        &[HELLO, b"\x06\0\0\0\"push\""].concat(),
        &[HELLO, b"\x01\0\0\0{"].concat(),
        b"\x0e\0\0\0{\"protocol\":9}",
        &noise,
    ];
    let mut stream = connect()?;
    let _ = stream.write_all(rng.choice(worst).expect("some"));
    until_end(&mut stream)
}

/// Waits until the supervisor ends the connection.
fn until_end(stream: &mut UnixStream) -> io::Result<Seen> {
    match stream.read_to_end(&mut Vec::new()) {
        Ok(_) => Ok(Seen::Cut),
        Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(Seen::Cut),
        Err(error) => Err(error),
    }
}

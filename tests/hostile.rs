//! What a client should never send, and what it costs: nothing to anybody else.
//!
//! After each attack the same worker must answer the next request at once.

mod framing;
mod head;
mod http2;
mod leaving;
mod silence;
mod size;
mod unread;

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use crate::support::Server;

/// How long an answer may take that should come at once. A loaded machine is no failure.
const AT_ONCE: Duration = Duration::from_secs(5);

/// Runs `attack` on both zoos, and makes sure that they do not notice.
#[track_caller]
fn survived(args: &[&str], attack: impl Fn(&Server)) {
    Server::of_both_zoos(args, |server| {
        let worker = server.worker();
        attack(server);
        expect_unharmed(server, worker);
    });
}

#[track_caller]
fn expect_unharmed(server: &Server, worker: u32) {
    let asked = Instant::now();
    server.get("/").expect_status(200);
    let took = asked.elapsed();
    assert!(took < AT_ONCE, "the next request took {took:?}");
    assert_eq!(server.worker(), worker, "the worker was replaced");
}

/// Everything that comes back for these bytes until the server closes.
#[track_caller]
fn everything_after(server: &Server, bytes: &[u8]) -> String {
    let mut client = server.connect();
    client.set_timeout(2 * AT_ONCE);
    // It may close before it has read all of it.
    let _ = client.try_send(bytes);
    let mut answer = Vec::new();
    loop {
        match client.try_some() {
            Ok(some) if !some.is_empty() => answer.extend(some),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                panic!("the connection stays open after {:?}", String::from_utf8_lossy(bytes))
            }
            Ok(_) | Err(_) => return String::from_utf8_lossy(&answer).into_owned(),
        }
    }
}

/// Fails unless these bytes get one response of this status, and then a close.
#[track_caller]
fn expect_refusal(server: &Server, bytes: impl AsRef<[u8]>, status: u16) {
    let answer = everything_after(server, bytes.as_ref());
    let shown = String::from_utf8_lossy(bytes.as_ref()).chars().take(200).collect::<String>();
    let expected = format!("HTTP/1.1 {status} ");
    assert!(answer.starts_with(&expected), "{shown:?} got {answer:?}");
    assert_eq!(answer.matches("HTTP/1.").count(), 1, "{shown:?} got {answer:?}");
    assert!(answer.to_ascii_lowercase().contains("connection: close\r\n"), "{shown:?} got {answer:?}");
}

/// One second, for heads, bodies and requests.
const SHORT: [&str; 4] = ["--header-timeout", "1s", "--body-timeout", "1s"];

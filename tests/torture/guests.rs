//! Guests that take too much, fall over, or talk too much.

use std::net::SocketAddr;

use super::attack::{Attack, everything};
use super::tally::Seen::{self, Cut, Status};

/// Every way of the zoo to misbehave. `elsewhere` is where it may not connect to.
pub(super) fn all(elsewhere: SocketAddr) -> Vec<Attack> {
    let failed = [Status(500)];
    let late = [Status(504)];
    vec![
        get("computes for ever", "/spin", late),
        get("computes for ever after its head", "/spin-after-head?ms=600000", [Status(504), Cut]),
        get("waits for ever", "/never", late),
        get("allocates up to its limit", "/allocate?mib=48", [Status(200)]),
        get("allocates beyond its limit", "/allocate", failed),
        get("recurses without end", "/recurse", failed),
        get("takes handles without end", "/handles", failed),
        get("traps", "/trap", failed),
        get("panics", "/panic", failed),
        get("traps after its head", "/trap-after-head", [Status(500), Cut]),
        get("exits", "/exit?code=3", failed),
        get("returns without an answer", "/no-response", failed),
        get("answers with an error", "/error", failed),
        get("floods its log", "/log?lines=2000&bytes=100", [Status(200)]),
        get("writes a line of 200 kB", "/log?bytes=200000&stream=stderr", [Status(200)]),
        get("leaves its last line open", "/log-partial", [Status(200)]),
        get("sends headers of 4 MB", "/headers?count=500&size=8000", [Status(200), Status(500)]),
        get("sends 20,000 header fields", "/headers?count=20000&size=1", [Status(200), Status(500)]),
        get("sends less than it declared", "/length?n=5&declared=10", [Status(500), Cut]),
        get("sends more than it declared", "/length?n=10&declared=5", [Status(500), Cut]),
        get("sends a status that is none", "/status?code=99", [Status(500)]),
        get("asks where it may not", &format!("/outbound?url=http://{elsewhere}/"), [Status(502)]),
        get(
            "asks where it may not, by a name",
            &format!("/outbound?url=http://localhost:{}/", elsewhere.port()),
            [Status(502)],
        ),
        get("works on after its response", "/work-after?ms=600000", [Status(200)]),
        get("streams without end", "/stream?chunks=100000000&ms=5&size=16384", [Cut]),
        post("never reads its body", "/ignore-body", [Status(200)]),
        post("reads some of its body and waits", "/hold-body?ms=600000", late),
    ]
}

/// Asks for a path, and for nothing else.
fn get(name: &'static str, path: &str, may: impl Into<Vec<Seen>>) -> Attack {
    let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    Attack::new(name, may, move |client, _| {
        client.try_send(&request)?;
        everything(client)
    })
}

/// Posts as much as it may.
fn post(name: &'static str, path: &str, may: impl Into<Vec<Seen>>) -> Attack {
    const LENGTH: usize = 1 << 20;
    let head =
        format!("POST {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: {LENGTH}\r\n\r\n");
    let request = [head.into_bytes(), vec![b'x'; LENGTH]].concat();
    Attack::new(name, may, move |client, _| {
        // Whoever does not read it may answer and close first.
        let _ = client.try_send(&request);
        everything(client)
    })
}

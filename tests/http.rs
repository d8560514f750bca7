//! HTTP as the guest and the client see it: HTTP/1.0, HTTP/1.1 and HTTP/2 in the clear, streams in both directions.

mod connection;
mod leaving;
mod origin;
mod request;
mod response;
mod streaming;

use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Empty};
use hyper::Request;

use crate::support::{Body, computed, eventually};

/// What `/inspect` says on the line `field`.
#[track_caller]
fn seen<'a>(text: &'a str, field: &str) -> &'a str {
    let found = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(": "));
    found.unwrap_or_else(|| panic!("no `{field}` in {text:?}"))
}

fn get(path: &str) -> Request<Body> {
    Request::get(path).body(Empty::new().boxed()).unwrap()
}

/// Waits until the worker has stopped computing.
#[track_caller]
fn wait_until_it_rests(worker: u32) {
    let mut last = (computed(worker), Instant::now());
    eventually("a worker that waits", || {
        let now = computed(worker);
        if now != last.0 {
            last = (now, Instant::now());
        }
        (last.1.elapsed() > Duration::from_millis(300)).then_some(())
    });
}

//! Guests that compute for ever when their response is complete, where only the host could have ended them.

use super::answering::Guest;
use super::{computed, expect_reached};
use crate::support::eventually;

const ANSWER: &str = "(call $answer (local.get $out) (i32.const 200))";
const FOR_EVER: &str = "(loop (br 0))";

/// Fails unless each request is answered although those before it compute on, and each of them is ended in time.
#[track_caller]
fn expect_ended(guest: &Guest<'_>) {
    let server = guest.start(&["--timeout", "2s"]);
    let worker = server.worker();
    let idle = computed(worker);
    for _ in 0..3 {
        server.get("/").expect_status(200);
    }
    assert!(!server.stderr().contains("took longer"), "none was ended before the last was answered");
    eventually("they compute", || (computed(worker) > idle + 20).then_some(()));
    expect_reached(&server, &[("timeout", 3)]);
    server.get("/").expect_status(200);
    assert_eq!(server.worker(), worker, "{}", server.explain());
}

/// try: computing for ever behind a response that is complete | ended after `--timeout`, said, counted | others are served
#[test]
fn behind_its_response() {
    expect_ended(&Guest { handle: &[ANSWER, FOR_EVER].concat(), ..Guest::default() });
}

/// try: computing for ever in the destructor of a resource | ended after `--timeout`, said, counted | others are served
#[test]
fn in_a_destructor() {
    let handle = [ANSWER, "(call $drop (call $new (i32.const 0)))"].concat();
    expect_ended(&Guest { handle: &handle, dtor: FOR_EVER, ..Guest::default() });
}

/// try: computing for ever in a `post-return` | ended after `--timeout`, said, counted | others are served
#[test]
fn in_a_post_return() {
    expect_ended(&Guest { handle: ANSWER, post_return: FOR_EVER, ..Guest::default() });
}

/// try: leaving a resource whose destructor computes for ever | it is not run: the next request is answered | nobody
#[test]
fn in_a_destructor_that_is_left_to_the_host() {
    let handle = [ANSWER, "(drop (call $new (i32.const 0)))"].concat();
    let server = Guest { handle: &handle, dtor: FOR_EVER, ..Guest::default() }.start(&["--timeout", "2s"]);
    let worker = server.worker();
    for _ in 0..100 {
        server.get("/").expect_status(200);
    }
    expect_reached(&server, &[]);
    assert_eq!(server.worker(), worker, "{}", server.explain());
}

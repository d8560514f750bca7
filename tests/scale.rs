//! More workers, or fewer, while the app runs.

use nix::sys::signal::Signal::{SIGTTIN, SIGTTOU};

use crate::support::{Server, alive};

#[test]
fn signals_add_a_worker_and_take_one_away() {
    let server = Server::of("hello-p2").instances(2).start();
    let first = server.workers();
    server.signal(SIGTTIN);
    server.wait_for_stderr("going from 2 to 3 workers");
    let grown = server.wait_for_workers(3, &[]);
    assert!(first.iter().all(|pid| grown.contains(pid)), "{first:?} {grown:?}");
    server.signal(SIGTTOU);
    server.wait_for_stderr("going from 3 to 2 workers: the last ones finish what they have");
    let left = server.wait_for_workers(2, &[]);
    assert_eq!(left, first);
    server.signal(SIGTTOU);
    let last = server.wait_for_workers(1, &[]);
    assert!(first.contains(&last[0]) && alive(last[0]));
    // The last one stays.
    server.signal(SIGTTOU);
    for _ in 0..20 {
        server.get("/").expect_status(200);
    }
    assert_eq!(server.workers(), last);
    server.stop().expect_code(0).expect_nothing_left();
}

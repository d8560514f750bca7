//! Slow, silent, and broken ways to end a request that need the HTTP types.

use wasip3::cli::exit::exit_with_code;
use wasip3::clocks::monotonic_clock;
use wasip3::http::types::Response;
use wasip3::spawn_local;
use zoo::{Answer, Query};

use crate::host::{self, sleep};
use crate::respond;

pub async fn slow(query: &Query) -> Response {
    let ms = query.number("ms", 1000);
    sleep(ms).await;
    respond::answer(Answer::ok(format!("slept {ms} ms\n")))
}

pub fn spin_after_head(query: &Query) -> Response {
    let ms = query.number("ms", 0);
    respond::text(200, async move |body| {
        body.write(zoo::spin(ms).body.into_bytes()).await?;
        Ok(None)
    })
}

pub fn trap_after_head() -> Response {
    respond::text(200, async |body| {
        body.write(b"so far so good\n".to_vec()).await?;
        // 0.3 has no flush: only time lets the host send what it has taken.
        sleep(100).await;
        core::arch::wasm32::unreachable()
    })
}

pub async fn never() -> Response {
    loop {
        monotonic_clock::wait_until(u64::MAX).await;
    }
}

pub fn exit(query: &Query) -> Response {
    exit_with_code(query.number("code", 0) as u8);
    unreachable!("an instance that exited does not go on")
}

pub fn work_after(query: &Query) -> Response {
    let ms = query.number("ms", 1000);
    spawn_local(async move {
        sleep(ms).await;
        host::print(false, b"work after the response is done\n", 1).await;
    });
    respond::answer(Answer::ok("done\n"))
}

//! Slow, silent, and broken ways to end a request that need the HTTP types.

use std::io;

use wasip2::cli::exit::exit_with_code;
use wasip2::clocks::monotonic_clock;
use wasip2::http::types::{ErrorCode, ResponseOutparam};
use zoo::{Answer, Query};

use crate::host::sleep;
use crate::respond;

pub fn slow(query: &Query, out: ResponseOutparam) -> io::Result<()> {
    let ms = query.number("ms", 1000);
    sleep(ms);
    respond::answer(out, Answer::ok(format!("slept {ms} ms\n")))
}

pub fn spin_after_head(query: &Query, out: ResponseOutparam) -> io::Result<()> {
    let mut body = respond::text(out, 200);
    body.write(zoo::spin(query.number("ms", 0)).body.as_bytes())?;
    body.finish(None);
    Ok(())
}

pub fn trap_after_head(out: ResponseOutparam) -> io::Result<()> {
    let mut body = respond::text(out, 200);
    body.write(b"so far so good\n")?;
    body.flush()?;
    core::arch::wasm32::unreachable()
}

pub fn never() -> io::Result<()> {
    loop {
        monotonic_clock::subscribe_instant(u64::MAX).block();
    }
}

pub fn error(out: ResponseOutparam) -> io::Result<()> {
    ResponseOutparam::set(out, Err(ErrorCode::InternalError(Some("the zoo says no".to_owned()))));
    Ok(())
}

pub fn exit(query: &Query) -> io::Result<()> {
    exit_with_code(query.number("code", 0) as u8);
    unreachable!("an instance that exited does not go on")
}

pub fn work_after(query: &Query, out: ResponseOutparam) -> io::Result<()> {
    respond::answer(out, Answer::ok("done\n"))?;
    sleep(query.number("ms", 1000));
    println!("work after the response is done");
    Ok(())
}

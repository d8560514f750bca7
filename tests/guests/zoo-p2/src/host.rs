//! What the host lends besides HTTP: clocks, chance, environment, standard output.

use std::io::{self, Write};

use wasip2::cli::environment;
use wasip2::clocks::{monotonic_clock, wall_clock};
use wasip2::http::types::ResponseOutparam;
use wasip2::random::{insecure, insecure_seed, random};
use zoo::{Answer, Query};

use crate::respond;

pub fn sleep(ms: u64) {
    monotonic_clock::subscribe_duration(ms * 1_000_000).block();
}

pub fn log(query: &Query, out: ResponseOutparam) -> io::Result<()> {
    let line = zoo::log_line(query.number("bytes", 16));
    let mut stream: Box<dyn Write> = match query.text("stream") {
        Some("stderr") => Box::new(io::stderr().lock()),
        _ => Box::new(io::stdout().lock()),
    };
    for _ in 0..query.number("lines", 1) {
        stream.write_all(&line)?;
    }
    respond::answer(out, Answer::ok("logged\n"))
}

pub fn log_partial(out: ResponseOutparam) -> io::Result<()> {
    print!("no newline");
    io::stdout().flush()?;
    respond::answer(out, Answer::ok("logged\n"))
}

pub fn environment() -> Answer {
    let variables = environment::get_environment();
    Answer::ok(zoo::sorted_lines(
        variables.into_iter().map(|(key, value)| format!("{key}={value}")).collect(),
    ))
}

pub fn arguments() -> Answer {
    Answer::ok(environment::get_arguments().into_iter().map(|argument| argument + "\n").collect::<String>())
}

pub fn clock() -> Answer {
    let wall = wall_clock::now();
    Answer::ok(format!(
        "monotonic: {}\nwall: {}.{:09}\n",
        monotonic_clock::now(),
        wall.seconds,
        wall.nanoseconds
    ))
}

pub fn random() -> Answer {
    let (low, high) = insecure_seed::insecure_seed();
    Answer::ok(format!(
        "random: {}\ninsecure: {}\nseed: {low:016x}{high:016x}\n",
        zoo::hex(&random::get_random_bytes(16)),
        zoo::hex(&insecure::get_insecure_random_bytes(16)),
    ))
}

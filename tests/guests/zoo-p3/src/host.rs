//! What the host lends besides HTTP: clocks, chance, environment, standard output.

use wasip3::cli::{environment, stderr, stdout};
use wasip3::clocks::{monotonic_clock, system_clock};
use wasip3::http::types::Response;
use wasip3::random::{insecure, insecure_seed, random};
use wasip3::wit_stream;
use zoo::{Answer, Query};

use crate::respond;

pub async fn sleep(ms: u64) {
    monotonic_clock::wait_for(ms * 1_000_000).await;
}

/// Prints `text` so many times, by 0.3's own streams; a panic's message takes std's way, which is 0.2's.
pub async fn print(to_stderr: bool, text: &[u8], times: u64) {
    let (mut writer, reader) = wit_stream::new();
    let done = if to_stderr { stderr::write_via_stream(reader) } else { stdout::write_via_stream(reader) };
    for _ in 0..times {
        writer.write_all(text.to_vec()).await;
    }
    drop(writer);
    let _ = done.await;
}

pub async fn log(query: &Query) -> Response {
    let line = zoo::log_line(query.number("bytes", 16));
    print(query.text("stream") == Some("stderr"), &line, query.number("lines", 1)).await;
    respond::answer(Answer::ok("logged\n"))
}

pub async fn log_partial() -> Response {
    print(false, b"no newline", 1).await;
    respond::answer(Answer::ok("logged\n"))
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
    let wall = system_clock::now();
    Answer::ok(format!(
        "monotonic: {}\nwall: {}.{:09}\n",
        monotonic_clock::now(),
        wall.seconds,
        wall.nanoseconds
    ))
}

pub fn random() -> Answer {
    let (low, high) = insecure_seed::get_insecure_seed();
    Answer::ok(format!(
        "random: {}\ninsecure: {}\nseed: {low:016x}{high:016x}\n",
        zoo::hex(&random::get_random_bytes(16)),
        zoo::hex(&insecure::get_insecure_random_bytes(16)),
    ))
}

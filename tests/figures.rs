//! What is promised in numbers, seen, as rows of one table.
//!
//! ```console
//! $ cargo test --release --test tests figures:: -- --ignored --nocapture --test-threads 1 2>&1 | grep '^|'
//! ```
//!
//! This takes twenty minutes, and wants a machine that does nothing else; so it runs when somebody asks for it. A request
//! that is lost is a failure. Times are printed beside what is wanted of them and judged by whoever reads them, because
//! they say as much about the machine.

mod changes;
mod crashes;
mod rollouts;
mod waiting;

use std::sync::Once;
use std::time::Duration;

/// Prints a row of the table, and before the first one its head.
fn print_row(what: &str, seen: &str, wanted: &str) {
    static HEAD: Once = Once::new();
    // The name of the test stands on the line before.
    HEAD.call_once(|| eprint!("\n| | seen | wanted |\n|---|---|---|"));
    eprintln!("\n| {what} | {seen} | {wanted} |");
}

/// A time as it reads best in a table.
pub(crate) fn shown(time: Duration) -> String {
    let milliseconds = time.as_secs_f64() * 1e3;
    if milliseconds < 10.0 { format!("{milliseconds:.1} ms") } else { format!("{milliseconds:.0} ms") }
}

/// The middle one of some times, and the longest.
fn middle_and_longest(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    format!("{}, longest {} of {}", shown(times[times.len() / 2]), shown(times[times.len() - 1]), times.len())
}

/// With its thousands apart.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups = digits.as_bytes().rchunks(3).rev().map(|group| str::from_utf8(group).unwrap());
    groups.collect::<Vec<_>>().join(",")
}

/// Bytes as they read best in a table.
fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

#[test]
fn numbers_read_well() {
    assert_eq!(["7", "999", "1,000", "100,200,300"], [7, 999, 1_000, 100_200_300].map(grouped)[..]);
    let times = [3, 200, 1].map(Duration::from_millis);
    assert_eq!(middle_and_longest(times.into()), "3.0 ms, longest 200 ms of 3");
}

//! What wasmcluster decides.
//!
//! Pure: no clock, file, socket, process or randomness of its own. Time and events come in, actions go out; the shells
//! in `supervisor/` and `worker/` act. `clippy.toml` beside this crate bans what would break that.

pub mod app;
pub mod channel;
pub mod cluster;
pub mod component;
pub mod control;
pub mod history;
#[cfg(any(test, fuzzing))]
pub mod laws;
pub mod limit;
pub mod lines;
pub mod message;
pub mod outbound;
pub mod preface;
pub mod recent;
pub mod record;
pub mod rejection;
pub mod sample;
pub mod stealing;
pub mod steering;

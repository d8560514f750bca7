//! The whole program, seen from outside: every test starts the real binary and talks to it as its users do.
//!
//! One binary for all topics, a module for each. `support` has what starts, asks and cleans up.

#![expect(clippy::unwrap_used, reason = "in a test, a panic with its line is the report")]
#![expect(clippy::print_stderr, reason = "what explains a failure or a skipped test is for a person to read")]

mod address;
mod cache;
mod componentize;
mod control;
mod crash;
mod dev;
mod doctor;
mod examples;
mod figures;
mod flags;
mod foreign;
mod gate;
mod grants;
mod handover;
mod history;
mod hostile;
mod http;
mod inspect;
mod instances;
mod isolation;
mod limits;
mod load;
mod logs;
mod new;
mod output;
mod push;
mod rejected;
mod reload;
mod sandbox;
mod scale;
mod serve;
mod starters;
mod steering;
mod stop;
mod support;
mod tidy;
mod torture;
mod traps;
mod upgrade;
mod user;
mod watch;
mod wear;

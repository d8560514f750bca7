//! The processes that touch guest code: the worker, which runs it, and the builder, which compiles it.
//!
//! They share a crate because the settings of their engines must agree. Nothing here knows how many workers there are,
//! or decides when one starts or stops.

pub mod builder;
pub mod worker;

mod accept;
mod answer;
mod app;
mod artifact;
mod body;
mod budget;
mod call;
mod connection;
mod connections;
mod coredump;
mod drain;
mod early;
mod engine;
mod epoch;
mod failure;
mod fields;
mod forwarded;
mod gaps;
mod grants;
mod guest;
mod handover;
mod instance;
mod last_words;
mod link;
mod orders;
mod outbound;
mod outgoing;
mod output;
mod pace;
mod page;
mod pagemap;
mod parent;
mod peers;
mod probe;
mod pulse;
mod reached;
mod recent;
mod reports;
mod respond;
mod response;
mod sandbox;
mod served;
mod server;
mod state;
mod stream;
mod together;
mod trap;
mod trim;

// Nobody subscribes to what wasmtime, hyper and rustls trace; these two are named only so that their features compile it
// out of release builds. What that saves was not measured by itself.
use log as _;
use tracing as _;

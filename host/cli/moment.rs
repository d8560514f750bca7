//! Serving for as long as it takes to serve.

use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU16;

use nix::sys::signal::{Signal, raise};
use wasmcluster_core::record::Record;
use wasmcluster_supervisor::{Instances, Misconfigured, serve};

use super::args::ServeArgs;
use super::exit::Failure;
use super::serve::options;

/// Serves what `args` say by one worker, where nobody else is in the way, until it serves. Everything that there is to say of
/// that is `heard`.
pub(crate) fn serve_for_a_moment(args: ServeArgs, mut heard: impl FnMut(Record)) -> Result<(), Failure> {
    let args = ServeArgs {
        instances: Instances::Exactly(NonZeroU16::MIN),
        addr: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))),
        name: None,
        watch: false,
        dev: false,
        ..args
    };
    let mut options = options(args)?;
    // It is no app, and leaves no history.
    options.memory.directory = None;
    let nothing_new = || Err(Misconfigured { message: "there is nothing to reload".into(), hint: None });
    let records = |record| {
        let serves = matches!(record, Record::Serving { .. });
        heard(record);
        if serves {
            let _ = raise(Signal::SIGTERM);
        }
    };
    serve(options, None, Box::new(nothing_new), Box::new(records))?;
    Ok(())
}

//! Having a component compiled, in a process of its own: a compiler fed with strangers' bytes has no place in here.

use core::time::Duration;
use std::os::fd::OwnedFd;

use nix::sys::signal::Signal;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};
use wasmcluster_core::app::{CompileLimits, Sandbox};
use wasmcluster_core::cluster::Exit;
use wasmcluster_core::message::{Built, FromBuilder, ToBuilder, fd};

use crate::cache::Cache;
use crate::child::{BUILDER_ROLE, Child, Executable};
use crate::error::ServeError;
use crate::output::Output;
use wasmcluster_core::record::{Record, Source, Stream};

/// A compilation this short is not worth a line; a longer one gets a line each time this passes.
const PROGRESS: Duration = Duration::from_secs(1);

/// How long a builder that gave its answer may take to end.
const PARTING: Duration = Duration::from_secs(2);

/// What the builder is at, as far as a person would want to know.
#[derive(Clone, Copy)]
enum Stage {
    Looking,
    Compiling { bytes: u64, since: Instant },
    Waiting { since: Instant },
}

/// What is to be compiled.
#[derive(Debug)]
pub(crate) struct Task {
    /// What it is called in messages.
    pub(crate) name: String,
    /// The component, to be read to its end.
    pub(crate) bytes: OwnedFd,
    /// The digest that it must have, if it is known.
    pub(crate) expected: Option<String>,
    /// Where it is kept, if it is.
    pub(crate) kept: Option<OwnedFd>,
    /// What it may take.
    pub(crate) limits: CompileLimits,
    /// Whether the kernel confines whoever compiles it.
    pub(crate) sandbox: Sandbox,
}

/// Compiles and links a component, or finds it in the cache. Dropping the future kills the builder.
pub(crate) async fn build(
    executable: &Executable,
    task: Task,
    cache: &Cache,
    records: &mut impl FnMut(Record),
) -> Result<Built, ServeError> {
    let Task { name, bytes, expected, kept, limits, sandbox } = task;
    let directory = cache.directory().map_err(ServeError::Spawn)?;
    let keep = kept.is_some();
    let descriptors = [(bytes, fd::COMPONENT), (directory, fd::CACHE)].into_iter();
    let descriptors = descriptors.chain(kept.map(|kept| (kept, fd::KEPT)));
    let mut child: Child<ToBuilder, FromBuilder> =
        executable.spawn(BUILDER_ROLE, descriptors).map_err(ServeError::Spawn)?;
    child.channel.send(&ToBuilder::Build { name: name.clone(), expected, keep, limits, sandbox });

    let mut starved = false;
    let records = &mut |record| {
        if is_out_of_memory(&record) {
            starved = true;
        } else {
            records(record);
        }
    };
    let mut stage = Stage::Looking;
    let mut progress = interval_at(Instant::now() + PROGRESS, PROGRESS);
    progress.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let answer = loop {
        let Child { channel, stdout, stderr, .. } = &mut child;
        tokio::select! {
            message = channel.receive() => match message {
                Ok(Some(FromBuilder::Compiling { bytes })) => {
                    stage = Stage::Compiling { bytes, since: Instant::now() };
                    progress.reset();
                }
                Ok(Some(FromBuilder::Waiting)) => {
                    stage = Stage::Waiting { since: Instant::now() };
                    progress.reset();
                }
                Ok(Some(answer)) => break Some(answer),
                Ok(None) | Err(_) => break None,
            },
            () = stdout.fill(), if stdout.is_open() => pass_on(stdout, Stream::Stdout, records),
            () = stderr.fill(), if stderr.is_open() => pass_on(stderr, Stream::Stderr, records),
            _ = progress.tick() => match stage {
                Stage::Looking => {}
                Stage::Compiling { bytes, since } => {
                    records(Record::Compiling { component: name.clone(), bytes, elapsed: since.elapsed() });
                }
                Stage::Waiting { since } => {
                    records(Record::WaitingForBuild { component: name.clone(), elapsed: since.elapsed() });
                }
            },
        }
    };
    let exit = part_with(child, records).await;
    match answer {
        Some(FromBuilder::Built(built)) => {
            if built.replaced_damaged {
                records(Record::CacheRepaired { component: name.clone() });
            }
            if let Some(reason) = &built.not_kept {
                records(Record::HistoryFailed {
                    message: format!("failed to keep `{name}`: {reason}"),
                    hint: Some("what is served now cannot be rolled back to later".into()),
                });
            }
            Ok(built)
        }
        Some(FromBuilder::Rejected(rejection)) => Err(ServeError::Rejected(rejection)),
        Some(FromBuilder::CacheFailed { message }) => Err(cache.unusable(message).into()),
        Some(FromBuilder::Compiling { .. } | FromBuilder::Waiting) | None => {
            // The kernel ends whoever has used up his time.
            Err(match exit {
                Exit::Signal(signal) if signal == Signal::SIGXCPU as i32 => {
                    ServeError::Rejected(limits.out_of_time(&name))
                }
                Exit::Signal(signal) if signal == Signal::SIGABRT as i32 && starved => {
                    ServeError::Rejected(limits.out_of_memory(&name))
                }
                exit => ServeError::BuilderDied { component: name, exit },
            })
        }
    }
}

/// What Rust's library says of an allocation that failed, before it aborts.
fn is_out_of_memory(record: &Record) -> bool {
    matches!(record, Record::Output { stream: Stream::Stderr, text, .. }
        if text.starts_with("memory allocation of ") && text.ends_with(" bytes failed"))
}

/// Waits for the end of a builder and for its last words, which say most when it gave no answer.
async fn part_with(mut child: Child<ToBuilder, FromBuilder>, records: &mut impl FnMut(Record)) -> Exit {
    let mut exited = None;
    let farewell = async {
        while exited.is_none() || child.stdout.is_open() || child.stderr.is_open() {
            let Child { process, stdout, stderr, .. } = &mut child;
            tokio::select! {
                exit = process.wait(), if exited.is_none() => exited = Some(exit),
                () = stdout.fill(), if stdout.is_open() => pass_on(stdout, Stream::Stdout, records),
                () = stderr.fill(), if stderr.is_open() => pass_on(stderr, Stream::Stderr, records),
            }
        }
    };
    if timeout(PARTING, farewell).await.is_err() && exited.is_none() {
        child.process.kill();
        return child.process.wait().await;
    }
    exited.unwrap_or(Exit::Unknown)
}

fn pass_on(output: &mut Output, stream: Stream, records: &mut impl FnMut(Record)) {
    while let Some(line) = output.next_line() {
        records(Record::Output {
            source: Source::Builder,
            stream,
            text: line.text,
            unfinished: line.unfinished,
        });
    }
}

//! The command line: everything that parses arguments or prints.

mod args;
mod completions;
mod componentize;
mod config;
mod dev;
mod doctor;
mod exit;
mod history;
mod inspect;
mod list;
mod logs;
mod moment;
mod new;
mod push;
mod reload;
mod render;
mod restart;
mod rollback;
mod scale;
mod serve;
mod status;
mod stop;
mod table;
mod toolchain;
mod trial;
mod upgrade;
mod usage;
mod values;
mod waiting;
mod writer;

use std::process::ExitCode;

use wasmcluster_supervisor::Estate;

use self::args::Command;
use self::exit::{Exit, Failure};

pub(crate) use self::trial::main as trial;
#[cfg(fuzzing)]
pub(crate) use self::{
    config::laws::any_file_is_read_or_explained, values::laws::any_value_is_read_or_explained,
};

/// Does what the arguments say, or goes on with what a version before this one did.
pub(crate) fn main() -> ExitCode {
    match Estate::left_to_us() {
        Ok(None) => run().into(),
        Ok(Some(estate)) => serve::go_on(estate).into(),
        Err(error) => render::failure(&unreadable(&error), false).into(),
    }
}

fn unreadable(error: &std::io::Error) -> Failure {
    Failure {
        exit: Exit::Failed,
        message: format!("failed to read what the version before this one has left: {error}"),
        hint: None,
    }
}

fn run() -> Exit {
    match config::parse() {
        Ok(Command::Serve(args)) => serve::run(*args),
        Ok(Command::Inspect(args)) => inspect::run(*args),
        Ok(Command::New(args)) => new::run(&args),
        Ok(Command::Doctor(args)) => doctor::run(&args),
        Ok(Command::Componentize(args)) => componentize::run(&args),
        Ok(Command::Status(args)) => status::run(args),
        Ok(Command::List(args)) => list::run(args),
        Ok(Command::Push(args)) => push::run(args),
        Ok(Command::Reload(args)) => reload::run(args),
        Ok(Command::Rollback(args)) => rollback::run(args),
        Ok(Command::Scale(args)) => scale::run(args),
        Ok(Command::Restart(args)) => restart::run(args),
        Ok(Command::Upgrade(args)) => upgrade::run(args),
        Ok(Command::History(args)) => history::run(args),
        Ok(Command::Logs(args)) => logs::run(args),
        Ok(Command::Stop(args)) => stop::run(args),
        Ok(Command::Completions { shell }) => completions::run(shell),
        Err(failure) => render::failure(&failure, false),
    }
}

//! The command line: everything that parses arguments or prints.

mod args;
mod completions;
mod config;
mod exit;
mod history;
mod list;
mod logs;
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
mod values;
mod waiting;
mod writer;

use std::process::ExitCode;

use self::args::Command;

/// Does what the arguments say.
pub(crate) fn main() -> ExitCode {
    let exit = match config::parse() {
        Ok(Command::Serve(args)) => serve::run(*args),
        Ok(Command::Status(args)) => status::run(args),
        Ok(Command::List(args)) => list::run(args),
        Ok(Command::Push(args)) => push::run(args),
        Ok(Command::Reload(args)) => reload::run(args),
        Ok(Command::Rollback(args)) => rollback::run(args),
        Ok(Command::Scale(args)) => scale::run(args),
        Ok(Command::Restart(args)) => restart::run(args),
        Ok(Command::History(args)) => history::run(args),
        Ok(Command::Logs(args)) => logs::run(args),
        Ok(Command::Stop(args)) => stop::run(args),
        Ok(Command::Completions { shell }) => completions::run(shell),
        Err(failure) => render::failure(&failure, false),
    };
    exit.into()
}

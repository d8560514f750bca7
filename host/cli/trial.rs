//! What a program says that is to go on in the place of one that runs: whether it would.

use std::io::Write;
use std::process::ExitCode;

use wasmcluster_supervisor::{Estate, answer_trial, rehearse};

use super::config;
use super::exit::{Exit, Failure};
use super::serve::options;
use super::{render, unreadable};

/// Says so on stdout, or on stderr what is in the way. Touches nothing of the one that runs.
pub(crate) fn main() -> ExitCode {
    match answer() {
        Ok(answer) => {
            let _ = writeln!(std::io::stdout(), "{answer}");
            Exit::Done
        }
        Err(failure) => render::failure(&failure, false),
    }
    .into()
}

fn answer() -> Result<String, Failure> {
    let shown = Estate::shown_to_us().map_err(|error| unreadable(&error))?;
    let language = std::env::args_os().nth(2);
    let answer = answer_trial(language).map_err(|message| Failure {
        exit: Exit::Failed,
        message,
        hint: Some("stop the app and start it with the new version".into()),
    })?;
    rehearse(options(config::parse_again()?)?, shown)?;
    Ok(answer)
}

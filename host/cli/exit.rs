//! How a command ends: the documented exit codes, and what is said about a failure.

use std::process::ExitCode;

use wasmcluster_supervisor::{ControlError, ServeError, is_short_of_descriptors};

/// For `--help`. The numbers are those of [`Exit`].
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0  done, also after a signal asked to stop
  1  failed for a reason that has no code of its own
  2  the command line, an environment variable or the configuration file is wrong
  3  the component cannot be served: not there, not a component, missing imports, traps while starting
  4  the address cannot be used: taken, not permitted, not of this machine
  5  the cache of compiled code cannot be used
  6  the machine allows too little: file descriptors
  7  no worker stays up: every slot has used up its restarts
  8  the name is taken by another app, or the run directory cannot be used
  9  no such app is running
 10  the new version was rolled out and failed: what was served before is served again
 11  something else was pushed, reloaded or rolled back to before this was served";

/// What a process of ours ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    Done = 0,
    Failed = 1,
    Usage = 2,
    Rejected = 3,
    Address = 4,
    Cache = 5,
    Resources = 6,
    Errored = 7,
    RunDir = 8,
    NotRunning = 9,
    GivenUp = 10,
    Superseded = 11,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    /// Lower case, without a full stop.
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

impl Failure {
    /// A mistake in what we were given.
    pub(crate) fn usage(message: impl Into<String>, hint: Option<String>) -> Self {
        Self { exit: Exit::Usage, message: message.into(), hint }
    }
}

impl From<ServeError> for Failure {
    fn from(error: ServeError) -> Self {
        let exit = match &error {
            ServeError::Component(_) | ServeError::Rejected(_) => Exit::Rejected,
            ServeError::Address(_) => Exit::Address,
            ServeError::Cache(_) => Exit::Cache,
            ServeError::Misconfigured(_) => Exit::Usage,
            ServeError::RunDir(_) => Exit::RunDir,
            ServeError::Descriptors(_) => Exit::Resources,
            ServeError::AllErrored => Exit::Errored,
            ServeError::Control(error) | ServeError::Spawn(error) | ServeError::Setup(error)
                if is_short_of_descriptors(error) =>
            {
                Exit::Resources
            }
            ServeError::BuilderDied { .. }
            | ServeError::Watch { .. }
            | ServeError::Control(_)
            | ServeError::Spawn(_)
            | ServeError::Setup(_) => Exit::Failed,
        };
        Self { exit, message: error.to_string(), hint: error.hint() }
    }
}

impl From<ControlError> for Failure {
    fn from(error: ControlError) -> Self {
        let exit = match &error {
            ControlError::NoneRunning | ControlError::NotRunning(_) => Exit::NotRunning,
            ControlError::Several(_) => Exit::Usage,
            ControlError::RunDir(_) => Exit::RunDir,
            ControlError::Unanswered { .. } => Exit::Failed,
        };
        Self { exit, message: error.to_string(), hint: Some(error.hint()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_lists_every_code() {
        let all = [
            Exit::Done,
            Exit::Failed,
            Exit::Usage,
            Exit::Rejected,
            Exit::Address,
            Exit::Cache,
            Exit::Resources,
            Exit::Errored,
            Exit::RunDir,
            Exit::NotRunning,
            Exit::GivenUp,
            Exit::Superseded,
        ];
        let lines = EXIT_CODES.lines().skip(1);
        let listed: Vec<u8> = lines.filter_map(|line| line.split_whitespace().next()?.parse().ok()).collect();
        assert_eq!(listed, all.map(|exit| exit as u8));
    }
}

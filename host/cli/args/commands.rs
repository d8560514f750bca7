//! What can be said to an app that runs.

use std::path::PathBuf;

use clap::builder::BoolishValueParser;
use clap::value_parser;
use wasmcluster_core::control::{AppName, Change};
use wasmcluster_supervisor::default_run_dir;

use crate::cli::values::change;

pub(super) const STATUS_ABOUT: &str = "\
Show how an app is: where it listens, what it serves, and each slot with its workers.

Where one app is running, that is the one; where several are, `--app` says which.";

pub(super) const PUSH_ABOUT: &str = "\
Serve another component: build it, let a worker serve it for a while, and then replace one worker after the other.

Nothing is lost on the way, and what fails is taken back. The app goes on with what was pushed, also where a worker has \
to be restarted, until the next push, reload or rollback, or until the app itself is started again: then it serves what \
`serve` was given. Interrupting this command does not interrupt the rollout.";

pub(super) const RELOAD_ABOUT: &str = "\
Look at the component that `serve` was given again, and serve what it is now, as if that was pushed.

This replaces every worker even if nothing has changed. A HUP signal to the app does the same. Interrupting this command \
does not interrupt the rollout.";

pub(super) const ROLLBACK_ABOUT: &str = "\
Serve an older generation once more, under the configuration of today.

Without a number, that is the last one that served in every slot before and has another component; in the middle of a \
rollout, it is the one that is being replaced. `wasmcluster history` has the numbers. Interrupting this command does not \
interrupt the rollout.";

pub(super) const SCALE_ABOUT: &str = "\
Have more workers, or fewer, and wait until each of them serves and the others are gone.

`8` is as many, `+2` so many more, `-2` so many fewer; 1 to 256. The last slots go first, and their workers finish what \
they have. Interrupting this command does not interrupt that.";

pub(super) const RESTART_ABOUT: &str = "\
Replace the worker of one slot by another one of the same generation, which serves before the old one goes. A slot that \
was given up gets another chance. Interrupting this command does not interrupt that.";

pub(super) const UPGRADE_ABOUT: &str = "\
Let the new version of wasmcluster that was put in the place of the one that runs go on with the app.

The file that the app was started from is executed in the same process, with the command line and environment that it was \
started with and what its configuration file says now: it keeps its pid, address, workers, history and control socket. \
Then every worker is replaced by one of the new version, as by a push. A new version that would not start leaves the old \
one running, and this says why. A USR2 signal to the app does the same. Interrupting this command does not interrupt the \
upgrade.";

pub(super) const LOGS_ABOUT: &str = "\
Show the last records of an app: what it says about itself and what its guests write. At most the last 1000 are kept.";

pub(super) const STOP_ABOUT: &str = "\
Stop an app, and wait until it has.

Requests in flight are finished first, for as long as the app's `--kill-timeout` allows. Interrupting this command does \
not interrupt the stop.";

/// `wasmcluster status`.
#[derive(Debug, clap::Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    pub(crate) which: WhichArgs,

    /// Write one JSON object
    #[arg(long, env = "WASMCLUSTER_JSON", value_parser = BoolishValueParser::new())]
    pub(crate) json: bool,
}

/// `wasmcluster list`.
#[derive(Debug, clap::Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    pub(crate) place: PlaceArgs,

    /// Write one JSON array
    #[arg(long, env = "WASMCLUSTER_JSON", value_parser = BoolishValueParser::new())]
    pub(crate) json: bool,
}

/// `wasmcluster push`.
#[derive(Debug, clap::Args)]
pub(crate) struct PushArgs {
    /// The component, a `.wasm` file
    pub(crate) file: PathBuf,

    #[command(flatten)]
    pub(crate) wait: WaitArgs,
}

/// `wasmcluster reload`.
#[derive(Debug, clap::Args)]
pub(crate) struct ReloadArgs {
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
}

/// `wasmcluster rollback`.
#[derive(Debug, clap::Args)]
pub(crate) struct RollbackArgs {
    /// The generation [default: the one before]
    #[arg(value_name = "GENERATION")]
    pub(crate) to: Option<u64>,

    #[command(flatten)]
    pub(crate) wait: WaitArgs,
}

/// `wasmcluster scale`.
#[derive(Debug, clap::Args)]
pub(crate) struct ScaleArgs {
    /// How many workers: a number, or `+N` and `-N` for so many more or fewer
    #[arg(value_name = "N", allow_negative_numbers = true, value_parser = change)]
    pub(crate) change: Change,

    #[command(flatten)]
    pub(crate) wait: WaitArgs,
}

/// `wasmcluster restart`.
#[derive(Debug, clap::Args)]
pub(crate) struct RestartArgs {
    /// The slot, as `wasmcluster status` numbers them
    pub(crate) slot: u16,

    #[command(flatten)]
    pub(crate) wait: WaitArgs,
}

/// `wasmcluster upgrade`.
#[derive(Debug, clap::Args)]
pub(crate) struct UpgradeArgs {
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
}

/// What all commands have in common that wait for something to happen.
#[derive(Debug, clap::Args)]
pub(crate) struct WaitArgs {
    #[command(flatten)]
    pub(crate) which: WhichArgs,

    /// Do not wait until it is done, only until it has begun
    #[arg(long)]
    pub(crate) detach: bool,

    /// Write one JSON object for each thing that happens; the last one is the outcome
    #[arg(long, env = "WASMCLUSTER_JSON", value_parser = BoolishValueParser::new())]
    pub(crate) json: bool,
}

/// `wasmcluster history`.
#[derive(Debug, clap::Args)]
pub(crate) struct HistoryArgs {
    #[command(flatten)]
    pub(crate) which: WhichArgs,

    /// Write one JSON array
    #[arg(long, env = "WASMCLUSTER_JSON", value_parser = BoolishValueParser::new())]
    pub(crate) json: bool,
}

/// `wasmcluster logs`.
#[derive(Debug, clap::Args)]
pub(crate) struct LogsArgs {
    #[command(flatten)]
    pub(crate) which: WhichArgs,

    /// Go on with what the app says from now on
    #[arg(short, long)]
    pub(crate) follow: bool,

    /// How many of the last records are shown
    #[arg(short = 'n', long, value_name = "N", default_value = "1000", value_parser = value_parser!(u32))]
    pub(crate) lines: u32,

    /// Write one JSON object per record
    #[arg(long, env = "WASMCLUSTER_JSON", value_parser = BoolishValueParser::new())]
    pub(crate) json: bool,
}

/// `wasmcluster stop`.
#[derive(Debug, clap::Args)]
pub(crate) struct StopArgs {
    #[command(flatten)]
    pub(crate) which: WhichArgs,

    /// Do not wait for the requests in flight
    #[arg(long)]
    pub(crate) fast: bool,

    /// Do not wait for the app to have stopped
    #[arg(long)]
    pub(crate) detach: bool,

    /// Write one JSON object
    #[arg(long, env = "WASMCLUSTER_JSON", value_parser = BoolishValueParser::new())]
    pub(crate) json: bool,
}

/// Which app is meant.
#[derive(Debug, clap::Args)]
pub(crate) struct WhichArgs {
    /// The app, by its name [default: the only one that runs]
    #[arg(long, env = "WASMCLUSTER_APP", value_name = "NAME")]
    pub(crate) app: Option<AppName>,

    #[command(flatten)]
    pub(crate) place: PlaceArgs,
}

/// Where apps are found.
#[derive(Debug, clap::Args)]
pub(crate) struct PlaceArgs {
    /// Where apps that run are found, if `serve` was told
    #[arg(long, env = "WASMCLUSTER_RUN_DIR", value_name = "DIR")]
    pub(crate) run_dir: Option<PathBuf>,
}

impl PlaceArgs {
    /// What was said, or where `serve` looks when nothing is.
    pub(crate) fn directory(&self) -> PathBuf {
        self.run_dir.clone().unwrap_or_else(default_run_dir)
    }
}

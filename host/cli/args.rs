//! What can be said on the command line. How it is judged is in `values`, where it may come from besides in `config`.

mod commands;
mod instance;
mod project;
mod request;

use core::num::NonZeroU16;
use core::time::Duration;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::builder::BoolishValueParser;
use clap::{Parser, Subcommand, ValueEnum, value_parser};
use clap_complete::Shell;
use wasmcluster_core::app::{DirGrant, User};
use wasmcluster_core::control::AppName;
use wasmcluster_core::outbound::OutboundRule;
use wasmcluster_supervisor::{Instances, find_user};

pub(crate) use self::commands::{
    HistoryArgs, ListArgs, LogsArgs, PushArgs, ReloadArgs, RestartArgs, RollbackArgs, ScaleArgs, StatusArgs,
    StopArgs, UpgradeArgs, WaitArgs,
};
use self::commands::{
    LOGS_ABOUT, PUSH_ABOUT, RELOAD_ABOUT, RESTART_ABOUT, ROLLBACK_ABOUT, SCALE_ABOUT, STATUS_ABOUT,
    STOP_ABOUT, UPGRADE_ABOUT,
};
pub(crate) use self::instance::{InstanceArgs, Isolation};
use self::project::{COMPONENTIZE_ABOUT, DOCTOR_ABOUT, NEW_ABOUT};
pub(crate) use self::project::{ComponentizeArgs, DoctorArgs, NewArgs};
pub(crate) use self::request::RequestArgs;
use super::exit::EXIT_CODES;
use super::values::{
    EnvFile, Factor, Percent, Timeout, address, command, compiler_size, directory, duration, env_file,
    heartbeat, pair, path, percent, positive_duration, process_size, variable,
};

/// Serve WebAssembly components from a cluster of sandboxed worker processes
#[derive(Debug, Parser)]
#[command(name = "wasmcluster", version, after_long_help = EXIT_CODES, subcommand_required = true)]
#[command(arg_required_else_help = true, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// One of the commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve a component over HTTP
    #[command(long_about = SERVE_ABOUT, after_long_help = EXIT_CODES)]
    Serve(Box<ServeArgs>),
    /// Say what a component is, and what it would get
    #[command(long_about = INSPECT_ABOUT, after_long_help = EXIT_CODES)]
    Inspect(Box<InspectArgs>),
    /// Begin a handler in a language of your choice
    #[command(long_about = NEW_ABOUT, after_long_help = EXIT_CODES)]
    New(NewArgs),
    /// Say what this machine lacks to serve well, and to build handlers
    #[command(long_about = DOCTOR_ABOUT, after_long_help = EXIT_CODES)]
    Doctor(DoctorArgs),
    /// Make a component of a core module
    #[command(long_about = COMPONENTIZE_ABOUT, after_long_help = EXIT_CODES)]
    Componentize(ComponentizeArgs),
    /// Show how an app is
    #[command(long_about = STATUS_ABOUT, after_long_help = EXIT_CODES)]
    Status(StatusArgs),
    /// Show all apps of this user that run
    #[command(after_long_help = EXIT_CODES)]
    List(ListArgs),
    /// Serve another component, replacing worker after worker
    #[command(long_about = PUSH_ABOUT, after_long_help = EXIT_CODES)]
    Push(PushArgs),
    /// Look at the app's own component again, and serve what it is now
    #[command(long_about = RELOAD_ABOUT, after_long_help = EXIT_CODES)]
    Reload(ReloadArgs),
    /// Serve an older generation once more
    #[command(long_about = ROLLBACK_ABOUT, after_long_help = EXIT_CODES)]
    Rollback(RollbackArgs),
    /// Have more workers, or fewer
    #[command(long_about = SCALE_ABOUT, after_long_help = EXIT_CODES)]
    Scale(ScaleArgs),
    /// Replace the worker of one slot
    #[command(long_about = RESTART_ABOUT, after_long_help = EXIT_CODES)]
    Restart(RestartArgs),
    /// Let a new version of wasmcluster go on with an app
    #[command(long_about = UPGRADE_ABOUT, after_long_help = EXIT_CODES)]
    Upgrade(UpgradeArgs),
    /// Show which generations an app had, and what became of each
    #[command(after_long_help = EXIT_CODES)]
    History(HistoryArgs),
    /// Show what an app said, and with `-f` what it goes on to say
    #[command(long_about = LOGS_ABOUT, after_long_help = EXIT_CODES)]
    Logs(LogsArgs),
    /// Stop an app, and wait until it has
    #[command(long_about = STOP_ABOUT, after_long_help = EXIT_CODES)]
    Stop(StopArgs),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
}

const SERVE_ABOUT: &str = "\
Serve a component over HTTP, from several processes behind one port.

The component exports `wasi:http/incoming-handler@0.2` or `wasi:http/handler@0.3`. It gets no files, no network and \
no environment but what the flags below grant.

Every flag can also be given as an environment variable or as a key in `wasmcluster.toml`: `--max-restarts` is \
`WASMCLUSTER_MAX_RESTARTS` and `max-restarts`. A flag wins over the environment, the environment over the file. Flags \
that can be repeated are lists in the file, and one value per line in the environment.

TERM, INT and QUIT stop: requests in flight are finished first, at a second signal they are not. HUP reloads, TTIN and \
TTOU add a worker and take one away, USR2 lets a new version of wasmcluster go on.";

const INSPECT_ABOUT: &str = "\
Say what a component is, what it was made with, and what it would get of all that it imports.

It takes what `serve` takes, from the command line, the environment and `wasmcluster.toml`, and starts nothing unless it is to measure. What \
`serve` would not serve ends it with the same error.";

const APP: &str = "The app";
const PROCESSES: &str = "Processes";
const GRANTS: &str = "What the guest may use";

/// `wasmcluster inspect`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct InspectArgs {
    #[command(flatten)]
    pub(crate) serve: ServeArgs,

    /// Say how long an instance takes to start, too
    ///
    /// For that it is served for a moment, on a port that is free, and nothing is asked of it. What it would not start for is
    /// said as `serve` would say it.
    #[arg(long, help_heading = "Looking at it")]
    pub(crate) measure: bool,
}

/// `wasmcluster serve`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ServeArgs {
    /// The component, a `.wasm` file [default: a built-in demo]
    #[arg(env = "WASMCLUSTER_COMPONENT", value_name = "COMPONENT")]
    pub(crate) component: Option<PathBuf>,

    /// Where to listen [default: 127.0.0.1:8080]
    ///
    /// A port alone, `8080` or `:8080`, is a port of 127.0.0.1. Port 0 picks a free one. `0.0.0.0:8080` listens on all
    /// interfaces, `[::]:8080` with IPv6 as well. Without an address, the port may come from the variable PORT.
    #[arg(long, visible_alias = "listen", env = "WASMCLUSTER_ADDR", value_name = "HOST:PORT", help_heading = APP)]
    #[arg(value_parser = address)]
    pub(crate) addr: Option<SocketAddr>,

    /// Configuration file [default: wasmcluster.toml, if it is there]
    #[arg(long, env = "WASMCLUSTER_CONFIG", value_name = "FILE", help_heading = APP)]
    pub(crate) config: Option<PathBuf>,

    /// Where compiled code is kept [default: ~/.cache/wasmcluster]
    ///
    /// Or wasmcluster in $XDG_CACHE_HOME, where that is set. Nobody else may be able to write there: what is found
    /// there is run.
    #[arg(long, env = "WASMCLUSTER_CACHE_DIR", value_name = "DIR", help_heading = APP)]
    pub(crate) cache_dir: Option<PathBuf>,

    /// What to call the app [default: the name of the component's file]
    ///
    /// The other commands find it by this name. One that is taken is an error; the default becomes `NAME-2`, `NAME-3`
    /// and so on.
    #[arg(long, env = "WASMCLUSTER_NAME", value_name = "NAME", help_heading = APP)]
    pub(crate) name: Option<AppName>,

    /// Where apps that run are found [default: wasmcluster in $XDG_RUNTIME_DIR]
    ///
    /// Or /tmp/wasmcluster-UID, where there is no such directory of this user. Nobody else may be able to look into it.
    #[arg(long, env = "WASMCLUSTER_RUN_DIR", value_name = "DIR", help_heading = APP)]
    pub(crate) run_dir: Option<PathBuf>,

    /// Where the history of each app is kept [default: ~/.local/state/wasmcluster]
    ///
    /// Or wasmcluster in $XDG_STATE_HOME, where that is set. Components are kept there as well, so that a rollback finds
    /// them. Where it cannot be used, or others can look into it, nothing is remembered beyond the end of the app.
    #[arg(long, env = "WASMCLUSTER_STATE_DIR", value_name = "DIR", help_heading = APP)]
    pub(crate) state_dir: Option<PathBuf>,

    /// How many generations are remembered
    ///
    /// What serves, and what a rollback would go to, are remembered in any case.
    #[arg(long, env = "WASMCLUSTER_HISTORY", value_name = "N", default_value = "10", help_heading = APP)]
    #[arg(value_parser = value_parser!(u16).range(1..=1000))]
    pub(crate) history: u16,

    /// Serve what becomes of the component's file
    ///
    /// A new file in its place, or new content in it, is rolled out as a reload would be, once nobody writes to it. What
    /// cannot be served changes nothing.
    #[arg(long, env = "WASMCLUSTER_WATCH", help_heading = APP, value_parser = BoolishValueParser::new())]
    pub(crate) watch: bool,

    /// Serve what you are writing: watch, build anew, and show what goes wrong
    ///
    /// Whoever asks is told what a guest broke down over, and where. `--build` is run when a file beside the configuration has
    /// changed, unless git would ignore it; the configuration itself and `--env-file` are read again. With it go `--watch`,
    /// `--bake 0s` and `--instances 1`, where nothing else is said.
    #[arg(long, env = "WASMCLUSTER_DEV", help_heading = APP, value_parser = BoolishValueParser::new())]
    pub(crate) dev: bool,

    /// The command that builds the component, for `--dev`
    ///
    /// For a shell, in the directory of the configuration file, or in this one where there is none. Without `--dev` it is not run.
    #[arg(long, env = "WASMCLUSTER_BUILD", value_name = "COMMAND", help_heading = APP, value_parser = command)]
    pub(crate) build: Option<String>,

    /// Write the log as one JSON object per line
    ///
    /// Each has `time`, and `record` that tells its kind: `serving`, `cluster`, `worker`, `output`, `error` and so on.
    #[arg(long, env = "WASMCLUSTER_JSON", help_heading = APP, value_parser = BoolishValueParser::new())]
    pub(crate) json: bool,

    /// How many workers: a number, `max` or `auto`
    ///
    /// `auto` is as many as the control group's CPU quota amounts to, rounded up, or as many as there are CPUs to run
    /// on. `max` is as many as the machine has CPUs. At most 256.
    #[arg(short, long, env = "WASMCLUSTER_INSTANCES", value_name = "N", default_value = "auto")]
    #[arg(help_heading = PROCESSES)]
    pub(crate) instances: Instances,

    /// How long a worker may take to become ready
    #[arg(long, env = "WASMCLUSTER_LISTEN_TIMEOUT", value_name = "TIME", default_value = "10s")]
    #[arg(help_heading = PROCESSES, value_parser = positive_duration)]
    pub(crate) listen_timeout: Duration,

    /// How long a worker that is to stop may finish its requests
    ///
    /// What is left then is cut, counted and said. It begins anew when the worker that was to take over its connections dies.
    #[arg(long, env = "WASMCLUSTER_KILL_TIMEOUT", value_name = "TIME", default_value = "30s")]
    #[arg(help_heading = PROCESSES, value_parser = duration)]
    pub(crate) kill_timeout: Duration,

    /// How many times a worker is restarted before its slot is given up
    ///
    /// Counted over five minutes, and only what ended before `--min-uptime`. The other slots go on.
    #[arg(long, env = "WASMCLUSTER_MAX_RESTARTS", value_name = "N", default_value = "16")]
    #[arg(help_heading = PROCESSES)]
    pub(crate) max_restarts: u32,

    /// How long a worker must serve for its end not to count
    #[arg(long, env = "WASMCLUSTER_MIN_UPTIME", value_name = "TIME", default_value = "1s")]
    #[arg(help_heading = PROCESSES, value_parser = duration)]
    pub(crate) min_uptime: Duration,

    /// How many workers serve a new version first
    #[arg(long, env = "WASMCLUSTER_CANARY", value_name = "N", default_value = "1")]
    #[arg(help_heading = PROCESSES)]
    pub(crate) canary: NonZeroU16,

    /// How much of the new connections they get until the others follow [default: as much as others]
    ///
    /// `5%` is for all of them together. It has no effect where no worker is left that serves the old version.
    #[arg(long, env = "WASMCLUSTER_CANARY_WEIGHT", value_name = "PERCENT", help_heading = PROCESSES)]
    #[arg(value_parser = percent)]
    pub(crate) canary_weight: Option<u8>,

    /// How long they serve it before the others follow
    ///
    /// One that ends by itself within that time takes the new version back. `0s` does not wait.
    #[arg(long, env = "WASMCLUSTER_BAKE", value_name = "TIME", default_value = "5s")]
    #[arg(help_heading = PROCESSES, value_parser = duration)]
    pub(crate) bake: Duration,

    /// A path that a new worker must answer well before it serves
    ///
    /// With a status from 200 to 399. A version that does not is not rolled out.
    #[arg(long, env = "WASMCLUSTER_PROBE", value_name = "PATH", help_heading = PROCESSES, value_parser = path)]
    pub(crate) probe: Option<String>,

    /// How many more requests of a hundred may fail in a new version, or `none`
    ///
    /// Compared with the old version, while both serve and the first slots are watched. Failed means a status of 500 or
    /// above, or a response cut short. A trap counts from the first time on, other failures from ten requests on.
    #[arg(long, env = "WASMCLUSTER_GATE_ERRORS", value_name = "PERCENT", default_value = "5%")]
    #[arg(help_heading = PROCESSES)]
    pub(crate) gate_errors: Percent,

    /// How many times as long requests may take in a new version, or `none`
    ///
    /// Compared as `--gate-errors` does, by the median, once there are fifty requests on each side. Less than 5ms is
    /// never too slow.
    #[arg(long, env = "WASMCLUSTER_GATE_LATENCY", value_name = "FACTOR", default_value = "3x")]
    #[arg(help_heading = PROCESSES)]
    pub(crate) gate_latency: Factor,

    /// Requests after which a worker is replaced [default: no limit]
    ///
    /// Each worker serves up to a tenth fewer, so that not all are replaced at once. Its successor serves first.
    #[arg(long, env = "WASMCLUSTER_MAX_REQUESTS", value_name = "N", help_heading = PROCESSES)]
    #[arg(value_parser = value_parser!(u64).range(1..))]
    pub(crate) max_requests: Option<u64>,

    /// Memory of a worker from which on it is replaced [default: no limit]
    ///
    /// Of the whole process. Looked at once a second. Its successor serves first.
    #[arg(long, env = "WASMCLUSTER_MAX_MEMORY_RESTART", value_name = "SIZE", help_heading = PROCESSES)]
    #[arg(value_parser = process_size)]
    pub(crate) max_memory_restart: Option<u64>,

    /// How long a worker may be stuck outside its guest, or `none`
    ///
    /// After that it is killed, and another one takes its place.
    #[arg(long, env = "WASMCLUSTER_HEARTBEAT_TIMEOUT", value_name = "TIME", default_value = "10s")]
    #[arg(help_heading = PROCESSES, value_parser = heartbeat)]
    pub(crate) heartbeat_timeout: Timeout,

    /// How much CPU time it may take to compile the component
    ///
    /// On all cores together, in whole seconds. One that takes more is not served.
    #[arg(long, env = "WASMCLUSTER_MAX_COMPILE_TIME", value_name = "TIME", default_value = "5m")]
    #[arg(help_heading = PROCESSES, value_parser = positive_duration)]
    pub(crate) max_compile_time: Duration,

    /// How much memory it may take to compile the component
    #[arg(long, env = "WASMCLUSTER_MAX_COMPILE_MEMORY", value_name = "SIZE", default_value = "4GiB")]
    #[arg(help_heading = PROCESSES, value_parser = compiler_size)]
    pub(crate) max_compile_memory: u64,

    /// Whether the kernel confines workers to what they need
    ///
    /// By Landlock, seccomp, limits and the loss of capabilities, once a worker has all that it will need: from then on it
    /// opens no file but below `--dir`, connects by TCP only to ports of `--allow-outbound`, and starts no program. A worker
    /// that tries a system call that is not its own is ended, and the log names the call.
    #[arg(long, env = "WASMCLUSTER_SANDBOX", value_name = "HOW", default_value = "best-effort")]
    #[arg(help_heading = PROCESSES)]
    pub(crate) sandbox: Sandbox,

    /// The user that workers become [default: that of the supervisor]
    ///
    /// A name or a number, and a group after `:` where it is not to be the user's own. The supervisor has to be root, and stays
    /// it. Workers give up what only root may, and open `--dir` as that user.
    #[arg(long, env = "WASMCLUSTER_USER", value_name = "USER[:GROUP]", help_heading = PROCESSES)]
    #[arg(value_parser = find_user)]
    pub(crate) user: Option<User>,

    /// An environment variable of the guest
    ///
    /// `NAME=VALUE`, or `NAME` for the value it has here. Can be repeated.
    #[arg(long, value_name = "NAME[=VALUE]", help_heading = GRANTS, value_parser = variable)]
    pub(crate) env: Vec<(String, String)>,

    /// A file of environment variables of the guest
    ///
    /// A line for each, `NAME=value`, as in `.env` files. What `--env` says counts more, and of several files the last one.
    /// Read again by a reload. Can be repeated.
    #[arg(long, value_name = "FILE", help_heading = GRANTS, value_parser = env_file)]
    pub(crate) env_file: Vec<EnvFile>,

    /// A directory the guest may read and write
    ///
    /// `HOST::GUEST` gives it another name for the guest, `HOST::GUEST::ro` makes it read-only. Can be repeated.
    ///
    #[arg(long, value_name = "HOST[::GUEST[::ro]]", help_heading = GRANTS, value_parser = directory)]
    pub(crate) dir: Vec<DirGrant>,

    /// A variable of `wasi:config/store`
    ///
    /// Can be repeated.
    #[arg(long, value_name = "NAME=VALUE", help_heading = GRANTS, value_parser = pair)]
    pub(crate) config_var: Vec<(String, String)>,

    /// A host the guest may send requests to
    ///
    /// `api.example.org`, `api.example.org:443`, `*.example.org` or `*`. Addresses that are not public, such as
    /// 127.0.0.1, are reached only by a rule that names the host. Can be repeated.
    #[arg(long, value_name = "HOST[:PORT]", help_heading = GRANTS)]
    pub(crate) allow_outbound: Vec<OutboundRule>,

    #[command(flatten)]
    pub(crate) instance: InstanceArgs,

    #[command(flatten)]
    pub(crate) request: RequestArgs,
}

/// `--sandbox`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Sandbox {
    /// They may do what their user may
    Off,
    /// As far as the kernel helps
    BestEffort,
    /// Completely, or the app does not serve
    Required,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_make_sense_to_clap() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_flag_has_a_heading_and_its_variable() {
        let command = Cli::command();
        let serve = command.find_subcommand("serve").expect("there");
        for arg in serve.get_arguments().filter(|arg| !["help", "component"].contains(&arg.get_id().as_str()))
        {
            let name = arg.get_long().expect("a long name");
            assert!(arg.get_help_heading().is_some(), "--{name} without a heading");
            // Lists are read by `config`, which makes the name up from the flag.
            let variable = format!("WASMCLUSTER_{}", name.replace('-', "_").to_uppercase());
            let read = arg.get_env().map(|env| env.to_string_lossy().into_owned());
            let expected = (!matches!(arg.get_action(), clap::ArgAction::Append)).then_some(variable);
            assert_eq!(read, expected, "--{name}");
        }
    }
}

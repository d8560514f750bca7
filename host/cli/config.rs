//! Where arguments come from besides the command line: `wasmcluster.toml` and, for lists, the environment.
//!
//! What is found there becomes the default of the argument of the same name, so that clap judges every value with the
//! same parser, and a flag or a variable wins without a word about it here.

use std::ffi::OsString;
use std::ops::Range;
use std::path::{Path, PathBuf};

use clap::error::{ContextKind, ErrorKind};
use clap::{Arg, ArgAction, ArgMatches, CommandFactory, FromArgMatches};
use toml::Spanned;
use toml::de::{DeTable, DeValue};
use wasmcluster_supervisor::TRIAL_ROLE;

use super::args::{Cli, Command, ServeArgs};
use super::exit::Failure;
use super::usage;

/// Read without being asked for, when it is there.
const DEFAULT_FILE: &str = "wasmcluster.toml";

/// Commands that are told what `serve` is, and from everywhere.
const LIKE_SERVE: [&str; 2] = ["serve", "inspect"];

/// Paths in the file start where the file is.
const PATHS: [&str; 7] = ["component", "cache-dir", "coredump", "dir", "env-file", "run-dir", "state-dir"];

/// What `--dev` brings along, where nobody says otherwise: what was just written is wanted at once, and is asked by one.
const IN_DEV: [(&str, &str); 3] = [("watch", "true"), ("bake", "0s"), ("instances", "1")];

/// A default for one argument.
#[derive(Debug, PartialEq, Eq)]
struct Setting {
    id: String,
    values: Vec<OsString>,
    /// Where it was found, for messages.
    origin: String,
}

/// The command, from everywhere it may come from. Ends the process where help was asked for, or is needed.
pub(crate) fn parse() -> Result<Command, Failure> {
    let given = arguments().try_get_matches_from(command_line()).map_err(|error| {
        let is_help =
            !error.use_stderr() || error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;
        if is_help { error.exit() } else { wrong(&error) }
    });
    complete(given?)
}

/// What `serve` is told now, by the same command line and environment and by what the file has become. Ends nothing.
pub(crate) fn parse_again() -> Result<ServeArgs, Failure> {
    match arguments()
        .try_get_matches_from(command_line())
        .map_err(|error| wrong(&error))
        .and_then(complete)?
    {
        Command::Serve(args) => Ok(*args),
        _ => Err(Failure::usage("this process is not what its command line says", None)),
    }
}

/// What this process was called with. One that is only [tried](TRIAL_ROLE) is called with what it is tried for behind that and
/// a language.
fn command_line() -> Vec<OsString> {
    let mut line: Vec<_> = std::env::args_os().collect();
    if line.get(1).is_some_and(|role| role == TRIAL_ROLE) {
        line.drain(1..line.len().min(3));
    }
    line
}

/// What `serve` is told by its command line and environment alone.
pub(crate) fn parse_line() -> Result<ServeArgs, Failure> {
    let matches = arguments().try_get_matches_from(command_line()).map_err(|error| wrong(&error))?;
    match command(&matches)? {
        Command::Serve(args) => Ok(*args),
        _ => Err(Failure::usage("this process is not what its command line says", None)),
    }
}

fn complete(given: ArgMatches) -> Result<Command, Failure> {
    let Some((name, told)) = given.subcommand().filter(|(name, _)| LIKE_SERVE.contains(name)) else {
        return command(&given);
    };
    let mut settings = Vec::new();
    if let Some(path) = file(told) {
        let text = std::fs::read_to_string(&path).map_err(|error| {
            Failure::usage(
                format!("failed to read `{}`: {error}", path.display()),
                Some("`--config` names the file to read".into()),
            )
        })?;
        settings = read(&text, &path, &serve_arguments())?;
    }
    // A platform's wish, weaker than anybody's decision about the address.
    if let Ok(port) = std::env::var("PORT")
        && !port.is_empty()
        && settings.iter().all(|setting| setting.id != "addr")
    {
        settings.push(Setting {
            id: "addr".into(),
            values: vec![port.into()],
            origin: "variable `PORT`".into(),
        });
    }
    settings.extend(lists_of_the_environment());
    let with = |settings: &[Setting]| {
        let matches = with_defaults(name, settings).try_get_matches_from(command_line());
        matches.map_err(|error| blame(error, settings))
    };
    let matches = with(&settings)?;
    if !matches.subcommand().is_some_and(|(_, told)| told.get_flag("dev")) {
        return command(&matches);
    }
    let in_dev = IN_DEV.iter().map(|(id, value)| Setting {
        id: (*id).into(),
        values: vec![value.into()],
        origin: "`--dev`".into(),
    });
    // Before all others, of which the last one counts.
    settings.splice(0..0, in_dev);
    command(&with(&settings)?)
}

/// Everything clap knows, with the names of the variables said once and not at every flag.
fn arguments() -> clap::Command {
    LIKE_SERVE.into_iter().fold(Cli::command(), |command, name| {
        command.mut_subcommand(name, |command| command.mut_args(|arg| arg.hide_env(true)))
    })
}

fn command(matches: &ArgMatches) -> Result<Command, Failure> {
    Cli::from_arg_matches(matches).map(|cli| cli.command).map_err(|error| wrong(&error))
}

fn wrong(error: &clap::Error) -> Failure {
    usage::failure(error, &command_line())
}

fn file(told: &ArgMatches) -> Option<PathBuf> {
    let asked = told.get_one::<PathBuf>("config").cloned();
    asked.or_else(|| Some(PathBuf::from(DEFAULT_FILE)).filter(|path| path.exists()))
}

/// What `serve` can be told.
fn serve_arguments() -> Vec<Arg> {
    let command = arguments();
    let serve = command.find_subcommand("serve").into_iter().flat_map(clap::Command::get_arguments);
    serve.filter(|arg| !matches!(arg.get_id().as_str(), "config" | "help" | "version")).cloned().collect()
}

/// What an argument is called in the file.
fn key(arg: &Arg) -> &str {
    arg.get_long().unwrap_or(arg.get_id().as_str())
}

fn with_defaults(name: &str, settings: &[Setting]) -> clap::Command {
    arguments().mut_subcommand(name, |command| {
        settings.iter().fold(command, |command, setting| {
            command.mut_arg(&setting.id, |arg| arg.default_values(setting.values.iter().cloned()))
        })
    })
}

/// clap splits a variable at one character or not at all; a value of ours may hold any but a line's end.
fn lists_of_the_environment() -> impl Iterator<Item = Setting> {
    serve_arguments().into_iter().filter(is_list).filter_map(|arg| {
        let name = format!("WASMCLUSTER_{}", key(&arg).replace('-', "_").to_uppercase());
        let lines = std::env::var(&name).ok()?;
        let values = lines.lines().filter(|line| !line.is_empty()).map(OsString::from).collect();
        Some(Setting { id: arg.get_id().to_string(), values, origin: format!("variable `{name}`") })
    })
}

fn is_list(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::Append)
}

/// The command line alone was fine, so what is wrong now is one of the settings: says which.
fn blame(error: clap::Error, settings: &[Setting]) -> Failure {
    let name = usage::argument(&error).trim_start_matches("--");
    // The last one counts, as it did for clap.
    let Some(setting) = settings.iter().rev().find(|setting| setting.id.replace('_', "-") == name) else {
        return wrong(&error);
    };
    let (value, reason) = (usage::text(&error, ContextKind::InvalidValue), usage::reason(&error));
    let message = format!("invalid value `{value}` for `{name}` ({}): {reason}", setting.origin);
    Failure::usage(message, Some("`wasmcluster serve --help` says what there is".into()))
}

/// The settings in `text`, the content of the file at `path`.
fn read(text: &str, path: &Path, args: &[Arg]) -> Result<Vec<Setting>, Failure> {
    let place = |span: Range<usize>| {
        let line = text.get(..span.start).unwrap_or(text).matches('\n').count() + 1;
        format!("`{}`, line {line}", path.display())
    };
    let table = DeTable::parse(text).map_err(|error| {
        let place = place(error.span().unwrap_or_default());
        Failure::usage(format!("{place}: {}", error.message().trim_end_matches('.')), None)
    })?;
    let mut settings = Vec::new();
    for (name, value) in table.get_ref() {
        let origin = place(name.span());
        let Some(arg) = args.iter().find(|arg| key(arg) == name.get_ref()) else {
            let known = args.iter().map(key);
            return Err(Failure::usage(
                format!("{origin}: there is no key `{}`", name.get_ref()),
                nearest(name.get_ref(), known),
            ));
        };
        let texts = texts(value, arg).map_err(|expected| {
            Failure::usage(format!("{origin}: `{}` is {expected}", name.get_ref()), None)
        })?;
        let beside = |text: String| match path.parent() {
            Some(directory) if PATHS.contains(&key(arg)) => directory.join(text).into_os_string(),
            _ => text.into(),
        };
        let values = texts.into_iter().map(beside).collect();
        settings.push(Setting { id: arg.get_id().to_string(), values, origin });
    }
    Ok(settings)
}

/// The values of `arg`, as one would type them. The error says what is expected instead.
fn texts(value: &Spanned<DeValue<'_>>, arg: &Arg) -> Result<Vec<String>, &'static str> {
    match value.get_ref() {
        DeValue::Array(values) if is_list(arg) => {
            values.iter().map(|value| scalar(value.get_ref()).ok_or("a list of texts")).collect()
        }
        // `[env]` and `[config-var]` read better as tables.
        DeValue::Table(table) if is_list(arg) && ["env", "config-var"].contains(&key(arg)) => table
            .iter()
            .map(|(name, value)| Some(format!("{}={}", name.get_ref(), scalar(value.get_ref())?)))
            .collect::<Option<_>>()
            .ok_or("a table of texts"),
        value if is_list(arg) => scalar(value).map(|text| vec![text]).ok_or("a list of texts"),
        value => scalar(value).map(|text| vec![text]).ok_or("one value"),
    }
}

fn scalar(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => Some(number.to_string()),
        DeValue::Float(number) => Some(number.to_string()),
        DeValue::Boolean(truth) => Some(truth.to_string()),
        DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => None,
    }
}

/// What somebody who wrote `name` may have meant.
fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    let name = name.replace('_', "-");
    let scored = known.map(|key| (strsim::jaro_winkler(&name, key), key));
    let (score, key) = scored.max_by(|(one, _), (other, _)| one.total_cmp(other))?;
    (score > 0.8).then(|| format!("did you mean `{key}`?"))
}

#[cfg(any(test, fuzzing))]
pub(crate) mod laws;
#[cfg(test)]
mod tests;

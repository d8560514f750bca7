//! What is wrong with a command line, in our words. clap finds it.

use std::error::Error as _;
use std::ffi::OsString;
use std::num::{IntErrorKind, ParseIntError};

use clap::CommandFactory;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::args::Cli;
use super::exit::Failure;

/// What is wrong, and what to do. `line` is what was typed.
pub(crate) fn failure(error: &clap::Error, line: &[OsString]) -> Failure {
    let message = invalid_value(error, line).or_else(|| missing(error)).unwrap_or_else(|| first_line(error));
    Failure::usage(message, Some(suggestion(error).unwrap_or_else(|| help(line))))
}

/// Why a value cannot be what it was given for.
pub(crate) fn reason(error: &clap::Error) -> String {
    match (error.source(), error.get(ContextKind::ValidValue)) {
        (Some(source), _) => match source.downcast_ref::<ParseIntError>().map(ParseIntError::kind) {
            Some(IntErrorKind::PosOverflow | IntErrorKind::NegOverflow) => {
                "no such number is possible".into()
            }
            Some(IntErrorKind::Zero) => "at least 1 is needed".into(),
            Some(_) => "a whole number is needed".into(),
            None => source.to_string(),
        },
        (None, Some(ContextValue::Strings(values))) => format!("expected one of `{}`", values.join("`, `")),
        (None, _) => "not a value it can have".into(),
    }
}

/// A text that comes with an error.
pub(crate) fn text(error: &clap::Error, kind: ContextKind) -> &str {
    match error.get(kind) {
        Some(ContextValue::String(text)) => text,
        _ => "",
    }
}

/// What the argument is called that an error is about: `--addr` of `--addr <HOST:PORT>`, or `[COMPONENT]`.
pub(crate) fn argument(error: &clap::Error) -> &str {
    text(error, ContextKind::InvalidArg).split_whitespace().next().unwrap_or_default()
}

fn invalid_value(error: &clap::Error, line: &[OsString]) -> Option<String> {
    if !matches!(error.kind(), ErrorKind::InvalidValue | ErrorKind::ValueValidation) {
        return None;
    }
    let (name, value) = (argument(error), text(error, ContextKind::InvalidValue));
    // One that is missing is not invalid.
    if value.is_empty() && error.source().is_none() {
        return None;
    }
    let origin = variable(name, value, line).map(|name| format!(" (variable `{name}`)")).unwrap_or_default();
    Some(format!("invalid value `{value}` for `{name}`{origin}: {}", reason(error)))
}

/// The environment variable that a value comes from, if it is not from the command line. clap does not say which.
fn variable(name: &str, value: &str, line: &[OsString]) -> Option<String> {
    let flag = name.strip_prefix("--")?;
    let typed = |arg: &OsString| {
        arg.to_str()
            .and_then(|arg| arg.strip_prefix(name))
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
    };
    let variable = format!("WASMCLUSTER_{}", flag.replace('-', "_").to_uppercase());
    let is_from_there = !line.iter().any(typed) && std::env::var(&variable).is_ok_and(|found| found == value);
    is_from_there.then_some(variable)
}

fn missing(error: &clap::Error) -> Option<String> {
    match (error.kind(), error.get(ContextKind::InvalidArg)) {
        (ErrorKind::MissingRequiredArgument, Some(ContextValue::Strings(names))) => {
            Some(format!("`{}` is needed, and was not given", names.join("`, `")))
        }
        _ => None,
    }
}

/// What clap says first, with our quotes.
fn first_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line).replace('\'', "`")
}

fn suggestion(error: &clap::Error) -> Option<String> {
    let kinds = [ContextKind::SuggestedArg, ContextKind::SuggestedSubcommand, ContextKind::SuggestedValue];
    let found = kinds.into_iter().find_map(|kind| error.get(kind))?;
    let word = match found {
        ContextValue::String(word) => word,
        ContextValue::Strings(words) => words.first()?,
        _ => return None,
    };
    Some(format!("did you mean `{word}`?"))
}

fn help(line: &[OsString]) -> String {
    let typed = line.get(1).and_then(|arg| arg.to_str());
    let command = typed.filter(|arg| Cli::command().find_subcommand(arg).is_some());
    let command = command.map(|command| format!(" {command}")).unwrap_or_default();
    format!("`wasmcluster{command} --help` says what there is")
}

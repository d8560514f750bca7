//! `wasmcluster new`: a project to begin with.

mod templates;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::ValueEnum;

use self::templates::{Template, template};
use super::args::NewArgs;
use super::exit::{Exit, Failure};
use super::render;
use super::toolchain::{self, Finding};

/// What a project is called before it has a name of its own.
const PLACEHOLDER: &str = "starter";

/// In what a handler is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Language {
    /// Rust, with wasi:http 0.2
    Rust,
    /// Rust, with wasi:http 0.3, where handlers are async
    RustP3,
    /// JavaScript
    Js,
    /// TypeScript, with Hono
    Ts,
    /// Go, with net/http
    Go,
    /// Python
    Python,
}

/// Where a project goes, and what it is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    directory: PathBuf,
    name: String,
}

/// A directory whose name the tools of every language take for one.
pub(crate) fn place(value: &str) -> Result<Place, String> {
    let directory = PathBuf::from(value);
    let name = directory.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
    let is_of_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if name.len() <= 64
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.bytes().all(is_of_name)
    {
        Ok(Place { directory, name })
    } else {
        Err("expected lower-case letters, digits and `-`, a letter first".into())
    }
}

/// Writes the project, and says what comes next.
pub(crate) fn run(args: &NewArgs) -> Exit {
    let NewArgs { language, place: Place { directory, name } } = args;
    let template = template(*language);
    if let Err(failure) = write(&template, directory, name) {
        return render::failure(&failure, false);
    }
    let _ = std::io::stdout().write_all(next(&template, directory, name).as_bytes());
    let lacking = toolchain::missing(*language).into_iter();
    let warnings: String =
        lacking.map(|Finding { problem, fix }| format!("\nwarning: {problem}\nhint: {fix}\n")).collect();
    let _ = std::io::stderr().write_all(warnings.as_bytes());
    Exit::Done
}

/// What was made, and the commands that bring it into service.
fn next(template: &Template, directory: &Path, name: &str) -> String {
    let Template { what, setup, build, component, .. } = template;
    let lines =
        |commands: &[&str]| commands.iter().map(|command| format!("  {command}\n")).collect::<String>();
    let (setup, build) = (lines(setup), lines(build));
    let (directory, component) = (directory.display(), component.replace(PLACEHOLDER, name));
    format!(
        "created `{directory}`, a handler in {what}\n\n\
         next:\n  cd {directory}\n{setup}{build}  wasmcluster serve\n\n\
         and after a change:\n{build}  wasmcluster push {component}\n\n\
         or, while you write it:\n  wasmcluster serve --dev\n"
    )
}

/// All of it, or nothing.
fn write(template: &Template, directory: &Path, name: &str) -> Result<(), Failure> {
    if fs::symlink_metadata(directory).is_ok() {
        return Err(Failure {
            exit: Exit::Failed,
            message: format!("there is a `{}` already", directory.display()),
            hint: Some("choose another name; nothing is overwritten".into()),
        });
    }
    let written = template.files.iter().try_for_each(|(file, text)| {
        let path = directory.join(file);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(path, text.replace(PLACEHOLDER, name))
    });
    written.map_err(|error| {
        let _ = fs::remove_dir_all(directory);
        Failure {
            exit: Exit::Failed,
            message: format!("failed to write `{}`: {error}", directory.display()),
            hint: None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_names_for_every_tool() {
        for good in ["app", "my-app2", "a", "some/where/app"] {
            assert!(place(good).is_ok(), "{good}");
        }
        for bad in ["", "2app", "-app", "My-App", "my_app", "app.js", "..", "/", "ä"] {
            assert!(place(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_project_has_its_own_name_and_nothing_is_overwritten() {
        let temporary = std::env::temp_dir().join(format!("wasmcluster-new-{}", std::process::id()));
        for language in Language::value_variants() {
            let template = template(*language);
            write(&template, &temporary, "my-app").expect("a new project");
            for (file, text) in template.files {
                let written = fs::read_to_string(temporary.join(file)).expect("it is there");
                assert!(!written.contains(PLACEHOLDER), "{language:?} {file}");
                assert_eq!(written.contains("my-app"), text.contains(PLACEHOLDER));
            }
            let configuration = fs::read_to_string(temporary.join("wasmcluster.toml")).expect("it is there");
            let configuration: toml::Table = configuration.parse().expect("a configuration");
            let build = template.build.join(" && ");
            assert_eq!(configuration["build"].as_str(), Some(build.as_str()), "{language:?}");
            let again = write(&template, &temporary, "other").expect_err("it is there");
            assert!(again.message.ends_with("already"), "{}", again.message);
            fs::remove_dir_all(&temporary).expect("removable");
        }
    }
}

//! What holds for whatever is in a configuration file.

use std::path::Path;

use super::super::exit::Exit;
use super::{Failure, Setting, blame, command, read, serve_arguments, with_defaults};

/// What the file is called in messages.
const FILE: &str = "conf/wasmcluster.toml";

/// Any text is a file by which something could be served, or what is wrong with it is said, with the line that it is wrong in.
///
/// But for addresses: to judge a name that has one takes a network.
pub(crate) fn any_file_is_read_or_explained(text: &str) {
    let mut settings = match read(text, Path::new(FILE), &serve_arguments()) {
        Ok(settings) => settings,
        Err(failure) => return is_explained(&failure, text),
    };
    settings.retain(|setting| setting.id != "addr");
    settings.iter().for_each(|setting| is_placed(&setting.origin, text));
    match with_defaults("serve", &settings).try_get_matches_from(["wasmcluster", "serve"]) {
        Ok(matches) => assert!(command(&matches).is_ok(), "accepted and then not understood"),
        Err(error) => {
            let failure = blame(error, &settings);
            is_explained(&failure, text);
            let blamed = |setting: &Setting| failure.message.contains(&setting.origin);
            assert!(settings.iter().any(blamed), "nobody is to blame: {}", failure.message);
        }
    }
}

#[track_caller]
fn is_explained(failure: &Failure, text: &str) {
    let Failure { exit, message, hint } = failure;
    assert_eq!(*exit, Exit::Usage);
    assert!(!message.ends_with('.'), "{message}");
    assert!(hint.as_ref().is_none_or(|hint| !hint.is_empty()));
    let origin = message.find(&format!("`{FILE}`, line ")).unwrap_or_else(|| panic!("no line: {message}"));
    is_placed(&message[origin..], text);
}

/// The place begins with a line that there is.
#[track_caller]
fn is_placed(place: &str, text: &str) {
    let line = place.strip_prefix(&format!("`{FILE}`, line ")).unwrap_or_default();
    let line = line.split(|character: char| !character.is_ascii_digit()).next().unwrap_or_default();
    let line: usize = line.parse().unwrap_or_else(|_| panic!("no line: {place}"));
    assert!((1..=text.split('\n').count()).contains(&line), "{place}");
}

//! Text for terminals.

use std::borrow::Cow;

use crate::cli::exit::Failure;

/// What a stream can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Colours {
    /// Not a terminal: bytes are somebody's data.
    File,
    /// A terminal of somebody who wants no colours, or that has none.
    Plain,
    Colourful,
}

impl Colours {
    pub(crate) fn of(terminal: bool) -> Self {
        // https://no-color.org: set, and not empty.
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let unable = std::env::var_os("TERM").is_some_and(|terminal| terminal == "dumb");
        match (terminal, unwanted || unable) {
            (false, _) => Self::File,
            (true, true) => Self::Plain,
            (true, false) => Self::Colourful,
        }
    }

    /// What should not distract.
    pub(crate) fn faint<'a>(self, text: &'a str) -> Cow<'a, str> {
        self.paint("2", text)
    }

    pub(super) fn hint<'a>(self, text: &'a str) -> Cow<'a, str> {
        self.paint("1;36", text)
    }

    /// What is as it should be.
    pub(crate) fn good<'a>(self, text: &'a str) -> Cow<'a, str> {
        self.paint("32", text)
    }

    /// What should change by itself.
    pub(crate) fn passing<'a>(self, text: &'a str) -> Cow<'a, str> {
        self.paint("33", text)
    }

    /// What will not change by itself.
    pub(crate) fn bad<'a>(self, text: &'a str) -> Cow<'a, str> {
        self.paint("31", text)
    }

    /// The last words of a command.
    pub(super) fn failure(self, failure: &Failure) -> String {
        let error = self.paint("1;31", "error:");
        // Names of files and the like are in it, which may be anything.
        let message = visible(&failure.message, self);
        match &failure.hint {
            Some(hint) => format!("{error} {message}\n{} {}\n", self.hint("hint:"), visible(hint, self)),
            None => format!("{error} {message}\n"),
        }
    }

    fn paint<'a>(self, style: &str, text: &'a str) -> Cow<'a, str> {
        match self {
            Self::Colourful => format!("\x1b[{style}m{text}\x1b[0m").into(),
            Self::File | Self::Plain => text.into(),
        }
    }
}

/// A guest's line as a terminal may see it: a guest is free to colour its text, and not to move the cursor, rename the
/// window or paste into the shell.
pub(crate) fn visible(text: &str, colours: Colours) -> Cow<'_, str> {
    if colours == Colours::File || !text.chars().any(is_control) {
        return text.into();
    }
    let mut shown = String::with_capacity(text.len() + 16);
    let mut coloured = false;
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        if colours == Colours::Colourful
            && let Some(length) = colour_sequence(rest)
        {
            shown.push_str(&rest[..length]);
            rest = &rest[length..];
            coloured = true;
            continue;
        }
        match is_control(character) {
            true => shown.extend(character.escape_default()),
            false => shown.push(character),
        }
        rest = &rest[character.len_utf8()..];
    }
    if coloured {
        shown.push_str("\x1b[0m");
    }
    shown.into()
}

fn is_control(character: char) -> bool {
    character.is_control() && character != '\t'
}

/// The length of the "select graphic rendition" that `text` begins with.
fn colour_sequence(text: &str) -> Option<usize> {
    let parameters = text.strip_prefix("\x1b[")?;
    let length = parameters.find(|character: char| !matches!(character, '0'..='9' | ';' | ':'))?;
    parameters[length..].starts_with('m').then_some("\x1b[".len() + length + "m".len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_sees_colours_and_nothing_else() {
        let line = "\x1b[1;31mred\x1b[0m \x1b]0;title\x07 \x1b[2J\ttab \r";
        assert_eq!(visible(line, Colours::File), line);
        assert_eq!(
            visible(line, Colours::Colourful),
            "\x1b[1;31mred\x1b[0m \\u{1b}]0;title\\u{7} \\u{1b}[2J\ttab \\r\x1b[0m"
        );
        assert_eq!(visible("\x1b[31mred", Colours::Plain), "\\u{1b}[31mred");
        assert_eq!(visible("plain", Colours::Colourful), "plain");
        assert_eq!(visible("\x1b[", Colours::Colourful), "\\u{1b}[");
    }
}

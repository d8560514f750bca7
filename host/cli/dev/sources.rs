//! What a component is built from, and whether it has changed.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use ignore::{DirEntry, Error, WalkBuilder};
use sha2::{Digest, Sha256};

/// Where tools put what they make, or get. Most projects have git ignore it, and some have no git.
const MADE: [&str; 2] = ["target", "node_modules"];

/// The files of one look, by their paths from the directory on.
pub(super) type Seen = BTreeMap<PathBuf, State>;

/// What changes when a file does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct State {
    modified: Option<SystemTime>,
    size: u64,
    inode: u64,
}

impl State {
    fn of(file: &Path) -> Option<Self> {
        // What a link leads to may have changed, and it has not.
        let found = fs::metadata(file).ok()?;
        Some(Self { modified: found.modified().ok(), size: found.len(), inode: found.ino() })
    }
}

/// What is in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Contents([u8; 32]);

/// Where sources are, and what is none of them.
#[derive(Debug)]
pub(super) struct Sources {
    directory: PathBuf,
    component: PathBuf,
    /// What the program reads itself, wherever it is.
    settings: Vec<PathBuf>,
}

impl Sources {
    pub(super) fn new(directory: &Path, component: &Path, settings: &[PathBuf]) -> Self {
        let settings = settings.iter().map(|file| real(file)).collect();
        Self { directory: real(directory), component: real(component), settings }
    }

    /// The settings that are there, by their names in the directory if they are in it.
    pub(super) fn look_at_settings(&self) -> Seen {
        let found = self.settings.iter().filter_map(|file| Some((self.name(file), State::of(file)?)));
        found.map(|(name, state)| (name.to_owned(), state)).collect()
    }

    fn name<'a>(&self, file: &'a Path) -> &'a Path {
        file.strip_prefix(&self.directory).unwrap_or(file)
    }

    /// All there are, and in words what cannot be read.
    pub(super) fn look(&self) -> (Seen, Option<String>) {
        let mut walk = WalkBuilder::new(&self.directory);
        // A project has a `.gitignore` before it has a git.
        walk.require_git(false).git_global(false).filter_entry(|entry| !is_made(entry));
        let (mut seen, mut unreadable) = (Seen::new(), None);
        for entry in walk.build() {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    // What is gone since its directory was read is no more to be seen.
                    if error.io_error().is_none_or(|error| error.kind() != ErrorKind::NotFound) {
                        unreadable = Some(self.words(&error));
                    }
                    continue;
                }
            };
            let is_source = !entry.file_type().is_some_and(|kind| kind.is_dir())
                && entry.path() != self.component
                && self.settings.iter().all(|settings| entry.path() != settings);
            if let Some(state) = is_source.then(|| State::of(entry.path())).flatten() {
                seen.insert(self.name(entry.path()).to_owned(), state);
            }
        }
        (seen, unreadable)
    }

    fn words(&self, error: &Error) -> String {
        let place = place(error).map(|place| place.strip_prefix(&self.directory).unwrap_or(place));
        let place = place.filter(|place| !place.as_os_str().is_empty()).unwrap_or(&self.directory);
        match error.io_error() {
            // A path is in its words, too.
            Some(io) => format!("`{}` cannot be read: {}", place.display(), io.kind()),
            None => format!("`{}` cannot be read: {error}", place.display()),
        }
    }

    /// What is in a file; nothing where that cannot be read.
    pub(super) fn contents(&self, file: &Path) -> Option<Contents> {
        let mut digest = Sha256::new();
        io::copy(&mut File::open(self.directory.join(file)).ok()?, &mut digest).ok()?;
        Some(Contents(digest.finalize().into()))
    }

    /// Whether the component is not what would be made of them.
    pub(super) fn are_newer(&self, seen: &Seen) -> bool {
        let Ok(made) = fs::metadata(&self.component).and_then(|found| found.modified()) else { return true };
        seen.values().any(|state| state.modified.is_some_and(|modified| modified > made))
    }

    pub(super) fn has_component(&self) -> bool {
        self.component.is_file()
    }
}

/// The files that are not the same in two looks.
pub(super) fn changes<'a>(before: &'a Seen, now: &'a Seen) -> impl Iterator<Item = &'a Path> {
    let gone = before.keys().filter(|file| !now.contains_key(*file));
    let other = now.iter().filter(|(file, state)| before.get(*file) != Some(*state)).map(|(file, _)| file);
    other.chain(gone).map(PathBuf::as_path)
}

/// What an error is about.
fn place(error: &Error) -> Option<&Path> {
    match error {
        Error::WithPath { path, .. } => Some(path),
        Error::WithDepth { err, .. } | Error::WithLineNumber { err, .. } => place(err),
        _ => None,
    }
}

fn is_made(entry: &DirEntry) -> bool {
    let is_directory = entry.file_type().is_some_and(|kind| kind.is_dir());
    entry.depth() > 0 && is_directory && entry.file_name().to_str().is_some_and(|name| MADE.contains(&name))
}

/// By the name that a walk finds it by. What is not there yet is where its directory is, if that is.
fn real(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let found = fs::canonicalize(&absolute).ok().or_else(|| {
        let directory = fs::canonicalize(absolute.parent()?).ok()?;
        Some(directory.join(absolute.file_name()?))
    });
    found.unwrap_or(absolute)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_git_ignores_what_is_hidden_and_what_is_made_are_no_sources() {
        let place = std::env::temp_dir().join(format!("wasmcluster-sources-{}", std::process::id()));
        let _ = fs::remove_dir_all(&place);
        for file in [
            "src/main.rs",
            "app.wasm",
            "notes.tmp",
            ".env",
            ".git/index",
            "target/x",
            "sub/node_modules/x",
            "build/x",
            "made/other.wasm",
        ] {
            let file = place.join(file);
            fs::create_dir_all(file.parent().expect("a directory")).expect("created");
            fs::write(file, "x").expect("written");
        }
        fs::write(place.join(".gitignore"), "*.tmp\n/build\n").expect("written");
        let sources =
            Sources::new(&place, &place.join("app.wasm"), &[place.join(".env"), place.join("build/x")]);
        let (seen, unreadable) = sources.look();
        assert_eq!(unreadable, None);
        let names: Vec<_> = seen.keys().map(|name| name.display().to_string()).collect();
        assert_eq!(names, ["made/other.wasm", "src/main.rs"]);
        let settings = sources.look_at_settings();
        assert!(settings.keys().map(PathBuf::as_path).eq([Path::new(".env"), Path::new("build/x")]));

        fs::write(place.join("src/main.rs"), "longer").expect("written");
        fs::remove_file(place.join("made/other.wasm")).expect("removed");
        fs::write(place.join("app.wasm"), "longer").expect("written");
        let (now, _) = sources.look();
        let changed: Vec<_> = changes(&seen, &now).map(|name| name.display().to_string()).collect();
        assert_eq!(changed, ["src/main.rs", "made/other.wasm"]);
        fs::remove_dir_all(&place).expect("removable");
    }
}

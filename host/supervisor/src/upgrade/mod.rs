//! Another program in the place of this one: the same process, with all that it has.
//!
//! A supervisor that is to be replaced by another version of this program
//!
//! 1. has the new program [try](program) whether it would start, while everything goes on;
//! 2. lets go of what its tasks hold, and writes down what it knows: an [`Estate`];
//! 3. executes the new program, which reads that and goes on.
//!
//! The process stays, and with it its pid, its children and whatever it has open. So workers serve on and notice nothing:
//! their channels and listeners are where they were. Nobody else sees a difference either, but for commands that wait,
//! which are answered by the new program. Where the new program cannot be executed, or cannot go on, the old one does,
//! with the same estate.

mod descriptors;
mod program;

use std::convert::Infallible;
use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::unistd::execve;
use serde::{Deserialize, Serialize};
use wasmcluster_core::channel::PROTOCOL;

use crate::descriptors::own;
use crate::run::Left;

pub(crate) use self::descriptors::{Descriptors, Passed};
use self::program::ANSWER;
pub use self::program::TRIAL_ROLE;
pub(crate) use self::program::{Program, Tried, Unfit};

/// This version of the program.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Of what is written down. To be changed with anything in it that an older or a newer version would misread.
const FORMAT: u32 = 1;

/// Where it is, as `PID:DESCRIPTOR`. The pid tells it from one that was meant for somebody else.
const VARIABLE: &str = "WASMCLUSTER_ESTATE";

/// What a supervisor leaves to the program that goes on in its place.
#[derive(Debug)]
pub struct Estate {
    pub(crate) left: Box<Left>,
    pub(crate) descriptors: Descriptors,
    /// The version that leaves it.
    pub(crate) version: String,
    /// Why the program that was to go on does not, if so.
    pub(crate) failure: Option<String>,
    /// How the program was called that leaves it, where that is another one than this.
    called: Option<Called>,
}

/// The arguments and the environment of a program.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Called {
    arguments: Vec<CString>,
    environment: Vec<CString>,
}

/// As it is written down.
#[derive(Debug, Serialize, Deserialize)]
struct Document<L> {
    #[serde(flatten)]
    language: Language,
    version: String,
    failure: Option<String>,
    called: Called,
    descriptors: Vec<RawFd>,
    left: L,
}

/// What has to be the same on both sides: of this document, and of the channels to children that live on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Language {
    format: u32,
    protocol: u32,
}

const LANGUAGE: Language = Language { format: FORMAT, protocol: PROTOCOL };

impl Estate {
    /// What the program before this one has left to us, if there was one. To be called once, at the start, before anything
    /// else is opened.
    ///
    /// # Errors
    /// Fails where it cannot be read.
    pub fn left_to_us() -> io::Result<Option<Self>> {
        let Some(place) = std::env::var_os(VARIABLE) else { return Ok(None) };
        let place = place.to_str().and_then(|place| place.split_once(':'));
        let ours = std::process::id().to_string();
        let Some((_, number)) = place.filter(|(pid, _)| *pid == ours) else { return Ok(None) };
        let mut file = File::from(own(number.parse().map_err(io::Error::other)?)?);
        let mut text = Vec::new();
        file.rewind()?;
        file.read_to_end(&mut text)?;
        let language: Language = serde_json::from_slice(&text)?;
        if language != LANGUAGE {
            return Err(io::Error::other(format!("it is written in {language:?}, and this is {LANGUAGE:?}")));
        }
        let Document { version, failure, called, descriptors, left, .. } = serde_json::from_slice(&text)?;
        let descriptors = Descriptors::inherited(&descriptors)?;
        Ok(Some(Self { left, descriptors, version, failure, called: Some(called) }))
    }

    /// What this program leaves to another one.
    pub(crate) fn new(left: Left, descriptors: Descriptors) -> Self {
        let version = VERSION.to_owned();
        Self { left: Box::new(left), descriptors, version, failure: None, called: None }
    }

    /// Executes the new program in the place of this one, called as this one was. Comes back only where that is not possible,
    /// to go on with.
    ///
    /// Threads end where they are, so nothing that matters must be under way in one.
    #[must_use]
    pub fn execute(mut self) -> Self {
        let program = self.left.program.clone();
        let error = match Called::now() {
            Ok(called) => {
                let Err(error) = self.try_execute(&program, &called, None);
                error
            }
            Err(error) => error,
        };
        self.failure = Some(format!("`{}` cannot be executed: {error}", program.display()));
        self
    }

    /// Executes the old program again, called as it was, in the place of this one, which cannot go on. Comes back only where
    /// that is not possible, or where this is the old one again.
    pub fn give_back(&self, reason: String) {
        if let (None, Some(called)) = (&self.failure, &self.called)
            && let Some(number) = self.descriptors.number(&self.left.before)
        {
            let before = format!("/proc/self/fd/{number}");
            let Err(_) = self.try_execute(Path::new(&before), called, Some(reason));
        }
    }

    fn try_execute(
        &self,
        program: &Path,
        called: &Called,
        failure: Option<String>,
    ) -> Result<Infallible, io::Error> {
        let document = Document {
            language: LANGUAGE,
            version: VERSION.to_owned(),
            failure,
            called: called.clone(),
            descriptors: self.descriptors.numbers(),
            left: &self.left,
        };
        // Without CLOEXEC, so that the next program has it.
        let mut file = File::from(memfd_create("wasmcluster-estate", MFdFlags::empty())?);
        file.write_all(&serde_json::to_vec(&document)?)?;
        let mut environment = called.environment.clone();
        let place = format!("{VARIABLE}={}:{}", std::process::id(), file.as_raw_fd());
        environment.push(CString::new(place)?);
        let program = CString::new(program.as_os_str().as_bytes())?;
        self.descriptors.keep_open(true)?;
        let Err(errno) = execve(&program, &called.arguments, &environment);
        self.descriptors.keep_open(false)?;
        Err(errno.into())
    }
}

impl Called {
    fn now() -> io::Result<Self> {
        let text = |text: OsString| Ok(CString::new(text.into_vec())?);
        let variables = std::env::vars_os().filter(|(name, _)| name != VARIABLE);
        let pairs = variables.map(|(mut name, value)| {
            name.push("=");
            name.push(value);
            name
        });
        Ok(Self {
            arguments: std::env::args_os().map(text).collect::<io::Result<_>>()?,
            environment: pairs.map(text).collect::<io::Result<_>>()?,
        })
    }
}

/// What a program that is tried says, if it would go on with what is written in the language of who tries it.
///
/// # Errors
/// Says what is in the way.
pub fn answer_trial(language: Option<OsString>) -> Result<String, String> {
    let asked = language.as_deref().and_then(OsStr::to_str);
    match asked {
        Some(asked) if asked == spoken() => Ok(format!("{ANSWER}{VERSION}")),
        _ => Err(format!(
            "version {VERSION} cannot take over from the one that runs: it keeps its books otherwise"
        )),
    }
}

/// [`LANGUAGE`], as an argument.
fn spoken() -> String {
    format!("{}.{}", LANGUAGE.format, LANGUAGE.protocol)
}

//! Another program in the place of this one: the same process, with all that it has.
//!
//! A supervisor that is to be replaced by another version of this program
//!
//! 1. has the new program [try](program) whether it would start, while everything goes on;
//! 2. lets go of what its tasks hold, and writes down what it knows: an [`Estate`];
//! 3. has the new program try once more, now with that: in a process of its own, which takes over everything, does nothing
//!    with it, and ends;
//! 4. executes the new program, which goes on.
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
use std::os::unix::process::parent_id;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::execve;
use rustix::fs::MemfdFlags;
use serde::{Deserialize, Serialize};
use wasmcluster_core::channel::PROTOCOL;

use crate::Options;
use crate::component::Component;
use crate::descriptors::own;
use crate::memory::file_in_memory;
use crate::run::Left;

pub(crate) use self::descriptors::{Descriptors, Passed};
use self::program::ANSWER;
pub use self::program::TRIAL_ROLE;
pub(crate) use self::program::{Program, Tried, Unfit};

/// This version of the program.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Of what is written down. To be changed with anything in it that an older or a newer version would misread.
const FORMAT: u32 = 8;

/// Where it is, as `PID:DESCRIPTOR`. The pid is that of the process that has the app: a child of it is shown the estate, and
/// whoever is no relation of it finds the variable by chance.
const VARIABLE: &str = "WASMCLUSTER_ESTATE";

/// What a supervisor leaves to the program that goes on in its place.
#[derive(Debug)]
pub struct Estate {
    pub(crate) left: Box<Left>,
    pub(crate) descriptors: Descriptors,
    /// The version that leaves it.
    pub(crate) version: String,
    /// Why the program that was to go on does not, if so: then it is the old one again that does.
    pub(crate) failure: Option<String>,
    origin: Origin,
}

/// Where an estate comes from.
#[derive(Debug)]
enum Origin {
    /// It is this program's own, to be left to the one that was tried.
    Here(Program, Tried),
    /// Another one has left it, and this is what that one wrote.
    Left(Box<Document>),
    /// Another one, which has it still, shows it to this one.
    Shown,
}

/// The arguments and the environment of a program.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Called {
    arguments: Vec<CString>,
    environment: Vec<CString>,
}

/// As it is written down. Whatever cannot be read of what is within, this can: with it the old program is called back.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Document {
    language: Language,
    version: String,
    failure: Option<String>,
    called: Called,
    /// The number of the old program.
    before: RawFd,
    descriptors: Vec<RawFd>,
    /// A [`Left`], as JSON.
    left: String,
}

/// What has to be the same on both sides: of this document, and of the channels to children that live on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Language {
    format: u32,
    protocol: u32,
}

const LANGUAGE: Language = Language { format: FORMAT, protocol: PROTOCOL };

/// Whether an estate was found. A second look would take descriptors that have owners.
static LOOKED: AtomicBool = AtomicBool::new(false);

impl Estate {
    /// What the program before this one has left to us, if there was one. It is there once, and has to be asked for at the
    /// start, before anything else is opened. Where it cannot be read, the program before this one goes on.
    ///
    /// # Errors
    /// Fails where not even that is possible.
    pub fn left_to_us() -> io::Result<Option<Self>> {
        let Some(document) = Document::find(std::process::id())? else { return Ok(None) };
        match document.read() {
            Ok(left) => Self::of(left, *document.clone(), Origin::Left(document)).map(Some),
            Err(reason) => {
                document.give_back(reason.clone());
                Err(io::Error::other(reason))
            }
        }
    }

    /// What the program that started this one would leave to it, if it is to be tried with that. To be asked for as
    /// [`left_to_us`](Self::left_to_us) is.
    ///
    /// # Errors
    /// Fails where it cannot be read.
    pub fn shown_to_us() -> io::Result<Option<Self>> {
        let Some(document) = Document::find(parent_id())? else { return Ok(None) };
        // What is the app's is open here, too, and must not outlive it.
        set_pdeathsig(Signal::SIGKILL)?;
        let left = document.read().map_err(io::Error::other)?;
        Self::of(left, *document, Origin::Shown).map(Some)
    }

    fn of(left: Left, document: Document, origin: Origin) -> io::Result<Self> {
        let Document { descriptors, version, failure, .. } = document;
        let descriptors = Descriptors::inherited(&descriptors)?;
        Ok(Self { left: Box::new(left), descriptors, version, failure, origin })
    }

    /// What this program leaves to one that was tried.
    pub(crate) fn new(left: Left, descriptors: Descriptors, program: Program, tried: Tried) -> Self {
        let (version, origin) = (VERSION.to_owned(), Origin::Here(program, tried));
        Self { left: Box::new(left), descriptors, version, failure: None, origin }
    }

    /// Whether it comes back from the program that was to go on with it.
    #[must_use]
    pub fn is_back(&self) -> bool {
        self.failure.is_some()
    }

    /// Whether everything has served already.
    #[must_use]
    pub fn is_serving(&self) -> bool {
        self.left.serving
    }

    /// With which options it was served, and how. `built_in` is the component of who was given none.
    #[must_use]
    pub fn options(&self, built_in: Component) -> Options {
        self.left.options(built_in)
    }

    /// Has the program that was tried try once more, with this.
    pub(crate) async fn rehearse(mut self) -> Self {
        self.failure = self.try_rehearsing().await.err().map(|unfit| unfit.message);
        self
    }

    async fn try_rehearsing(&self) -> Result<(), Unfit> {
        let (program, document) = self.to_be_left()?;
        let failed = |error: io::Error| Unfit {
            message: format!("failed to write down what is to be left: {error}"),
            hint: None,
        };
        let file = document.write().map_err(failed)?;
        let tried = match self.descriptors.keep_open(true) {
            Ok(()) => program.try_with(&Document::place(&file)).await.map(drop),
            Err(error) => Err(failed(error)),
        };
        // Whatever came of it: they are nobody's but ours.
        self.descriptors.keep_open(false).map_err(failed)?;
        tried
    }

    /// Executes the new program in the place of this one, called as this one was. Comes back only where that is not possible,
    /// to go on with.
    ///
    /// Threads end where they are, so nothing that matters must be under way in one.
    #[must_use]
    pub fn execute(mut self) -> Self {
        if !self.is_back() {
            self.failure = Some(match self.try_executing() {
                Ok(never) => match never {},
                Err(unfit) => unfit.message,
            });
        }
        self
    }

    fn try_executing(&self) -> Result<Infallible, Unfit> {
        let (program, document) = self.to_be_left()?;
        document.execute(program.path(), &self.descriptors).map_err(|error| Unfit {
            message: format!("`{}` cannot be executed: {error}", program.path().display()),
            hint: None,
        })
    }

    /// What is to be left, and to which program, if that is still the one that was tried.
    fn to_be_left(&self) -> Result<(&Program, Document), Unfit> {
        let unfit = |message: String| Unfit { message, hint: None };
        let Origin::Here(program, tried) = &self.origin else {
            return Err(unfit("it is somebody else's to leave".into()));
        };
        program.is_still(tried)?;
        let document = self.document();
        let document =
            document.map_err(|error| unfit(format!("failed to write down what is to be left: {error}")))?;
        Ok((program, document))
    }

    fn document(&self) -> io::Result<Document> {
        Ok(Document {
            language: LANGUAGE,
            version: self.version.clone(),
            failure: None,
            called: Called::now()?,
            before: self.descriptors.number(&self.left.before).unwrap_or(-1),
            descriptors: self.descriptors.numbers(),
            left: serde_json::to_string(&self.left)?,
        })
    }

    /// Executes the old program again, called as it was, in the place of this one, which cannot go on. Comes back only where
    /// that is not possible, or where this is the old one again.
    pub fn give_back(&self, reason: String) {
        if let (Origin::Left(document), false) = (&self.origin, self.is_back())
            && self.descriptors.keep_open(true).is_ok()
        {
            document.give_back(reason);
        }
    }
}

impl Document {
    /// The one that a process has for us; none if it has none.
    fn find(process: u32) -> io::Result<Option<Box<Self>>> {
        let Some(place) = std::env::var_os(VARIABLE) else { return Ok(None) };
        let place = place.to_str().and_then(|place| place.split_once(':'));
        let Some((_, number)) = place.filter(|(pid, _)| *pid == process.to_string()) else { return Ok(None) };
        if LOOKED.swap(true, Ordering::Relaxed) {
            return Ok(None);
        }
        let number = number.parse().map_err(io::Error::other)?;
        let mut file = File::from(own(number)?);
        let mut text = Vec::new();
        file.rewind()?;
        file.read_to_end(&mut text)?;
        let document: Self = serde_json::from_slice(&text)?;
        if document.descriptors.contains(&number) {
            return Err(io::Error::other("it has itself among its descriptors"));
        }
        Ok(Some(Box::new(document)))
    }

    /// Where a program finds the one that was written to `file`.
    fn place(file: &File) -> String {
        format!("{}:{}", std::process::id(), file.as_raw_fd())
    }

    /// What is written in it.
    fn read(&self) -> Result<Left, String> {
        let left = match self.language {
            LANGUAGE => serde_json::from_str(&self.left).map_err(|error| error.to_string()),
            other => Err(format!("it is in {other:?}, and this version speaks {LANGUAGE:?}")),
        };
        left.map_err(|reason| format!("what was left to version {VERSION} cannot be read: {reason}"))
    }

    /// Executes the program that wrote this.
    fn give_back(&self, reason: String) {
        let back = Self { failure: Some(reason), ..self.clone() };
        let before = format!("/proc/self/fd/{}", self.before);
        let Err(_) = back.write_and_execute(Path::new(&before));
    }

    fn execute(&self, program: &Path, descriptors: &Descriptors) -> io::Result<Infallible> {
        descriptors.keep_open(true)?;
        let Err(error) = self.write_and_execute(program);
        // They have owners here, and are closed by those.
        let _ = descriptors.keep_open(false);
        Err(error)
    }

    fn write(&self) -> io::Result<File> {
        // Without CLOEXEC, so that the next program has it.
        let mut file = file_in_memory("wasmcluster-estate", MemfdFlags::empty())?;
        file.write_all(&serde_json::to_vec(self)?)?;
        Ok(file)
    }

    fn write_and_execute(&self, program: &Path) -> io::Result<Infallible> {
        let file = self.write()?;
        let mut environment = self.called.environment.clone();
        environment.push(CString::new(format!("{VARIABLE}={}", Self::place(&file)))?);
        let program = CString::new(program.as_os_str().as_bytes())?;
        let Err(errno) = execve(&program, &self.called.arguments, &environment);
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
        Some(asked) if asked == spoken() => Ok(format!("{ANSWER}{VERSION}, process {}", std::process::id())),
        _ => Err(format!(
            "version {VERSION} cannot take over from the one that runs: it keeps its books otherwise"
        )),
    }
}

/// [`LANGUAGE`], as an argument.
fn spoken() -> String {
    format!("{}.{}", LANGUAGE.format, LANGUAGE.protocol)
}

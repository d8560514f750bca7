//! Why an app could not be served, or not any longer.

use std::io;

use nix::errno::Errno;
use wasmcluster_core::cluster::Exit;
use wasmcluster_core::rejection::Rejection;

use crate::address::AddressError;
use crate::cache::CacheError;
use crate::component::ComponentError;
use crate::configuration::Misconfigured;
use crate::limits::TooFewDescriptors;
use crate::rundir::RunDirError;

/// Everything that ends a supervisor other than being asked to stop.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// There is no component to look at.
    #[error(transparent)]
    Component(#[from] ComponentError),
    /// What is configured now makes no sense.
    #[error(transparent)]
    Misconfigured(#[from] Misconfigured),
    /// The file cannot be watched.
    #[error("failed to watch `{component}`: {source}")]
    Watch {
        /// What the component is called.
        component: String,
        /// Why.
        source: io::Error,
    },
    /// The component will never be served as it is.
    #[error("{0}")]
    Rejected(Rejection),
    /// The address is not to be had.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The cache is not to be used.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// The name, or a place for it, is not to be had.
    #[error(transparent)]
    RunDir(#[from] RunDirError),
    /// The machine does not give us what we need.
    #[error(transparent)]
    Descriptors(#[from] TooFewDescriptors),
    /// The builder ended without an answer.
    #[error("the compilation of `{component}` ended early: {exit}")]
    BuilderDied {
        /// What the component is called.
        component: String,
        /// How it ended.
        exit: Exit,
    },
    /// Every slot used up its restarts.
    #[error("no worker stays up: every slot has used up its restarts")]
    AllErrored,
    /// Nobody could ask this app anything.
    #[error("failed to open the control socket: {0}")]
    Control(io::Error),
    /// A process of ours could not be started.
    #[error("failed to start a process: {0}")]
    Spawn(io::Error),
    /// The event loop could not be set up.
    #[error("failed to set up: {0}")]
    Setup(io::Error),
}

impl ServeError {
    /// What to do about it, if there is something to do.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Component(error) => error.hint(),
            Self::Misconfigured(error) => error.hint.clone(),
            Self::Watch { .. } => Some("raise `fs.inotify.max_user_watches`, or do without `--watch`".into()),
            Self::Rejected(rejection) => rejection.hint.clone(),
            Self::Address(error) => error.hint(),
            Self::Cache(error) => error.hint(),
            Self::RunDir(error) => Some(error.hint()),
            Self::Descriptors(error) => Some(error.hint()),
            Self::BuilderDied { exit: Exit::Signal(9), .. } => Some(
                "it was killed, most likely for the memory it used: compiling needs more than serving".into(),
            ),
            Self::AllErrored => Some("the lines above say what each worker died of".into()),
            Self::Control(error) | Self::Spawn(error) | Self::Setup(error)
                if is_short_of_descriptors(error) =>
            {
                Some("raise `ulimit -n`".into())
            }
            Self::BuilderDied { .. } | Self::Control(_) | Self::Spawn(_) | Self::Setup(_) => None,
        }
    }
}

/// Whether this process, or the whole machine, has as many files open as it may.
#[must_use]
pub fn is_short_of_descriptors(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(errno, Some(Errno::EMFILE | Errno::ENFILE))
}

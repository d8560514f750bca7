//! What a reload looks at again.

use wasmcluster_core::app::{Guest, Serving};
use wasmcluster_core::cluster::Plan;

use crate::component::Component;

/// What a generation is made from. Everything else about an app stays as it began.
#[derive(Clone, Debug)]
pub struct Configuration {
    /// The component.
    pub component: Component,
    /// What the guest is granted and limited to.
    pub guest: Guest,
    /// How workers treat connections and requests.
    pub serving: Serving,
    /// How carefully a new version replaces the one that is served.
    pub rollout: Plan,
}

/// Why there is no configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Misconfigured {
    /// What is wrong, and where.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// Looks again. It must not end the process, whatever it finds.
pub type Reread = Box<dyn FnMut() -> Result<Configuration, Misconfigured>>;

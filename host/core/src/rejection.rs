//! Why a component cannot be served, in words that say what to do.

use serde::{Deserialize, Serialize};

/// A component that no worker will ever serve as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Rejection {
    /// What is wrong, lower case, without a full stop.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Rejection {
    /// A rejection with something to do about it.
    pub fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { message: message.into(), hint: Some(hint.into()) }
    }

    /// One because the kernel does not have all that `--sandbox required` asks for.
    #[must_use]
    pub fn unsandboxed(missing: &str) -> Self {
        Self::new(
            format!("the sandbox that is required cannot be had: {missing}"),
            "`--sandbox best-effort` does without what this machine does not have",
        )
    }
}

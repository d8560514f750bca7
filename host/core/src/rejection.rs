//! Why a component cannot be served, in words that say what to do.

use serde::{Deserialize, Serialize};

use crate::limit::Limit;

/// A component that no worker will ever serve as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Rejection {
    /// What is wrong, lower case, without a full stop.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// Of what it wants too much, if that is why.
    pub limit: Option<Limit>,
}

impl Rejection {
    /// A rejection with something to do about it.
    pub fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { message: message.into(), hint: Some(hint.into()), limit: None }
    }

    /// A rejection that nothing can be done about, as far as we know.
    pub fn without_hint(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, limit: None }
    }

    /// A rejection because of a limit that may be raised.
    pub fn past(limit: Limit, message: impl Into<String>) -> Self {
        Self { limit: Some(limit), ..Self::new(message, format!("raise `--{limit}`")) }
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

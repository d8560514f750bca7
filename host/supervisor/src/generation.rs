//! What generations are made of, and from.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use wasmcluster_core::app::{Guest, Serving};
use wasmcluster_core::message::Built;

use crate::builder::{self, Task};
use crate::cache::Cache;
use crate::child::Executable;
use crate::component::Component;
use crate::error::ServeError;
use wasmcluster_core::record::Record;

/// What every worker of a generation gets.
#[derive(Debug)]
pub(crate) struct Build {
    /// What its component is called.
    pub(crate) name: String,
    pub(crate) artifact: OwnedFd,
    pub(crate) built: Built,
    pub(crate) guest: Guest,
    pub(crate) serving: Serving,
}

impl Build {
    /// Whether nobody could tell the two apart.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        (&self.built.digest, &self.guest, &self.serving)
            == (&other.built.digest, &other.guest, &other.serving)
    }
}

/// What generations are built from.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    pub(crate) component: Component,
    pub(crate) guest: Guest,
    pub(crate) serving: Serving,
    pub(crate) cache: Arc<Cache>,
    /// Where components are kept, if they are.
    pub(crate) kept: Option<Arc<OwnedFd>>,
    pub(crate) executable: Arc<Executable>,
}

/// Where the bytes of one generation's component come from.
#[derive(Debug)]
pub(crate) enum Source {
    /// From where the app's own component is.
    Own,
    /// From whoever pushed it.
    Sent { name: String, bytes: OwnedFd },
    /// From where components are kept that were served before.
    Kept { name: String, bytes: OwnedFd, digest: String },
}

impl Origin {
    /// What a component is called that comes from there.
    pub(crate) fn name(&self, source: &Source) -> String {
        match source {
            Source::Own => self.component.name(),
            Source::Sent { name, .. } | Source::Kept { name, .. } => name.clone(),
        }
    }

    /// Builds what is there now. Dropping the future ends the builder.
    pub(crate) async fn build(
        &self,
        source: Source,
        records: &mut impl FnMut(Record),
    ) -> Result<Build, ServeError> {
        let Self { component, guest, serving, cache, kept, executable } = self;
        let name = self.name(&source);
        let (bytes, expected) = match source {
            Source::Own => (component.open()?, None),
            Source::Sent { bytes, .. } => (bytes, None),
            Source::Kept { bytes, digest, .. } => (bytes, Some(digest)),
        };
        let kept = kept.as_ref().map(|kept| kept.try_clone()).transpose().map_err(ServeError::Spawn)?;
        let task = Task { name: name.clone(), bytes, expected, kept };
        let built = builder::build(executable, task, cache, records).await?;
        let artifact = cache.artifact(&built.artifact)?;
        Ok(Build { name, artifact, built, guest: guest.clone(), serving: serving.clone() })
    }
}

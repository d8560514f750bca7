//! What generations are made of, and from.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wasmcluster_core::app::{Guest, Serving};
use wasmcluster_core::message::Built;

use crate::builder::{self, Task};
use crate::cache::Cache;
use crate::child::Executable;
use crate::component::Component;
use crate::error::ServeError;
use crate::upgrade::{Descriptors, Passed};
use wasmcluster_core::record::Record;

/// What every worker of a generation gets.
#[derive(Debug)]
pub(crate) struct Build {
    /// What its component is called.
    pub(crate) name: String,
    pub(crate) artifact: OwnedFd,
    /// The program that made the artifact, and can run it.
    pub(crate) executable: Arc<Executable>,
    pub(crate) built: Built,
    pub(crate) guest: Guest,
    pub(crate) serving: Serving,
}

/// A [`Build`] on its way to another program.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PassedBuild {
    name: String,
    artifact: Passed,
    executable: Passed,
    built: Built,
    guest: Guest,
    serving: Serving,
}

impl Build {
    /// What somebody else needs to go on with it.
    pub(crate) fn pass(self, descriptors: &mut Descriptors) -> io::Result<PassedBuild> {
        let Self { name, artifact, executable, built, guest, serving } = self;
        let executable = executable.pass(descriptors)?;
        Ok(PassedBuild { name, artifact: descriptors.put(artifact), executable, built, guest, serving })
    }

    /// Goes on with what somebody else had.
    pub(crate) fn take(passed: PassedBuild, descriptors: &mut Descriptors) -> io::Result<Self> {
        let PassedBuild { name, artifact, executable, built, guest, serving } = passed;
        let executable = Arc::new(Executable::take(executable, descriptors)?);
        Ok(Self { name, artifact: descriptors.take(artifact)?, executable, built, guest, serving })
    }

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
        let (limits, sandbox) = (guest.compile, guest.sandbox);
        let task = Task { name: name.clone(), bytes, expected, kept, limits, sandbox };
        let built = builder::build(executable, task, cache, records).await?;
        let artifact = cache.artifact(&built.artifact)?;
        let mut guest = guest.clone();
        if built.single_use && guest.max_instance_reuse_count.is_some_and(|most| most > 1) {
            records(Record::ReuseRefused { component: name.clone() });
            guest.max_instance_reuse_count = Some(1);
        }
        Ok(Build {
            name,
            artifact,
            executable: Arc::clone(executable),
            built,
            guest,
            serving: serving.clone(),
        })
    }
}

//! What generations are made of, and from.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use wasmcluster_core::app::{Guest, Serving};
use wasmcluster_core::message::Built;

use crate::builder;
use crate::cache::Cache;
use crate::child::Executable;
use crate::component::Component;
use crate::error::ServeError;
use crate::record::Record;

/// What every worker of a generation gets.
#[derive(Debug)]
pub(crate) struct Build {
    pub(crate) artifact: OwnedFd,
    pub(crate) built: Built,
    pub(crate) guest: Guest,
    pub(crate) serving: Serving,
}

/// What generations are built from.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    pub(crate) component: Component,
    pub(crate) guest: Guest,
    pub(crate) serving: Serving,
    pub(crate) cache: Arc<Cache>,
    pub(crate) executable: Arc<Executable>,
}

impl Origin {
    /// Builds what the component is now. Dropping the future ends the builder.
    pub(crate) async fn build(&self, records: &mut impl FnMut(Record)) -> Result<Build, ServeError> {
        let Self { component, guest, serving, cache, executable } = self;
        let bytes = component.open()?;
        let built = builder::build(executable, component.name(), bytes, cache, records).await?;
        let artifact = cache.artifact(&built.artifact)?;
        Ok(Build { artifact, built, guest: guest.clone(), serving: serving.clone() })
    }
}

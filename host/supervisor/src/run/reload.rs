//! The next generation: having it built, and wanting it.

use tokio::task::JoinSet;
use wasmcluster_core::cluster::{Event, Generation};

use super::Supervisor;
use crate::error::ServeError;
use crate::generation::Build;
use crate::record::Record;

impl<R: FnMut(Record)> Supervisor<R> {
    /// Builds what the component is now. A build that is under way is of something older.
    pub(super) fn reload(&mut self) {
        if self.asked_to_stop {
            return;
        }
        (self.records)(Record::Reloading { component: self.origin.component.name() });
        self.rebuilding.abort_all();
        let (origin, says) = (self.origin.clone(), self.builder_says.clone());
        self.rebuilding.spawn(async move {
            origin
                .build(&mut |record| {
                    // Nobody listens when everything ends.
                    let _ = says.send(record);
                })
                .await
        });
    }

    /// Rolls out what was built, if it could be.
    pub(super) fn rebuilt(&mut self, built: Result<Build, ServeError>) {
        match built {
            Ok(build) => {
                self.newest = Generation(self.newest.0 + 1);
                self.builds.insert(self.newest, build);
                self.tell(Event::Roll { generation: self.newest, plan: self.rollout });
            }
            Err(error) => (self.records)(Record::ReloadFailed {
                message: error.to_string(),
                hint: error.hint(),
                serving: self.cluster.generation(),
            }),
        }
    }
}

/// The next build that came to its end; none if none is under way. Cancel safe.
///
/// One that was ended because another is wanted is passed over here: a branch of `select` that it failed to match would
/// be off until something else happens, and on an idle app nothing does.
pub(super) async fn next_build(
    rebuilding: &mut JoinSet<Result<Build, ServeError>>,
) -> Option<Result<Build, ServeError>> {
    loop {
        if let Ok(built) = rebuilding.join_next().await? {
            return Some(built);
        }
    }
}

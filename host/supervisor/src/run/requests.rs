//! What commands ask, and what they hear.

use wasmcluster_core::control::{AppStatus, FromSupervisor, ToSupervisor};

use super::Supervisor;
use crate::control::Answers;
use crate::record::Record;

impl<R: FnMut(Record)> Supervisor<R> {
    pub(super) fn answer(&mut self, request: ToSupervisor, answers: Answers) {
        match request {
            ToSupervisor::Status => answers.send(FromSupervisor::Status(Box::new(self.status()))),
            ToSupervisor::Stop { fast } => {
                if fast || !self.cluster.is_stopping() {
                    self.stop(fast);
                }
                answers.send(FromSupervisor::Stopping);
                self.awaiting_end.retain(Answers::are_awaited);
                self.awaiting_end.push(answers);
            }
        }
    }

    fn status(&self) -> AppStatus {
        let pid = |worker| Some(self.workers.get(&worker)?.handle.pid);
        AppStatus {
            name: self.control.name().clone(),
            pid: std::process::id(),
            addr: self.claim.addr,
            component: self.origin.component.name(),
            digest: self
                .builds
                .get(&self.cluster.generation())
                .map(|build| build.built.digest.clone())
                .unwrap_or_default(),
            uptime: self.started.elapsed(),
            cluster: self.cluster.status(self.now(), pid),
        }
    }
}

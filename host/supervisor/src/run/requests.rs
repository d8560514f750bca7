//! What commands ask, and what they hear.

use std::os::fd::OwnedFd;

use wasmcluster_core::control::{AppStatus, FromSupervisor, ToSupervisor};
use wasmcluster_core::history::Way;

use super::Supervisor;
use crate::control::Answers;
use crate::generation::Source;

impl Supervisor<'_> {
    pub(super) fn answer(
        &mut self,
        request: ToSupervisor,
        descriptor: Option<OwnedFd>,
        mut answers: Answers,
    ) {
        match request {
            ToSupervisor::Status => answers.end(FromSupervisor::Status(Box::new(self.status()))),
            ToSupervisor::Push { name } => self.push(name, descriptor, answers),
            ToSupervisor::Reload => self.renew_for(answers, Way::Reload, Source::Own),
            ToSupervisor::Rollback { to } => self.roll_back(to, answers),
            ToSupervisor::Scale(change) => self.scale_for(change, answers),
            ToSupervisor::Restart { slot } => self.restart_for(slot, answers),
            ToSupervisor::Upgrade => self.upgrade_for(answers),
            ToSupervisor::History => {
                answers.end(FromSupervisor::History(self.means.chronicle.history().entries().to_vec()));
            }
            ToSupervisor::Logs { last, follow } => self.means.log.borrow_mut().show(last, follow, answers),
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
        let build = self.builds.get(&self.cluster.generation());
        AppStatus {
            name: self.means.control.name().clone(),
            pid: std::process::id(),
            addr: self.claim.addr,
            component: build.map(|build| build.name.clone()).unwrap_or_default(),
            digest: build.map(|build| build.built.digest.clone()).unwrap_or_default(),
            uptime: self.started.elapsed(),
            confinement: self.conditions.as_ref().map(|conditions| conditions.confinement.clone()),
            user: self.conditions.as_ref().map(|conditions| conditions.user.clone()),
            reached: self.reached.clone(),
            cluster: self.cluster.status(self.now(), pid),
        }
    }
}

//! The next generation: having it built, and wanting it.

use std::os::fd::OwnedFd;

use tokio::task::JoinSet;
use wasmcluster_core::cluster::{Event, Generation};
use wasmcluster_core::control::{Begun, Ended, Fault, FromSupervisor};
use wasmcluster_core::history::{Entry, Fate, Way};
use wasmcluster_core::record::Record;

use super::Supervisor;
use super::waiting::{Asker, Waiter, Wanted};
use crate::configuration::Configuration;
use crate::control::Answers;
use crate::error::ServeError;
use crate::generation::{Build, Source};
use crate::history::now;
use crate::limits;
use crate::watch::Watch;

/// A generation that is being built.
pub(super) struct Coming {
    way: Way,
    /// None where nobody waits: a signal has no one to answer to.
    asker: Option<Asker>,
}

impl Supervisor<'_> {
    /// Builds what the app's own component is now, because a signal says so.
    pub(super) fn reload(&mut self) {
        if !self.cluster.is_stopping() {
            self.renew(Way::Reload, Source::Own, None);
        }
    }

    /// Builds what the app's own component is now, because its file has changed.
    pub(super) fn look_again(&mut self) {
        if !self.cluster.is_stopping() {
            self.renew(Way::Watch, Source::Own, None);
        }
    }

    /// Builds what somebody sent.
    pub(super) fn push(&mut self, name: String, bytes: Option<OwnedFd>, answers: Answers) {
        match bytes {
            Some(bytes) => self.renew_for(answers, Way::Push, Source::Sent { name, bytes }),
            None => self.refuse(answers, Fault::Other, "there came no file with the push", None),
        }
    }

    /// Builds the component of an older generation under what is configured now. One whose slots have not all been left
    /// is returned to as it is.
    pub(super) fn roll_back(&mut self, to: Option<Generation>, answers: Answers) {
        if let Some(from) = self.cluster.replaced()
            && to.is_none_or(|to| to == from)
            && !self.cluster.is_stopping()
        {
            return self.turn_back(from, answers);
        }
        let history = self.means.chronicle.history();
        let entry = match history.target(to, self.cluster.generation()) {
            Ok(entry) => entry.clone(),
            Err(error) => {
                let hint = "`wasmcluster history` lists what there is".to_owned();
                return self.refuse(answers, Fault::Component, error.to_string(), Some(hint));
            }
        };
        match self.means.chronicle.component(&entry) {
            Ok(bytes) => {
                let Entry { generation: to, component: name, digest, .. } = entry;
                self.renew_for(answers, Way::Rollback { to }, Source::Kept { name, bytes, digest });
            }
            Err(error) => {
                let hint = format!("push the component again; it was called `{}`", entry.component);
                self.refuse(answers, Fault::Component, error.to_string(), Some(hint));
            }
        }
    }

    /// Gives up the rollout that is under way, or goes on doing so.
    fn turn_back(&mut self, from: Generation, mut answers: Answers) {
        answers.send(FromSupervisor::Heard);
        let failing = self.cluster.generation();
        answers.send(FromSupervisor::Begun(Begun::Rolling { generation: from, from: failing }));
        self.forget_coming();
        self.waiting.add(Waiter::new(Wanted::Return(from), Asker::new(answers)));
        self.tell(Event::Roll { generation: from, plan: self.means.rollout });
    }

    /// Builds for somebody who waits for what becomes of it.
    pub(super) fn renew_for(&mut self, mut answers: Answers, way: Way, source: Source) {
        if self.cluster.is_stopping() {
            return self.refuse(answers, Fault::Other, "the app is stopping", None);
        }
        answers.send(FromSupervisor::Heard);
        self.renew(way, source, Some(Asker::new(answers)));
    }

    /// Builds. What is being built for somebody else is not wanted any more.
    pub(super) fn renew(&mut self, way: Way, source: Source, asker: Option<Asker>) {
        if way == Way::Reload
            && let Err(error) = self.reconfigure()
        {
            return self.fail(&error, asker);
        }
        let component = self.means.origin.name(&source);
        (self.means.records)(match way {
            Way::Start | Way::Reload | Way::Watch => Record::Reloading { component },
            Way::Upgrade => Record::Renewing { component },
            Way::Push => Record::Pushed { component },
            Way::Rollback { to } => Record::RollingBack { component, to },
        });
        self.forget_coming();
        self.coming = Some(Coming { way, asker });
        let (origin, says) = (self.means.origin.clone(), self.builder_says.clone());
        self.rebuilding.spawn(async move {
            origin
                .build(source, &mut |record| {
                    // Nobody listens when everything ends.
                    let _ = says.send(record);
                })
                .await
        });
    }

    /// Ends the build that is under way, because something else is wanted.
    fn forget_coming(&mut self) {
        self.rebuilding.abort_all();
        if let Some(Coming { asker: Some(asker), .. }) = self.coming.take() {
            asker.answers.end(FromSupervisor::Ended(Ended::Superseded { generation: None }));
        }
    }

    /// Ends the build that is under way, because everything ends.
    pub(super) fn stop_building(&mut self) {
        self.rebuilding.abort_all();
        if let Some(Coming { asker: Some(asker), .. }) = self.coming.take() {
            self.refuse(asker.answers, Fault::Other, "the app is stopping", None);
        }
    }

    /// What a builder says, for the log and for whoever waits for it.
    pub(super) fn pass_on(&mut self, record: Record) {
        if let Some(Coming { asker: Some(asker), .. }) = &mut self.coming {
            asker.tell(&record);
        }
        (self.means.records)(record);
    }

    /// Rolls out what was built, if it could be.
    pub(super) fn rebuilt(&mut self, built: Result<Build, ServeError>) {
        let Some(Coming { way, asker }) = self.coming.take() else { return };
        let serving = self.cluster.generation();
        match built {
            Ok(build) if !matches!(way, Way::Reload | Way::Upgrade) && self.is_served(&build) => {
                (self.means.records)(Record::Unchanged { component: build.name, generation: serving });
                if let Some(asker) = asker {
                    asker.answers.end(FromSupervisor::Ended(Ended::Unchanged { generation: serving }));
                }
            }
            Ok(build) => self.roll(build, way, asker),
            Err(error) => self.fail(&error, asker),
        }
    }

    /// Takes what is configured now for everything that is built from here on.
    fn reconfigure(&mut self) -> Result<(), ServeError> {
        let Configuration { component, guest, serving, rollout } = (self.means.reread)()?;
        let slots = u16::try_from(self.cluster.active().count()).unwrap_or(u16::MAX);
        limits::raise_descriptors(slots, serving.max_connections)?;
        let watched = component.name() == self.means.origin.component.name() && self.means.watch.is_some();
        if self.means.options.watch && !watched {
            let failed = |source| ServeError::Watch { component: component.name(), source };
            self.means.watch = Watch::of(&component).map_err(failed)?;
        }
        (self.means.origin.component, self.means.origin.guest, self.means.origin.serving) =
            (component, guest, serving);
        self.means.rollout = rollout;
        Ok(())
    }

    /// There will be no new generation.
    pub(super) fn fail(&mut self, error: &ServeError, asker: Option<Asker>) {
        if let ServeError::Rejected(rejection) = error {
            self.count(rejection);
        }
        let (message, hint) = (error.to_string(), error.hint());
        let serving = self.cluster.replaced().unwrap_or(self.cluster.generation());
        if let Some(asker) = asker {
            self.refuse(asker.answers, fault(error), message.clone(), hint.clone());
        }
        (self.means.records)(Record::ReloadFailed { message, hint, serving });
    }

    fn roll(&mut self, build: Build, way: Way, asker: Option<Asker>) {
        let generation = self.means.chronicle.history().next();
        let from = self.cluster.replaced().unwrap_or(self.cluster.generation());
        self.means.chronicle.begin(entry(generation, &build, way));
        self.builds.insert(generation, build);
        self.newest = generation;
        if let Some(mut asker) = asker {
            asker.answers.send(FromSupervisor::Begun(Begun::Rolling { generation, from }));
            self.waiting.add(Waiter::new(Wanted::Generation(generation), asker));
        }
        self.tell(Event::Roll { generation, plan: self.means.rollout });
    }

    /// Whether this is what all slots serve, or will again once their workers are back.
    fn is_served(&self, build: &Build) -> bool {
        let serving = self.builds.get(&self.cluster.generation());
        self.cluster.replaced().is_none() && serving.is_some_and(|serving| serving.is_like(build))
    }

    fn refuse(&self, answers: Answers, fault: Fault, message: impl Into<String>, hint: Option<String>) {
        let serving = self.cluster.replaced().unwrap_or(self.cluster.generation());
        let refused = Ended::Refused { fault, message: message.into(), hint, serving: Some(serving) };
        answers.end(FromSupervisor::Ended(refused));
    }
}

/// What is remembered of a generation that was just built.
pub(super) fn entry(generation: Generation, build: &Build, way: Way) -> Entry {
    Entry {
        generation,
        component: build.name.clone(),
        digest: build.built.digest.clone(),
        bytes: build.built.bytes,
        at: now(),
        way,
        fate: Fate::Rolling,
    }
}

fn fault(error: &ServeError) -> Fault {
    match error {
        ServeError::Component(_) | ServeError::Rejected(_) => Fault::Component,
        ServeError::Cache(_) => Fault::Cache,
        ServeError::Misconfigured(_) => Fault::Usage,
        _ => Fault::Other,
    }
}

/// The next task that came to its end; none if none is under way. Cancel safe.
///
/// One that was ended because another is wanted is passed over here: a branch of `select` that it failed to match would
/// be off until something else happens, and on an idle app nothing does.
pub(super) async fn next<T: 'static>(tasks: &mut JoinSet<T>) -> Option<T> {
    loop {
        if let Ok(ended) = tasks.join_next().await? {
            return Some(ended);
        }
    }
}

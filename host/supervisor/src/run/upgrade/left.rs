//! What a supervisor leaves to another program, as plain data.

use core::net::SocketAddr;
use core::time::Duration;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use wasmcluster_core::app::{Guest, Serving};
use wasmcluster_core::cluster::{Cluster, Generation, Plan, Settings, SlotId, WorkerId};
use wasmcluster_core::history::Entry;
use wasmcluster_core::limit::Reached;
use wasmcluster_core::message::Conditions;
use wasmcluster_core::rejection::Rejection;
use wasmcluster_core::stealing::Stealing;

use crate::Options;
use crate::component::Component;
use crate::configuration::Configuration;
use crate::control::PassedControl;
use crate::generation::PassedBuild;
use crate::history::Memory;
use crate::log::PassedLog;
use crate::run::waiting::{PassedAsker, PassedWaiting};
use crate::rundir::Naming;
use crate::signals::Wish;
use crate::singleton::PassedClaim;
use crate::upgrade::Passed;
use crate::watch::PassedWatch;
use crate::worker::{PassedWorker, WorkerInput};

/// Everything that is left to the next program, but for the descriptors.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Left {
    /// Which program that is.
    pub(crate) program: PathBuf,
    /// The one that it takes the place of.
    pub(crate) before: Passed,
    /// What it was told, for the case that it has to go on after all.
    pub(super) options: LeftOptions,
    pub(crate) cache: Passed,
    pub(super) watch: Option<PassedWatch>,
    /// By the clock that counts from the machine's start.
    pub(super) started: Duration,
    pub(super) claim: PassedClaim,
    pub(super) control: PassedControl,
    pub(super) stealing: Stealing,
    pub(super) unsteered: bool,
    pub(super) cluster: Cluster,
    pub(super) builds: Vec<(Generation, PassedBuild)>,
    pub(super) first: Generation,
    pub(super) newest: Generation,
    pub(super) workers: Vec<LeftWorker>,
    /// What workers have done, and nobody has looked at yet.
    pub(super) inputs: Vec<(WorkerId, WorkerInput)>,
    pub(super) wishes: Vec<Wish>,
    pub(super) waiting: PassedWaiting,
    pub(super) asker: Option<PassedAsker>,
    pub(super) log: PassedLog,
    pub(super) history: Vec<Entry>,
    pub(super) conditions: Option<Conditions>,
    pub(super) reached: Reached,
    pub(super) rejection: Option<Rejection>,
    pub(crate) serving: bool,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct LeftWorker {
    pub(super) worker: WorkerId,
    pub(super) slot: SlotId,
    pub(super) pid: u32,
    /// None for one that has nothing more to say.
    pub(super) passed: Option<PassedWorker>,
}

/// [`Options`], as they were last. What is built into a program is not in there.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct LeftOptions {
    pub(super) component: Option<PathBuf>,
    pub(super) guest: Guest,
    pub(super) serving: Serving,
    pub(super) rollout: Plan,
    pub(super) watch: bool,
    pub(super) addr: SocketAddr,
    pub(super) cluster: Settings,
    pub(super) cache: PathBuf,
    pub(super) run_dir: PathBuf,
    pub(super) state_dir: Option<PathBuf>,
    pub(super) history: usize,
}

impl LeftOptions {
    pub(super) fn of(
        options: Options,
        component: Component,
        guest: Guest,
        serving: Serving,
        rollout: Plan,
    ) -> Self {
        let Options { watch, addr, cluster, cache, run_dir, memory, .. } = options;
        let component = match component {
            Component::File(path) => Some(path),
            Component::BuiltIn { .. } => None,
        };
        let Memory { directory: state_dir, generations: history } = memory;
        Self { component, guest, serving, rollout, watch, addr, cluster, cache, run_dir, state_dir, history }
    }
}

impl Left {
    /// With which options the app was served.
    pub(crate) fn options(&self, built_in: Component) -> Options {
        let LeftOptions { guest, serving, rollout, watch, addr, cluster, cache, run_dir, .. } = &self.options;
        let component = self.options.component.clone().map_or(built_in, Component::File);
        let (guest, serving) = (guest.clone(), serving.clone());
        let memory = Memory { directory: self.options.state_dir.clone(), generations: self.options.history };
        Options {
            configuration: Configuration { component, guest, serving, rollout: *rollout },
            watch: *watch,
            addr: *addr,
            cluster: cluster.clone(),
            cache: cache.clone(),
            naming: Naming::Exactly(self.control.name().clone()),
            run_dir: run_dir.clone(),
            memory,
        }
    }

    /// The history, for whoever goes on with it.
    pub(crate) fn history(&self) -> Vec<Entry> {
        self.history.clone()
    }
}

//! What one app is: what its guest is granted, and how its requests are treated.
//!
//! A generation is a component together with these; both are re-read by a reload.

use core::fmt;
use core::time::Duration;
use std::path::PathBuf;

use fastrand::Rng;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::cluster::WorkerId;
use crate::limit::Limit;
use crate::outbound::OutboundRule;
use crate::rejection::Rejection;

/// What a guest may see and use. Everything absent is denied.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Guest {
    /// Environment variables, in the order given.
    pub env: Vec<(String, String)>,
    /// Directories of the host the guest may open.
    pub dirs: Vec<DirGrant>,
    /// `wasi:config/store` variables.
    pub config: Vec<(String, String)>,
    /// Where outgoing requests may go.
    pub outbound: Vec<OutboundRule>,
    /// How much it may have of everything.
    pub limits: GuestLimits,
    /// How much it may take to compile it.
    pub compile: CompileLimits,
    /// How memory of a finished instance is made fresh.
    pub isolation: Isolation,
    /// The directory for core dumps of guests that trap, if they are kept.
    pub coredump: Option<PathBuf>,
    /// Whether the kernel confines its worker.
    pub sandbox: Sandbox,
    /// Who its worker becomes; without one, it stays who the supervisor is.
    pub user: Option<User>,
    /// How many requests one instance may serve; `None` takes the default of the component's version (1 for 0.2, 128 for 0.3).
    pub max_instance_reuse_count: Option<u32>,
    /// How long an instance may wait for its next request.
    pub idle_instance_timeout: Duration,
}

/// How much a guest may have. Sizes are in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestLimits {
    /// Linear memory of one instance, all of it; growing past it fails.
    pub memory_size: u64,
    /// Elements of its largest table; growing past it fails.
    pub table_elements: u32,
    /// Core instances that one instance of the component consists of.
    pub core_instances: u32,
    /// Resources of the host, such as header lists, bodies, streams and files, that one instance may hold.
    pub resources: u32,
    /// What it may give to the host in one call.
    pub hostcall_size: u64,
    /// Names and values of one list of header fields.
    pub field_size: u64,
    /// Requests that it may send while it serves one.
    pub outbound_requests: u32,
    /// How many of them may be under way at once.
    pub concurrent_outbound_requests: u32,
    /// What their bodies may hold together; `None` is without end.
    pub outbound_size: Option<u64>,
    /// Lines that all guests of a worker may print in a second.
    pub log_lines: u32,
    /// What those may hold together.
    pub log_size: u64,
}

/// How much compiling a component may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompileLimits {
    /// Time of the CPU, on all cores together; counted in whole seconds.
    pub time: Duration,
    /// Memory of the compiler, in bytes.
    pub memory: u64,
}

impl CompileLimits {
    /// Of a component whose compiler needs more time.
    #[must_use]
    pub fn out_of_time(&self, component: &str) -> Rejection {
        let message = format!("compiling `{component}` takes more than {:?} of CPU time", self.time);
        Rejection::past(Limit::MaxCompileTime, message)
    }

    /// Of one whose compiler needs more memory.
    #[must_use]
    pub fn out_of_memory(&self, component: &str) -> Rejection {
        let message = format!("compiling `{component}` takes more than {} bytes of memory", self.memory);
        Rejection::past(Limit::MaxCompileMemory, message)
    }
}

/// A directory of the host under a name of the guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirGrant {
    /// The directory on the host.
    pub host: PathBuf,
    /// What the guest calls it.
    pub guest: String,
    /// Whether the guest may change what is in it.
    pub writable: bool,
}

/// How carefully the memory of a used instance is erased.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Isolation {
    /// Reset the pages that the kernel reports as written, where the guard says that its answer can be trusted.
    #[default]
    Fast,
    /// Give every page back to the kernel.
    Strict,
}

/// Whether a worker gives up what it does not need of the machine, before it runs a guest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sandbox {
    /// No.
    Off,
    /// As far as the kernel helps.
    #[default]
    BestEffort,
    /// Completely, or it does not serve.
    Required,
}

/// A user of the machine, with the groups that a process of theirs is in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// What they are called, where that is known.
    pub name: Option<String>,
    /// Their number.
    pub uid: u32,
    /// The number of their group.
    pub gid: u32,
    /// The numbers of all their groups, in ascending order.
    pub groups: Vec<u32>,
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, uid, gid, .. } = self;
        match name {
            Some(name) => write!(f, "{name} ({uid}:{gid})"),
            None => write!(f, "{uid}:{gid}"),
        }
    }
}

/// How a worker treats connections and requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Serving {
    /// Wall and CPU time of one request, from its head to the end of its response; `None` is without end.
    pub timeout: Option<Duration>,
    /// How long a client may take to send a request's head, also before the first byte.
    pub header_timeout: Duration,
    /// How long a client may be silent in the middle of a request's body.
    pub body_timeout: Duration,
    /// How long an idle keep-alive connection is kept.
    pub keep_alive_timeout: Duration,
    /// Largest request head in bytes.
    pub max_header_size: u32,
    /// Longest target of a request in bytes.
    pub max_target_size: u32,
    /// Header fields of a request.
    pub max_headers: u32,
    /// Largest body of a request in bytes; `None` is without end.
    pub max_body_size: Option<u64>,
    /// Largest body of a response in bytes; `None` is without end.
    pub max_response_size: Option<u64>,
    /// How many bytes of one are sent in a second; `None` is as fast as it goes.
    pub max_response_rate: Option<u64>,
    /// Requests in the guest at once; more wait.
    pub max_concurrent_requests: u32,
    /// Requests that may wait for their turn; more are refused.
    pub max_waiting_requests: u32,
    /// Open connections at once; more wait in the kernel's queue.
    pub max_connections: u32,
    /// How many of them may be of one address; one more is closed.
    pub max_connections_per_address: u32,
    /// Requests that one of them may carry.
    pub max_keep_alive_requests: u32,
    /// How many requests of HTTP/2 may be under way at once on one of them.
    pub max_http2_streams: u32,
    /// How many of those a client may take back before they were looked at; one more ends the connection.
    pub max_http2_resets: u32,
    /// Whose word is taken for where a request comes from.
    pub trusted_proxies: Vec<IpNet>,
    /// The path of a request that the guest must answer well before its worker is ready.
    pub probe: Option<String>,
    /// Requests after which a worker makes room for another one.
    pub max_requests: Option<u64>,
    /// Memory in bytes, of the whole process, from which on it does.
    pub max_memory: Option<u64>,
    /// Whether clients are told what went wrong in the guest.
    pub dev: bool,
}

impl Serving {
    /// The same for one worker of many. Workers that started together must not all be worn at the same time, so each
    /// serves up to a tenth fewer requests, by a number that is its own.
    #[must_use]
    pub fn of_worker(&self, worker: WorkerId) -> Self {
        let fewer = |most: u64| most - Rng::with_seed(worker.0).u64(0..=most / 10);
        Self { max_requests: self.max_requests.map(fewer), ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_that_start_together_are_not_worn_together() {
        let second = Duration::from_secs(1);
        let serving = Serving {
            timeout: None,
            header_timeout: second,
            body_timeout: second,
            keep_alive_timeout: second,
            max_header_size: 1,
            max_target_size: 1,
            max_headers: 1,
            max_body_size: None,
            max_response_size: None,
            max_response_rate: None,
            max_concurrent_requests: 1,
            max_waiting_requests: 1,
            max_connections: 1,
            max_connections_per_address: 1,
            max_keep_alive_requests: 1,
            max_http2_streams: 1,
            max_http2_resets: 1,
            trusted_proxies: Vec::new(),
            probe: None,
            max_requests: Some(1_000),
            max_memory: Some(1),
            dev: false,
        };
        let most = |worker| serving.of_worker(WorkerId(worker)).max_requests.unwrap_or_default();
        assert!((1..1_000).all(|worker| (900..=1_000).contains(&most(worker))));
        assert!((1..8).any(|worker| most(worker) != most(0)));
        assert_eq!(Serving { max_requests: Some(1), ..serving }.of_worker(WorkerId(1)).max_requests, Some(1));
    }
}

//! What one app is: what its guest is granted, and how its requests are treated.
//!
//! A generation is a component together with these; both are re-read by a reload.

use core::time::Duration;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::outbound::OutboundRule;

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
    /// Largest linear memory of one instance in bytes; growing past it fails.
    pub max_memory_size: u64,
    /// How memory of a finished instance is made fresh.
    pub isolation: Isolation,
    /// How many requests one instance may serve; `None` takes the default of the component's version (1 for 0.2, 128 for 0.3).
    pub max_instance_reuse_count: Option<u32>,
    /// How long an instance may wait for its next request.
    pub idle_instance_timeout: Duration,
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
    /// Requests in the guest at once; more wait.
    pub max_concurrent_requests: u32,
    /// Open connections at once; more wait in the kernel's queue.
    pub max_connections: u32,
}

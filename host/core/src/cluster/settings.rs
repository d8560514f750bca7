//! What an operator can choose about a cluster.

use core::num::NonZeroU16;
use core::time::Duration;

use serde::{Deserialize, Serialize};

/// The settings of a [`Cluster`](super::Cluster). They change only
/// [when another driver takes over](super::Cluster::under).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Settings {
    /// How many slots share the address.
    pub slots: NonZeroU16,
    /// How long a worker may take from its spawn until it is ready. After that it is killed.
    pub listen_timeout: Duration,
    /// How long a worker may take to finish its requests once it was told to drain. After that the worker itself
    /// cuts what is left, reports how much that was, and exits.
    pub kill_timeout: Duration,
    /// What a worker gets between its drain deadline and SIGKILL, to cut, report and exit.
    pub exit_grace: Duration,
    /// How long a worker that serves may be silent. After that it is killed: something holds it up that is no guest. None
    /// to wait for ever.
    pub heartbeat_timeout: Option<Duration>,
    /// How long a worker that serves may be silent until new connections go to others, if there are any. Never where it is
    /// killed no later than that, or if there is none.
    pub stuck_after: Option<Duration>,
    /// How many unstable exits a slot may have within `restart_window`. One more and it is errored.
    pub max_restarts: u32,
    /// The length of the window in which unstable exits are counted. It slides: an exit counts until it is older
    /// than this.
    pub restart_window: Duration,
    /// How long a worker must have been ready for its exit to be a stable one: one that is answered by an immediate
    /// restart, is not counted against `max_restarts`, and resets the backoff.
    pub min_uptime: Duration,
    /// The delay of the second restart in a row of unstable exits, before jitter. The first is immediate; each one
    /// after the second doubles it.
    pub backoff_base: Duration,
    /// What no delay exceeds.
    pub backoff_cap: Duration,
    /// Where the jitter comes from. Equal seeds and equal events give equal actions.
    pub seed: u64,
}

impl Settings {
    /// Settings for `slots` slots, everything else at its default, with seed 0.
    #[must_use]
    pub fn new(slots: NonZeroU16) -> Self {
        Self {
            slots,
            listen_timeout: Duration::from_secs(10),
            kill_timeout: Duration::from_secs(10),
            exit_grace: Duration::from_millis(500),
            heartbeat_timeout: None,
            stuck_after: None,
            max_restarts: 10,
            // Eleven restarts with the default backoff take 40 s; a worker that also uses up its listen timeout
            // each time needs two minutes more.
            restart_window: Duration::from_secs(300),
            min_uptime: Duration::from_secs(1),
            backoff_base: Duration::from_millis(100),
            backoff_cap: Duration::from_secs(15),
            seed: 0,
        }
    }
}

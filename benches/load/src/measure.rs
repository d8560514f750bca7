//! One turn: a server, a client, and what they came to.

use std::ffi::OsString;
use std::process::Stdio;

use crate::launch;
use crate::order::Outcome;
use crate::peer::{CONTENT_TYPE, Peer};
use crate::sample::Sample;
use crate::server::{Server, body, check_shape};
use crate::{Error, Result};

/// What a turn looks like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turn {
    pub(crate) instances: u32,
    pub(crate) connections: u32,
    pub(crate) load: Load,
    /// Whether the client sleeps until something comes.
    pub(crate) sleep: bool,
    /// CPUs of server and client, if they are held to one each.
    pub(crate) cpus: Option<(usize, usize)>,
}

/// What the client does.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Load {
    Closed { milliseconds: u64 },
    Open { milliseconds: u64, rate: f64 },
    Fresh { requests: u64 },
}

impl Turn {
    /// Starts `peer`, loads it, and ends it.
    pub(crate) fn take(&self, peer: &dyn Peer) -> Result<Sample> {
        let server = Server::start(peer, self.instances, self.cpus.map(|(server, _)| server))?;
        let head = peer.has_our_head().then_some(CONTENT_TYPE);
        let body = match peer.body() {
            Some(body) => check_shape(&server, head, body).map(|()| body.to_owned()),
            None => body(&server),
        };
        let body = body.map_err(|error| format!("{} {error}", peer.name()))?;
        let outcome = self.load(&server, &["--body", &body])?;
        let cpu_micros = outcome.cpu_micros(peer.name())?;
        #[expect(clippy::cast_precision_loss, reason = "requests and bytes are far below 2^53")]
        let (requests, chunked, megabytes) =
            (outcome.requests as f64, outcome.chunked as f64, |bytes: u64| bytes as f64 / 1e6);
        Ok(Sample {
            requests_per_second: requests / outcome.seconds,
            cpu_micros,
            p50_micros: outcome.p50_micros,
            p99_micros: outcome.p99_micros,
            p999_micros: outcome.p999_micros,
            client_busy: outcome.client_busy,
            server_waited: outcome.server_waited_seconds / outcome.seconds,
            chunked: chunked / requests,
            worker_pss_mb: megabytes(server.worker_pss()?),
            supervisor_pss_mb: server.supervisor_pss()?.map(megabytes),
        })
    }

    /// Runs the client against a server that is there.
    pub(crate) fn load(&self, server: &Server, more: &[&str]) -> Result<Outcome> {
        let mut command: Vec<OsString> = vec![std::env::current_exe()?.into(), "__load".into()];
        let mut flag = |name: &str, value: String| command.extend([format!("--{name}").into(), value.into()]);
        flag("addr", server.addr.to_string());
        flag("connections", self.connections.to_string());
        match self.load {
            Load::Closed { milliseconds } => {
                flag("pace", "closed".into());
                flag("milliseconds", milliseconds.to_string());
            }
            Load::Open { milliseconds, rate } => {
                flag("pace", "open".into());
                flag("milliseconds", milliseconds.to_string());
                flag("rate", rate.to_string());
            }
            Load::Fresh { requests } => {
                flag("pace", "fresh".into());
                flag("requests", requests.to_string());
                flag("milliseconds", FRESH_AT_MOST.to_string());
            }
        }
        for process in server.processes() {
            flag("watch", process.to_string());
        }
        command.extend(self.sleep.then(|| "--sleep".into()));
        command.extend(more.iter().map(Into::into));
        let mut command = launch::command(&command, self.cpus.map(|(_, client)| client))?;
        let output = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?.wait_with_output()?;
        if !output.status.success() {
            return Err(Error::from(format!(
                "the client failed: {}",
                String::from_utf8_lossy(&output.stderr)
            )));
        }
        Ok(serde_json::from_slice(&output.stdout)?)
    }
}

/// A bound in milliseconds for turns that count requests.
const FRESH_AT_MOST: u64 = 60_000;

//! What a guest was granted, opened once and copied into every store.

use core::fmt;
use std::io;
use std::sync::Arc;

use nix::unistd::{AccessFlags, access};
use wasmcluster_core::app::{Guest, GuestLimits};
use wasmtime_wasi::filesystem::WasiFilesystemCtx;
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxBuilder};
use wasmtime_wasi_config::WasiConfigVariables;

use crate::coredump::NextDump;
use crate::last_words::LastWords;
use crate::outbound::Outbound;
use crate::output::LogPipe;
use crate::reports::Reports;

/// A guest's capabilities, shared by all instances of a worker.
pub(crate) struct Grants {
    env: Vec<(String, String)>,
    files: WasiFilesystemCtx,
    config: WasiConfigVariables,
    config_vars: Vec<(String, String)>,
    outbound: Arc<Outbound>,
    stdout: LogPipe,
    stderr: LogPipe,
    limits: GuestLimits,
    reports: Reports,
    next_dump: NextDump,
    dev: bool,
}

impl Grants {
    /// Opens what `guest` was granted. `context` are variables that every guest sees, behind its own.
    ///
    /// # Errors
    /// Fails when a granted directory cannot be opened; the message names it.
    pub(crate) fn open(
        guest: Guest,
        context: Vec<(String, String)>,
        (outbound, reports, next_dump): (Outbound, Reports, NextDump),
        [stdout, stderr]: &[LogPipe; 2],
    ) -> Result<Self, String> {
        let mut builder = WasiCtxBuilder::new();
        for dir in &guest.dirs {
            let perms = if dir.writable { FsPerms::ReadWrite } else { FsPerms::ReadOnly };
            let failed = |error: &dyn fmt::Display| {
                format!("cannot open `{}` for the guest: {error:#}", dir.host.display())
            };
            // One that nobody but its owner may enter can be opened all the same, and then nothing below.
            access(&dir.host, AccessFlags::X_OK).map_err(|errno| failed(&io::Error::from(errno)))?;
            builder.preopened_dir(&dir.host, &dir.guest, perms).map_err(|error| failed(&error))?;
        }
        let mut env = guest.env;
        env.extend(context);
        Ok(Self {
            env,
            files: builder.build().filesystem().clone(),
            config: guest.config.iter().cloned().collect(),
            config_vars: guest.config,
            outbound: Arc::new(outbound),
            stdout: stdout.clone(),
            stderr: stderr.clone(),
            limits: guest.limits,
            reports,
            next_dump,
            dev: false,
        })
    }

    /// The same where what guests print is kept for who writes them.
    pub(crate) fn in_dev(self, dev: bool) -> Self {
        Self { dev, ..self }
    }

    /// A context for one store, and what its guest will have said last.
    pub(crate) fn wasi(&self) -> (WasiCtx, Option<LastWords>) {
        let heard = self.dev.then(LastWords::default);
        let mut ctx = WasiCtxBuilder::new()
            .envs(&self.env)
            .stdout(self.stdout.stream())
            .stderr(self.stderr.heard_stream(heard.clone()))
            .build();
        // `preopened_dir` would open the directory for every store.
        *ctx.filesystem() = self.files.clone();
        (ctx, heard)
    }

    pub(crate) fn config(&self) -> &WasiConfigVariables {
        &self.config
    }

    pub(crate) fn config_vars(&self) -> &[(String, String)] {
        &self.config_vars
    }

    /// Writes what a guest has to say and does not print.
    pub(crate) fn log(&self, text: &str) {
        self.stderr.write(text.as_bytes());
    }

    pub(crate) fn outbound(&self) -> Arc<Outbound> {
        Arc::clone(&self.outbound)
    }

    /// How much an instance may have.
    pub(crate) fn limits(&self) -> &GuestLimits {
        &self.limits
    }

    /// Where its memory goes when it traps.
    pub(crate) fn next_dump(&self) -> &NextDump {
        &self.next_dump
    }

    /// Where it is said that it wanted more.
    pub(crate) fn reports(&self) -> &Reports {
        &self.reports
    }
}

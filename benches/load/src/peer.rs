//! The servers under test. To add one, say here how it is started; everything else is the same for all.

use std::env;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::Result;

/// What every server answers, byte for byte but for the date.
pub(crate) const CONTENT_TYPE: &str = "text/plain";
/// See [`CONTENT_TYPE`].
pub(crate) const BODY: &str = "hello from wasm\n";

/// A server that can be started.
pub(crate) trait Peer {
    fn name(&self) -> &str;

    /// The command lines that together serve `addr` from `instances` processes: one for a server that has a supervisor
    /// of its own, one for each process otherwise.
    fn commands(&self, addr: SocketAddr, instances: u32) -> Result<Vec<Vec<OsString>>>;

    /// What each of them writes to stderr once it is ready.
    fn ready_line(&self) -> &'static str {
        "Serving HTTP on http://"
    }

    /// How many processes it can be, at most.
    fn max_instances(&self) -> u32 {
        u32::MAX
    }

    /// Whether it answers with the headers that bare hyper sends, and no others.
    fn has_our_head(&self) -> bool {
        true
    }

    /// What it answers; nothing where that is what it answers first.
    fn body(&self) -> Option<&str> {
        Some(BODY)
    }

    /// Whether what was promised is promised of this.
    fn is_ours(&self) -> bool {
        false
    }
}

/// Bare hyper: this very program in another role.
pub(crate) struct Hyper;

impl Peer for Hyper {
    fn name(&self) -> &'static str {
        "bare hyper"
    }

    fn commands(&self, addr: SocketAddr, instances: u32) -> Result<Vec<Vec<OsString>>> {
        let command = [
            env::current_exe()?.into(),
            "__hyper".into(),
            "--addr".into(),
            addr.to_string().into(),
            "--content-type".into(),
            CONTENT_TYPE.into(),
            "--body".into(),
            BODY.into(),
        ];
        Ok(vec![command.to_vec(); instances as usize])
    }
}

/// Ours.
#[derive(Clone)]
pub(crate) struct Wasmcluster {
    pub(crate) name: String,
    pub(crate) program: PathBuf,
    pub(crate) cache: PathBuf,
    /// `None` is the demo.
    pub(crate) component: Option<PathBuf>,
    /// See [`Peer::body`].
    pub(crate) body: Option<&'static str>,
    pub(crate) flags: Vec<&'static str>,
}

impl Wasmcluster {
    /// The rows of the benchmark, for the program at `program`.
    pub(crate) fn variants(program: &Path, cache: &Path) -> Vec<Self> {
        let variant = |name: &str, name_of_guest, flags: &[&'static str]| Self {
            name: name.to_owned(),
            program: program.to_owned(),
            cache: cache.to_owned(),
            component: Some(guest(name_of_guest)),
            body: Some(BODY),
            flags: flags.to_vec(),
        };
        vec![
            variant("0.2 fresh", "hello-p2.wasm", &[]),
            variant("0.2 strict", "hello-p2.wasm", &["--isolation", "strict"]),
            variant("0.2 reused", "hello-p2.wasm", &["--max-instance-reuse-count", "1000000"]),
            variant("0.3 reused", "hello-p3.wasm", &[]),
        ]
    }

    /// The built-in demo, which says which slot answers.
    pub(crate) fn demo(program: &Path, cache: &Path) -> Self {
        Self {
            name: "demo".to_owned(),
            program: program.to_owned(),
            cache: cache.to_owned(),
            component: None,
            body: None,
            flags: Vec::new(),
        }
    }

    /// The same with workers that keep all rights, to run beside this one.
    pub(crate) fn without_sandbox(&self) -> Self {
        let mut other = self.clone();
        other.flags.extend(["--sandbox", "off", "--name", "without-sandbox"]);
        other
    }
}

impl Peer for Wasmcluster {
    fn name(&self) -> &str {
        &self.name
    }

    fn commands(&self, addr: SocketAddr, instances: u32) -> Result<Vec<Vec<OsString>>> {
        let mut command: Vec<OsString> = vec![self.program.clone().into(), "serve".into()];
        command.extend(self.component.clone().map(Into::into));
        command.extend(["--addr".into(), addr.to_string().into()]);
        command.extend(["--instances".into(), instances.to_string().into()]);
        command.extend(["--cache-dir".into(), self.cache.clone().into()]);
        // Servers are killed, and what they leave must not lie where the user's own apps are found.
        command.extend(["--run-dir".into(), self.cache.with_file_name("wasmcluster-load-run").into()]);
        command.extend(["--state-dir".into(), self.cache.with_file_name("wasmcluster-load-state").into()]);
        command.extend(self.flags.iter().map(Into::into));
        Ok(vec![command])
    }

    fn body(&self) -> Option<&str> {
        self.body
    }

    fn is_ours(&self) -> bool {
        true
    }
}

/// `wasmtime serve`, which is what most people know, with the same components.
pub(crate) struct WasmtimeServe {
    name: &'static str,
    program: PathBuf,
    component: PathBuf,
    flags: &'static [&'static str],
}

impl WasmtimeServe {
    /// Its rows, for the program at `program`.
    pub(crate) fn variants(program: &Path) -> Vec<Self> {
        let variant = |name, name_of_guest, flags| Self {
            name,
            program: program.to_owned(),
            component: guest(name_of_guest),
            flags,
        };
        vec![
            variant("wasmtime 0.2 fresh", "hello-p2.wasm", &[]),
            variant("wasmtime 0.2 reused", "hello-p2.wasm", &["--max-instance-reuse-count", "1000000"]),
            variant(
                "wasmtime 0.3 reused",
                "hello-p3.wasm",
                &["-W", "component-model-async", "--max-instance-reuse-count", "1000000"],
            ),
        ]
    }
}

impl Peer for WasmtimeServe {
    fn name(&self) -> &str {
        self.name
    }

    fn commands(&self, addr: SocketAddr, _instances: u32) -> Result<Vec<Vec<OsString>>> {
        // Rust's standard library imports wasi:cli.
        let mut command: Vec<OsString> = vec![self.program.clone().into(), "serve".into(), "-Scli".into()];
        command.extend(["--addr".into(), addr.to_string().into()]);
        command.extend(self.flags.iter().map(Into::into));
        command.push(self.component.clone().into());
        Ok(vec![command])
    }

    fn max_instances(&self) -> u32 {
        1
    }

    fn has_our_head(&self) -> bool {
        false
    }
}

/// A component of the tests.
fn guest(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/guests/prebuilt").join(name)
}

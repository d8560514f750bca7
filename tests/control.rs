//! The control socket and the commands that use it: status, list and stop; and what comes there that is none of them.

mod names;
mod status;
mod stop;
mod strangers;

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{Program, Server, Starting, program};

/// A run directory for several apps.
struct Apps(TempDir);

impl Apps {
    fn new() -> Self {
        let closed = Permissions::from_mode(0o700);
        Self(tempfile::Builder::new().permissions(closed).tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn socket(&self, name: &str) -> PathBuf {
        self.path().join(name).join("control.sock")
    }

    fn starting(&self, name: &str, instances: usize) -> Starting {
        Server::of("hello-p2").instances(instances).args(["--name", name]).run_dir(self.path())
    }

    #[track_caller]
    fn start(&self, name: &str, instances: usize) -> Server {
        self.starting(name, instances).start()
    }

    fn command<const N: usize>(&self, args: [&str; N]) -> Program {
        program(args).run_dir(self.path())
    }
}

/// The one value that a command says, having done what was asked.
#[track_caller]
fn json(command: Program) -> Value {
    let finished = command.run();
    finished.expect_code(0);
    assert_eq!(finished.stdout.lines().count(), 1, "{}", finished.explain());
    serde_json::from_str(&finished.stdout).unwrap_or_else(|error| panic!("{error}{}", finished.explain()))
}

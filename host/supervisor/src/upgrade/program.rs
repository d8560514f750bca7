//! Which program goes on in the place of this one, and whether it would.

use core::time::Duration;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;
use tokio::time::{Instant, sleep, timeout};

use super::{VARIABLE, spoken};
use crate::watch::{Identity, identity};

/// First argument of a program that is to say whether it would go on.
pub const TRIAL_ROLE: &str = "__trial";

/// What it says before its version, if it would.
pub(super) const ANSWER: &str = "wasmcluster takes over as version ";

/// How much of what it says is read, in bytes.
const MOST: u64 = 64 << 10;

/// How long it may take to say so.
const PATIENCE: Duration = Duration::from_secs(10);

/// The same while everything waits for it.
const SHORT_PATIENCE: Duration = Duration::from_secs(5);

/// How long somebody may still have it open to write to it. A child of whoever wrote it has, until that executes something.
const BUSY: Duration = Duration::from_secs(1);

/// What this process was started from.
const OWN: &str = "/proc/self/exe";

/// A file with a program: what is there now need not be what was.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    path: PathBuf,
}

/// Why a program is not to go on in the place of this one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Unfit {
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

/// A program that would go on.
#[derive(Clone, Debug)]
pub(crate) struct Tried {
    pub(crate) version: String,
    identity: Identity,
}

impl Program {
    /// What this process was started from, by the name that it was called by: a link may lead somewhere else by now.
    pub(crate) fn of_this_process() -> io::Result<Self> {
        let called = std::env::args_os().next().unwrap_or_default();
        let search = std::env::var_os("PATH").unwrap_or_default();
        let ours = fs::metadata(OWN)?;
        let is_ours = |path: &PathBuf| {
            fs::metadata(path).is_ok_and(|found| (found.dev(), found.ino()) == (ours.dev(), ours.ino()))
        };
        let path = named(&called, &search).find(is_ours);
        Ok(Self { path: path.map_or_else(|| fs::read_link(OWN), std::path::absolute)? })
    }

    /// The one in a file.
    pub(crate) fn at(path: PathBuf) -> Self {
        Self { path }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Asks it whether it would go on, under our arguments and with what our environment and our files say now.
    pub(crate) async fn try_out(&self) -> Result<Tried, Unfit> {
        self.ask(None).await
    }

    /// The same with the estate in this place, which it is to take over as if it were to go on.
    pub(super) async fn try_with(&self, place: &str) -> Result<Tried, Unfit> {
        self.ask(Some(place)).await
    }

    async fn ask(&self, place: Option<&str>) -> Result<Tried, Unfit> {
        let unfit = |reason: String, hint: Option<&str>| Unfit {
            message: format!("`{}` {reason}", self.path.display()),
            hint: hint.map(str::to_owned),
        };
        let identity =
            identity(&self.path).map_err(|error| unfit(format!("cannot be looked at: {error}"), None))?;
        let patience = if place.is_some() { SHORT_PATIENCE } else { PATIENCE };
        let mut command = Command::new(&self.path);
        command.arg(TRIAL_ROLE).arg(spoken()).args(std::env::args_os().skip(1));
        // What we were left ourselves is no more.
        command.env_remove(VARIABLE).envs(place.map(|place| (VARIABLE, place)));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.process_group(0).kill_on_drop(true);
        // One that is shown the estate has been executed a moment ago.
        let busy_until = Instant::now() + if place.is_some() { Duration::ZERO } else { BUSY };
        let mut child = loop {
            match command.spawn() {
                Ok(child) => break child,
                Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy => {
                    if Instant::now() > busy_until {
                        let hint = "try again when it is complete";
                        return Err(unfit("is still being written".into(), Some(hint)));
                    }
                    sleep(BUSY / 100).await;
                }
                Err(error) => {
                    let hint = "it is to be a `wasmcluster` for this machine, and executable";
                    return Err(unfit(format!("cannot be executed: {error}"), Some(hint)));
                }
            }
        };
        let pid = child.id().unwrap_or_default();
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let ended = timeout(patience, async { tokio::join!(child.wait(), read(stdout), read(stderr)) }).await;
        let said = match ended {
            Ok((Ok(status), stdout, stderr)) => Said { pid, status, stdout, stderr },
            Ok((Err(error), ..)) => return Err(unfit(format!("cannot be waited for: {error}"), None)),
            Err(_) => {
                // Whatever it has started, too.
                let _ = killpg(Pid::from_raw(i32::try_from(pid).unwrap_or(i32::MAX)), Signal::SIGKILL);
                let reason = format!("did not say within {} s that it would take over", patience.as_secs());
                return Err(unfit(reason, None));
            }
        };
        match answer(&said) {
            Ok(version) => Ok(Tried { version, identity }),
            Err((reason, hint)) => Err(unfit(format!("cannot take over: {reason}"), hint.as_deref())),
        }
    }

    /// Fails if it is not the one that was tried.
    pub(crate) fn is_still(&self, tried: &Tried) -> Result<(), Unfit> {
        if identity(&self.path).is_ok_and(|identity| identity == tried.identity) {
            return Ok(());
        }
        let message = format!("`{}` was replaced once more", self.path.display());
        Err(Unfit { message, hint: Some("try again when it is complete".into()) })
    }
}

/// Where a program may be that is called so.
fn named(called: &OsStr, search: &OsStr) -> impl Iterator<Item = PathBuf> {
    let is_path = Path::new(called).components().count() > 1 || Path::new(called).is_absolute();
    let alone = is_path.then(|| PathBuf::from(called));
    let searched: Vec<_> = match is_path {
        true => Vec::new(),
        false => std::env::split_paths(search).map(|directory| directory.join(called)).collect(),
    };
    alone.into_iter().chain(searched)
}

/// What a program has said, and how it ended.
struct Said {
    pid: u32,
    status: ExitStatus,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

/// What is written there, as far as anybody wants to know. Whoever goes on writing is not heard, and ends by that or by the
/// time.
async fn read(pipe: Option<impl AsyncRead + Unpin>) -> Vec<u8> {
    let mut text = Vec::new();
    if let Some(pipe) = pipe {
        let _ = pipe.take(MOST).read_to_end(&mut text).await;
    }
    text
}

/// The version of a program that would go on. The error is the reason that it gives, and what to do.
fn answer(output: &Said) -> Result<String, (String, Option<String>)> {
    let said = String::from_utf8_lossy(&output.stdout);
    let answer = said.lines().find_map(|line| line.strip_prefix(ANSWER)?.split_once(", process "));
    match answer.filter(|_| output.status.success()) {
        Some((version, pid)) if pid == output.pid.to_string() => return Ok(version.to_owned()),
        Some(_) => {
            let hint = "a script has to end with `exec`";
            return Err(("it starts another process that would".into(), Some(hint.into())));
        }
        None => {}
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    let line = |prefix: &str| complaint.lines().find_map(|line| line.trim().strip_prefix(prefix));
    let reason = line("error: ").or(complaint.lines().find(|line| !line.trim().is_empty()));
    let reason = match reason {
        Some(reason) => reason.to_owned(),
        None => format!("it ended with {} and no answer", output.status),
    };
    Err((reason, line("hint: ").map(str::to_owned)))
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    fn output(code: i32, stdout: &str, stderr: &str) -> Said {
        let status = ExitStatus::from_raw(code << 8);
        Said { pid: 7, status, stdout: stdout.into(), stderr: stderr.into() }
    }

    #[test]
    fn who_says_so_and_ends_well_would_go_on() {
        let said = format!("{ANSWER}1.2.3, process 7\n");
        assert_eq!(answer(&output(0, &said, "")), Ok("1.2.3".into()));
        let other = format!("{ANSWER}1.2.3, process 8\n");
        assert_eq!(
            answer(&output(0, &other, "")).expect_err("a child of it").0,
            "it starts another process that would"
        );
        assert!(answer(&output(1, &said, "")).is_err());
        assert!(answer(&output(0, "hello\n", "")).is_err());
    }

    #[test]
    fn the_reason_is_what_it_complains_of_first() {
        let reason = |stderr| answer(&output(2, "", stderr)).expect_err("no answer");
        assert_eq!(
            reason("\nerror: no such flag\nhint: leave it\n"),
            ("no such flag".into(), Some("leave it".into()))
        );
        assert_eq!(reason("libfoo.so not found\n").0, "libfoo.so not found");
        assert_eq!(reason("").0, "it ended with exit status: 2 and no answer");
    }

    #[test]
    fn a_name_is_searched_and_a_path_is_not() {
        let names = |called: &str| named(called.as_ref(), "/a:/b".as_ref()).collect::<Vec<_>>();
        assert_eq!(names("wasmcluster"), [PathBuf::from("/a/wasmcluster"), PathBuf::from("/b/wasmcluster")]);
        assert_eq!(names("./wasmcluster"), [PathBuf::from("./wasmcluster")]);
        assert_eq!(names("/opt/wasmcluster"), [PathBuf::from("/opt/wasmcluster")]);
    }
}

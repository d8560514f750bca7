//! One run of a project's build command.

use core::fmt::{self, Display};
use core::time::Duration;
use std::io::{self, ErrorKind, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::Builder;
use std::time::Instant;

use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;
use wasmcluster_core::lines::LineReader;
use wasmcluster_core::record::Stream;

use super::{Project, Told};
use crate::cli::writer::{Line, Lines};

/// Runs the command that it is given, in a group of processes that is killed when nobody has the other end of its stdin any
/// more: so however we end, the build does not outlive us.
const SCRIPT: &str = r#"exec 3<&0 </dev/null
(read -r _ <&3; kill -KILL 0) >/dev/null 2>&1 &
exec sh -c "$0" 3<&-"#;

/// What makes tools colour what goes to a pipe: many, those of Node and Python, and cargo.
const COLOURS: [(&str, &str); 3] =
    [("CLICOLOR_FORCE", "1"), ("FORCE_COLOR", "1"), ("CARGO_TERM_COLOR", "always")];

/// How long its last lines may take to come, once it has ended. What has left its group may keep its streams for ever.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// A build under way. Dropping it kills it, and all that it started.
pub(super) struct Build {
    began: Instant,
    shell: Child,
    /// Says nothing, and ends when both streams have.
    streams: Receiver<()>,
    is_over: bool,
}

impl Build {
    pub(super) fn start(command: &str, project: &Project, lines: &Lines) -> io::Result<Self> {
        let mut shell = Command::new("sh");
        shell.args(["-c", SCRIPT, command]).current_dir(&project.directory).process_group(0);
        if project.colourful {
            let unsaid = COLOURS.iter().filter(|(name, _)| std::env::var_os(name).is_none());
            shell.envs(unsaid.copied());
        }
        let pipe = Stdio::piped;
        let mut shell = shell.stdin(pipe()).stdout(pipe()).stderr(pipe()).spawn()?;
        let (ended, streams) = channel();
        let (stdout, stderr) = (shell.stdout.take(), shell.stderr.take());
        let build = Self { began: Instant::now(), shell, streams, is_over: false };
        if let (Some(stdout), Some(stderr)) = (stdout, stderr) {
            pass_on(stdout, Stream::Stdout, lines.clone(), ended.clone())?;
            pass_on(stderr, Stream::Stderr, lines.clone(), ended)?;
        }
        Ok(build)
    }

    /// Whether it has. Its pid stays its own.
    pub(super) fn has_ended(&self) -> bool {
        let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        !matches!(waitid(Id::Pid(self.pid()), look), Ok(WaitStatus::StillAlive))
    }

    /// What came of one that has ended: after which time, or how else. All that it wrote was passed on by then.
    pub(super) fn finish(mut self) -> Result<Duration, Ended> {
        let took = self.began.elapsed();
        match self.end() {
            Some(status) if status.success() => Ok(took),
            status => Err(Ended(status)),
        }
    }

    fn end(&mut self) -> Option<ExitStatus> {
        // Whoever of its group is left is ours to kill as long as its first process was not reaped.
        let _ = killpg(self.pid(), Signal::SIGKILL);
        let status = self.shell.wait().ok();
        self.is_over = true;
        let _ = self.streams.recv_timeout(LAST_WORDS);
        status
    }

    fn pid(&self) -> Pid {
        // Every pid is a positive number.
        Pid::from_raw(i32::try_from(self.shell.id()).unwrap_or(i32::MAX))
    }
}

impl Drop for Build {
    fn drop(&mut self) {
        if !self.is_over {
            self.end();
        }
    }
}

/// How a build ended other than well.
pub(super) struct Ended(Option<ExitStatus>);

impl Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.map(|status| (status.code(), status.signal())) {
            Some((Some(code), _)) => write!(f, "exit status {code}"),
            Some((_, Some(signal))) => write!(f, "signal {signal}"),
            _ => f.write_str("nobody knows how"),
        }
    }
}

/// Passes the lines of one stream on as they come.
fn pass_on(
    mut pipe: impl Read + Send + 'static,
    stream: Stream,
    lines: Lines,
    ended: Sender<()>,
) -> io::Result<()> {
    let pass_on = move || {
        let mut reader = LineReader::default();
        let mut over = false;
        while !over {
            match pipe.read(reader.space()) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Ok(0) | Err(_) => {
                    reader.end();
                    over = true;
                }
                Ok(count) => reader.filled(count),
            }
            while let Some(line) = reader.next_line() {
                let told = Told::Output { stream, text: line.text, unfinished: line.unfinished };
                lines.write_in_turn(Line::Dev(told));
            }
        }
        drop(ended);
    };
    Builder::new().name("build output".into()).stack_size(256 << 10).spawn(pass_on)?;
    Ok(())
}

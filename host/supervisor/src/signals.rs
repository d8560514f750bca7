//! The signals a person or an init system sends.

use core::time::Duration;
use std::io;

use nix::sys::signal::{SigSet, SigmaskHow, Signal as NixSignal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use serde::{Deserialize, Serialize};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;

/// Signals this close to each other are one wish: `timeout` and some init systems signal the process and then its
/// group, and no person presses a key again that fast.
const SAME: Duration = Duration::from_millis(100);

const TTIN: i32 = NixSignal::SIGTTIN as i32;
const TTOU: i32 = NixSignal::SIGTTOU as i32;

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Wish {
    /// TERM, INT and QUIT. What the second one means is the cluster's to decide.
    Stop,
    /// HUP: look at the component again, and serve what it is now.
    Reload,
    /// TTIN and TTOU: one slot more, or one fewer.
    Scale(i16),
    /// USR2: let the program that is where this one was go on in its place.
    Upgrade,
}

/// The signals that we listen to.
#[derive(Debug)]
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    hangup: Signal,
    more: Signal,
    fewer: Signal,
    upgrade: Signal,
    last_stop: Option<Instant>,
}

impl Signals {
    /// From here on these signals no longer end the process. Those that were [held back](Self::hold_back) come now.
    pub(crate) fn new() -> io::Result<Self> {
        let signals = Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            hangup: signal(SignalKind::hangup())?,
            more: signal(SignalKind::from_raw(TTIN))?,
            fewer: signal(SignalKind::from_raw(TTOU))?,
            upgrade: signal(SignalKind::user_defined2())?,
            last_stop: None,
        };
        ours().thread_unblock()?;
        Ok(signals)
    }

    /// Has the kernel keep these signals from here on, for the next program to listen. Between two programs they would end
    /// the process.
    pub(crate) fn hold_back(&self) -> io::Result<()> {
        Ok(ours().thread_block()?)
    }

    /// Waits for the next wish. Cancel safe.
    pub(crate) async fn next(&mut self) -> Wish {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => {}
                _ = self.interrupt.recv() => {}
                _ = self.quit.recv() => {}
                // Several that come before the first is looked at are one already.
                _ = self.hangup.recv() => return Wish::Reload,
                _ = self.more.recv() => return Wish::Scale(1),
                _ = self.fewer.recv() => return Wish::Scale(-1),
                _ = self.upgrade.recv() => return Wish::Upgrade,
            }
            let now = Instant::now();
            let last = self.last_stop.replace(now);
            if last.is_none_or(|last| now - last > SAME) {
                return Wish::Stop;
            }
        }
    }

    /// A stop was asked for just now, of the program before this one.
    pub(crate) fn stop_was_asked_for(&mut self) {
        self.last_stop = Some(Instant::now());
    }

    /// Waits for the next wish to stop. Cancel safe.
    pub(crate) async fn stop(&mut self) {
        while self.next().await != Wish::Stop {}
    }
}

fn ours() -> SigSet {
    use NixSignal::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTTIN, SIGTTOU, SIGUSR2};
    [SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGTTIN, SIGTTOU, SIGUSR2].into_iter().collect()
}

/// Signals that are held back as long as nothing is served, for [`serve`](crate::serve) to hear of all but those that stop.
#[derive(Debug)]
pub struct HeldBack(SignalFd);

impl HeldBack {
    /// From here on. To be called on the main thread.
    ///
    /// # Errors
    /// Fails where the kernel has no descriptor left.
    pub fn new() -> io::Result<Self> {
        use NixSignal::{SIGINT, SIGQUIT, SIGTERM};
        ours().thread_block()?;
        let stops = [SIGTERM, SIGINT, SIGQUIT].into_iter().collect();
        Ok(Self(SignalFd::with_flags(&stops, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?))
    }

    /// Whether one of those that stop has come.
    #[must_use]
    pub fn ask_to_stop(&self) -> bool {
        matches!(self.0.read_signal(), Ok(Some(_)))
    }
}

/// Starts a thread that gets none of the signals that we listen to. One that it got in the moment before another program is
/// executed would be forgotten.
pub fn spared<T>(start: impl FnOnce() -> T) -> T {
    let before = ours().thread_swap_mask(SigmaskHow::SIG_BLOCK);
    let started = start();
    if let Ok(before) = before {
        let _ = before.thread_set_mask();
    }
    started
}

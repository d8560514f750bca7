//! A network in which requests can be lost.
//!
//! On loopback a packet arrives before the system call that sent it returns, so a connection that is closed just as
//! somebody writes to it hardly ever happens. With a round trip it happens all the time. [`Network::delayed`] has one:
//! what is sent to the server's address leaves through a device that holds each packet for a while.

mod mirror;
mod names;
mod tun;

use std::fs;
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Once;
use std::thread;
use std::time::Duration;

use nix::sched::{CloneFlags, unshare};

use self::mirror::Mirror;
use self::names::Names;

/// How long a packet is under way.
const DELAY: Duration = Duration::from_millis(10);

/// The device's own address: where servers listen, and what clients connect from.
const HERE: Ipv4Addr = Ipv4Addr::new(10, 7, 0, 1);

/// Whoever is beyond the device. Its packets are turned round there, so this leads back to [`HERE`].
const BEYOND: Ipv4Addr = Ipv4Addr::new(10, 7, 0, 2);

/// An address that is no special one. In a namespace without a way out it leads to nobody else.
pub(crate) const PUBLIC: Ipv4Addr = Ipv4Addr::new(1, 2, 3, 4);

/// The network that a test has.
#[derive(Debug)]
pub(crate) struct Network {
    server: Ipv4Addr,
    client: Ipv4Addr,
    round_trip: Duration,
}

impl Network {
    /// Runs `test` where every packet is under way for 10 ms: on a thread of its own, in a network namespace of its own.
    ///
    /// Threads and processes that are started there stay there. The namespace has no way out, and goes away with the
    /// last of them. Where we may not have one, `test` runs on loopback, and a line says so.
    pub(crate) fn delayed<T: Send>(test: impl FnOnce(&Self) -> T + Send) -> T {
        let done = on_a_thread_of_its_own(|| match enter() {
            Ok(mirror) => {
                let network = Self { server: HERE, client: BEYOND, round_trip: 2 * DELAY };
                let done = test(&network);
                let dropped = dropped();
                mirror.stop();
                assert_eq!(dropped, 0, "packets that the network itself lost");
                Ok(done)
            }
            Err(error) => Err((error, test)),
        });
        done.unwrap_or_else(|(error, test)| {
            say_that_it_is_loopback(&error);
            test(&Self {
                server: Ipv4Addr::LOCALHOST,
                client: Ipv4Addr::LOCALHOST,
                round_trip: Duration::ZERO,
            })
        })
    }

    /// Runs `test` where there is nothing but a loopback, [`PUBLIC`] on it, and whoever is asked for names. Where that cannot be
    /// had, it is skipped, and a line says so.
    pub(crate) fn with_names(test: impl FnOnce(&Names) + Send) {
        let tried = on_a_thread_of_its_own(|| {
            unshare(CloneFlags::CLONE_NEWNET)?;
            tun::loopback(PUBLIC)?;
            let names = Names::start()?;
            test(&names);
            io::Result::Ok(())
        });
        if let Err(error) = tried {
            eprintln!("skipped: no network with names can be had: {error}");
        }
    }

    /// Where a server listens, at a port that is free.
    pub(crate) fn server(&self) -> SocketAddr {
        (self.server, 0).into()
    }

    /// Where a client reaches, over this network, what listens at `addr`.
    pub(crate) fn way_to(&self, addr: SocketAddr) -> SocketAddr {
        (self.client, addr.port()).into()
    }

    /// The least time between a packet and the answer to it. Zero on loopback.
    pub(crate) fn round_trip(&self) -> Duration {
        self.round_trip
    }
}

/// A namespace is that of a thread and not of the process, so other tests do not notice.
fn on_a_thread_of_its_own<T: Send>(test: impl FnOnce() -> T + Send) -> T {
    let name = thread::current().name().unwrap_or("test").to_owned();
    thread::scope(|scope| {
        let thread = thread::Builder::new().name(name).spawn_scoped(scope, test).unwrap();
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Moves this thread into a network namespace that has nothing but a mirror.
///
/// Its loopback stays down: who asks the server at its own address, and so past the delay, gets no answer.
fn enter() -> io::Result<Mirror> {
    let named = |what: &str, error: io::Error| io::Error::new(error.kind(), format!("{what}: {error}"));
    unshare(CloneFlags::CLONE_NEWNET).map_err(|error| named("a network namespace", error.into()))?;
    let device = tun::open(HERE, BEYOND).map_err(|error| named("a TUN device", error))?;
    // Who closes first keeps the port for a minute, and now and then that is the client. Some hundred connections a second
    // use up all ports in less, and then each connection waits for the kernel to look through them.
    let _ = fs::write("/proc/sys/net/ipv4/tcp_tw_reuse", "1");
    Mirror::start(device, DELAY)
}

/// How many packets the device of this thread's namespace could not pass on.
fn dropped() -> u64 {
    const ERRORS_AND_DROPS: [usize; 4] = [2, 3, 10, 11];
    // Not /proc/net: that is the namespace of the process's first thread.
    let devices = fs::read_to_string("/proc/thread-self/net/dev").unwrap();
    let counts =
        devices.lines().find_map(|line| line.trim_start().strip_prefix(tun::NAME)?.strip_prefix(':'));
    let counts: Vec<&str> = counts.expect("the device").split_whitespace().collect();
    ERRORS_AND_DROPS.iter().map(|&column| counts[column].parse::<u64>().unwrap()).sum()
}

fn say_that_it_is_loopback(error: &io::Error) {
    static SAID: Once = Once::new();
    // Not by a macro: what those print is shown only when a test fails, and this is about tests that pass too easily.
    SAID.call_once(|| {
        let _ = writeln!(
            io::stderr(),
            "\nno network with a delay ({error}): those tests run on loopback, which hides most races\n\
             hint: `unshare --user --map-root-user cargo test` has the rights that it takes"
        );
    });
}

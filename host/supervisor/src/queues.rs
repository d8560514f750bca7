//! Looks after connections that wait for somebody to accept them.
//!
//! While nobody connects, nothing happens here: the kernel says when something waits. Then there are two looks at all
//! queues, and whatever comes in the meantime is found by the next pair. So there are never more than two hundred pairs a
//! second, however many connect.

use core::time::Duration;
use std::io;
use std::os::fd::OwnedFd;

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, EventData, EventFlags};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, sleep_until};
use wasmcluster_core::cluster::SlotId;
use wasmcluster_core::stealing::Queue;

use crate::descriptors::waiting;
use crate::group::Group;

/// The time between two looks. A worker that is not busy has accepted by then.
const PAUSE: Duration = Duration::from_millis(5);

/// Each listener tells once that something waits, and then not before it was looked at.
const ONCE: EventFlags = EventFlags::IN.union(EventFlags::ONESHOT);

/// The watch over all queues of a group.
#[derive(Debug)]
pub(crate) struct Queues {
    watch: AsyncFd<OwnedFd>,
    /// Who told.
    told: Vec<SlotId>,
    /// What the first look found, and when.
    found: Option<(Instant, Vec<(SlotId, u32)>)>,
}

impl Queues {
    /// Watches the listeners of a group, as they are now.
    pub(crate) fn of(group: &Group) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        #[expect(
            deprecated,
            reason = "sound for an owned descriptor; what comes after it wants a promise about it"
        )]
        let watch = AsyncFd::with_interest(epoll, Interest::READABLE)?;
        let queues = Self { watch, told: Vec::new(), found: None };
        for (slot, _) in group.members() {
            queues.watch(group, slot)?;
        }
        Ok(queues)
    }

    /// Watches one more.
    pub(crate) fn watch(&self, group: &Group, slot: SlotId) -> io::Result<()> {
        let socket = group.socket(slot).ok_or(io::ErrorKind::NotFound)?;
        Ok(epoll::add(self.watch.get_ref(), socket, name(slot), ONCE)?)
    }

    /// Waits until something has been waiting in the queues of `group` at two looks, or until one of its listeners may go.
    /// Cancel safe.
    pub(crate) async fn standing(&mut self, group: &Group) -> Vec<Queue> {
        loop {
            let Some((since, _)) = &self.found else {
                let departure = group.next_departure();
                tokio::select! {
                    () = self.somebody_tells(group.len()) => {}
                    () = sleep_until(departure.unwrap_or_else(Instant::now)), if departure.is_some() => {}
                }
                self.found = Some((Instant::now(), look(group)));
                continue;
            };
            sleep_until(*since + PAUSE).await;
            let before = self.found.take().map_or(Vec::new(), |(_, before)| before);
            let then = |slot| before.iter().find_map(|(known, length)| (*known == slot).then_some(*length));
            let queue = |(slot, now)| Queue { slot, before: then(slot).unwrap_or(0), now };
            let queues: Vec<_> = look(group).into_iter().map(queue).collect();
            self.listen_again(group);
            let stands = queues.iter().any(|queue| queue.before > 0 && queue.now > 0);
            if stands || group.next_departure().is_some_and(|departure| departure <= Instant::now()) {
                return queues;
            }
        }
    }

    /// Wants to be told again of all that have told. Whatever waits there by now is told at once.
    fn listen_again(&mut self, group: &Group) {
        for slot in self.told.drain(..) {
            if let Some(socket) = group.socket(slot) {
                // Of one that has left since then nothing is wanted any more.
                let _ = epoll::modify(self.watch.get_ref(), socket, name(slot), ONCE);
            }
        }
    }

    async fn somebody_tells(&mut self, members: usize) {
        while self.told.is_empty() {
            // It cannot fail but by the end of the runtime.
            let Ok(mut ready) = self.watch.readable().await else { return std::future::pending().await };
            let mut events = Vec::with_capacity(members.max(1));
            let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
            let _ = epoll::wait(ready.get_inner(), spare_capacity(&mut events), Some(&at_once));
            let slots = events.iter().filter_map(|event| u16::try_from({ event.data }.u64()).ok());
            self.told.extend(slots.map(SlotId));
            ready.clear_ready();
        }
    }
}

fn look(group: &Group) -> Vec<(SlotId, u32)> {
    // One that cannot be asked has nothing to take.
    group.members().map(|(slot, socket)| (slot, waiting(socket).unwrap_or(0))).collect()
}

/// What a listener is called in the kernel's answers.
fn name(slot: SlotId) -> EventData {
    EventData::new_u64(slot.0.into())
}

#[cfg(test)]
mod tests {
    use core::net::SocketAddr;
    use std::net::TcpStream;

    use super::*;
    use crate::listener::probe;

    fn run<T>(test: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(test)
    }

    fn group(slots: usize) -> (Group, SocketAddr) {
        let (held, addr) = probe(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
        drop(held);
        (Group::listen(addr, slots).expect("free"), addr)
    }

    fn sum(queues: &[Queue]) -> (u32, u32) {
        queues.iter().fold((0, 0), |(before, now), queue| (before + queue.before, now + queue.now))
    }

    #[test]
    fn what_waits_is_told_until_it_is_taken() {
        run(async {
            let (group, addr) = group(2);
            let mut queues = Queues::of(&group).expect("descriptors");
            let first = TcpStream::connect(addr).expect("it listens");
            assert_eq!(sum(&queues.standing(&group).await), (1, 1));
            assert_eq!(sum(&queues.standing(&group).await), (1, 1));
            for (_, socket) in group.members() {
                let _ = socket.accept();
            }
            let second = TcpStream::connect(addr).expect("it listens");
            let third = TcpStream::connect(addr).expect("it listens");
            assert_eq!(sum(&queues.standing(&group).await), (2, 2));
            drop((first, second, third));
        });
    }

    #[test]
    fn nothing_is_forgotten_by_a_wait_that_is_given_up() {
        run(async {
            let (group, addr) = group(3);
            let mut queues = Queues::of(&group).expect("descriptors");
            let _client = TcpStream::connect(addr).expect("it listens");
            let mut polls = 0;
            let queues = loop {
                polls += 1;
                tokio::select! {
                    biased;
                    queues = queues.standing(&group) => break queues,
                    () = tokio::task::yield_now() => {}
                }
            };
            assert_eq!(sum(&queues), (1, 1));
            assert!(polls > 1);
        });
    }

    #[test]
    fn a_slot_that_comes_later_is_watched_too() {
        run(async {
            let (mut group, addr) = group(1);
            let mut queues = Queues::of(&group).expect("descriptors");
            group.add(SlotId(1)).expect("free");
            queues.watch(&group, SlotId(1)).expect("descriptors");
            group.steer(wasmcluster_core::steering::Steering::new(vec![0, 1])).expect("programs");
            let _client = TcpStream::connect(addr).expect("it listens");
            let standing = queues.standing(&group).await;
            let expected =
                [(SlotId(0), 0), (SlotId(1), 1)].map(|(slot, now)| Queue { slot, before: now, now });
            assert_eq!(standing, expected);
        });
    }
}

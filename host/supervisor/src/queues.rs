//! Looks after connections that wait for somebody to accept them.
//!
//! While nobody connects, nothing happens here: the kernel says when something waits. Then there are two looks at all
//! queues, and whatever comes in the meantime is found by the next pair. So there are never more than five hundred pairs a
//! second, however many connect. What comes to a queue that stood still a moment ago need not wait for the second look: a
//! worker that is stopped stays so for longer.

use core::time::Duration;
use std::io;
use std::os::fd::OwnedFd;

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, sleep_until};
use wasmcluster_core::cluster::SlotId;
use wasmcluster_core::stealing::Queue;

use crate::descriptors::waiting;
use crate::group::Group;

/// The time between two looks. A worker that is not busy has accepted by then.
const PAUSE: Duration = Duration::from_millis(2);

/// How long a queue is taken to stand still that was seen to. Then it has to be seen again.
const STILL: Duration = Duration::from_millis(250);

/// The watch over all queues of a group.
#[derive(Debug)]
pub(crate) struct Queues {
    /// Is readable as long as something waits in any queue.
    all: OwnedFd,
    /// Tells once that `all` has become readable, and then not before it is opened again. Without it every connection would
    /// wake us, however short it waits.
    gate: AsyncFd<OwnedFd>,
    open: bool,
    /// What the first look found, and when.
    found: Option<(Instant, Vec<(SlotId, u32)>)>,
    /// Which queues stood still, and until when that is believed.
    still: Vec<(SlotId, Instant)>,
    /// When anybody was last told of a queue.
    told: Option<Instant>,
}

impl Queues {
    /// Watches the listeners of a group, as they are now.
    pub(crate) fn of(group: &Group) -> io::Result<Self> {
        let [all, gate] = [epoll::create(CreateFlags::CLOEXEC)?, epoll::create(CreateFlags::CLOEXEC)?];
        epoll::add(&gate, &all, EventData::new_u64(0), EventFlags::ONESHOT)?;
        #[expect(
            deprecated,
            reason = "sound for an owned descriptor; what comes after it wants a promise about it"
        )]
        let gate = AsyncFd::with_interest(gate, Interest::READABLE)?;
        let queues = Self { all, gate, open: false, found: None, still: Vec::new(), told: None };
        for (slot, _) in group.members() {
            queues.watch(group, slot)?;
        }
        Ok(queues)
    }

    /// Watches one more.
    pub(crate) fn watch(&self, group: &Group, slot: SlotId) -> io::Result<()> {
        let socket = group.socket(slot).ok_or(io::ErrorKind::NotFound)?;
        Ok(epoll::add(&self.all, socket, EventData::new_u64(slot.0.into()), EventFlags::IN)?)
    }

    /// Watches one no more, which is about to end. Its end would be told for as long as anybody had a duplicate.
    pub(crate) fn forget(&self, group: &Group, slot: SlotId) {
        if let Some(socket) = group.socket(slot) {
            let _ = epoll::delete(&self.all, socket);
        }
    }

    /// Waits until something has been waiting in the queues of `group` at two looks, or until one of its listeners may go.
    /// Cancel safe.
    pub(crate) async fn standing(&mut self, group: &Group) -> Vec<Queue> {
        loop {
            let Some((since, _)) = &self.found else {
                let departure = group.next_departure();
                tokio::select! {
                    () = self.somebody_waits(group) => {}
                    () = sleep_until(departure.unwrap_or_else(Instant::now)), if departure.is_some() => {}
                }
                let (now, found) = (Instant::now(), look(group));
                self.still.retain(|(_, until)| *until > now);
                // Not more often than if it were looked at twice; and what is to go was to be seen empty twice.
                if self.told.is_none_or(|told| told + PAUSE <= now) && group.next_departure().is_none() {
                    let is_still = |slot| self.still.iter().any(|(still, _)| *still == slot);
                    let queue =
                        |&(slot, now)| Queue { slot, before: if is_still(slot) { now } else { 0 }, now };
                    let queues: Vec<_> = found.iter().map(queue).collect();
                    if queues.iter().any(stands) {
                        self.told = Some(now);
                        return queues;
                    }
                }
                self.found = Some((now, found));
                continue;
            };
            sleep_until(*since + PAUSE).await;
            let before = self.found.take().map_or(Vec::new(), |(_, before)| before);
            let then = |slot| before.iter().find_map(|(known, length)| (*known == slot).then_some(*length));
            let queue = |(slot, now)| Queue { slot, before: then(slot).unwrap_or(0), now };
            let queues: Vec<_> = look(group).into_iter().map(queue).collect();
            let now = Instant::now();
            self.still.retain(|(slot, _)| queues.iter().all(|queue| queue.slot != *slot || !stands(queue)));
            self.still
                .extend(queues.iter().filter(|queue| stands(queue)).map(|queue| (queue.slot, now + STILL)));
            if queues.iter().any(stands) || group.next_departure().is_some_and(|departure| departure <= now) {
                self.told = Some(now);
                return queues;
            }
        }
    }

    /// Returns when something waits in a queue. Who is alone has nobody to take it.
    async fn somebody_waits(&mut self, group: &Group) {
        loop {
            if !self.open && group.len() > 1 {
                let once = EventFlags::IN | EventFlags::ONESHOT;
                self.open =
                    epoll::modify(self.gate.get_ref(), &self.all, EventData::new_u64(0), once).is_ok();
            }
            // It cannot fail but by the end of the runtime.
            let Ok(mut ready) = self.gate.readable().await else { return std::future::pending().await };
            let mut events = Vec::with_capacity(1);
            let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
            let _ = epoll::wait(ready.get_inner(), spare_capacity(&mut events), Some(&at_once));
            ready.clear_ready();
            if !events.is_empty() {
                self.open = false;
                if group.len() > 1 {
                    return;
                }
            }
        }
    }
}

/// Whether something waited at both looks.
fn stands(queue: &Queue) -> bool {
    queue.before > 0 && queue.now > 0
}

fn look(group: &Group) -> Vec<(SlotId, u32)> {
    // One that cannot be asked has nothing to take.
    group.members().map(|(slot, socket)| (slot, waiting(socket).unwrap_or(0))).collect()
}

#[cfg(test)]
mod tests {
    use core::future::poll_fn;
    use core::net::SocketAddr;
    use core::pin::pin;
    use core::task::Poll;
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
    fn what_comes_to_a_queue_that_stood_still_is_told_at_once() {
        run(async {
            let (group, addr) = group(2);
            let mut queues = Queues::of(&group).expect("descriptors");
            let slots = || group.members().map(|(slot, _)| slot);
            let mut waits_for_a_second_look = async || {
                let mut second = false;
                let _client = TcpStream::connect(addr).expect("it listens");
                while poll_fn(|cx| Poll::Ready(pin!(queues.standing(&group)).poll(cx))).await.is_pending() {
                    second |= queues.found.is_some();
                    tokio::task::yield_now().await;
                }
                for (_, socket) in group.members() {
                    let _ = socket.accept();
                }
                // As often as that anybody may be told.
                tokio::time::sleep(PAUSE).await;
                (second, std::mem::take(&mut queues.still))
            };
            let (second, still) = waits_for_a_second_look().await;
            assert!(second && still.len() == 1 && slots().any(|slot| slot == still[0].0), "{still:?}");
            assert!(waits_for_a_second_look().await.0, "it is forgotten");
            let later = Instant::now() + STILL;
            queues.still = slots().map(|slot| (slot, later)).collect();
            let _client = TcpStream::connect(addr).expect("it listens");
            while poll_fn(|cx| Poll::Ready(pin!(queues.standing(&group)).poll(cx))).await.is_pending() {
                assert!(queues.found.is_none(), "there was a first look");
                tokio::task::yield_now().await;
            }
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
    fn who_is_alone_is_not_told() {
        run(async {
            let (mut group, addr) = group(1);
            let mut queues = Queues::of(&group).expect("descriptors");
            let _client = TcpStream::connect(addr).expect("it listens");
            {
                let mut alone = pin!(queues.standing(&group));
                assert!(poll_fn(|cx| Poll::Ready(alone.as_mut().poll(cx))).await.is_pending());
            }
            assert!(!queues.open);
            group.add(SlotId(1)).expect("free");
            assert_eq!(sum(&queues.standing(&group).await), (1, 1));
        });
    }

    #[test]
    fn connections_that_come_between_two_looks_do_not_wake_us() {
        run(async {
            let (group, addr) = group(2);
            let mut queues = Queues::of(&group).expect("descriptors");
            let mut clients = vec![TcpStream::connect(addr).expect("it listens")];
            queues.somebody_waits(&group).await;
            clients.extend((0..10).map(|_| TcpStream::connect(addr).expect("it listens")));
            tokio::task::yield_now().await;
            let mut gate = pin!(queues.gate.readable());
            assert!(poll_fn(|cx| Poll::Ready(gate.as_mut().poll(cx))).await.is_pending());
        });
    }

    #[test]
    fn a_listener_that_has_left_is_not_told_although_somebody_has_a_duplicate() {
        run(async {
            let (group, addr) = group(3);
            let mut queues = Queues::of(&group).expect("descriptors");
            let stuck: Vec<_> =
                group.members().map(|(_, socket)| socket.try_clone().expect("room")).collect();
            for (slot, socket) in group.members() {
                queues.forget(&group, slot);
                socket.shutdown(std::net::Shutdown::Read).expect("it listens");
            }
            assert!(TcpStream::connect(addr).is_err());
            {
                let mut waits = pin!(queues.somebody_waits(&group));
                assert!(poll_fn(|cx| Poll::Ready(waits.as_mut().poll(cx))).await.is_pending());
            }
            tokio::task::yield_now().await;
            let mut waits = pin!(queues.somebody_waits(&group));
            assert!(poll_fn(|cx| Poll::Ready(waits.as_mut().poll(cx))).await.is_pending());
            drop(stuck);
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

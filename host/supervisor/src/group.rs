//! The listeners of all slots, as the kernel sees them: the members of a group that share one address.
//!
//! The kernel numbers the members of a group in the order in which they began to listen. When one goes, the last takes its
//! number. A program may pick the member for a new connection (`core/src/steering.rs`), by that number; so it has to be
//! known who has which.

use core::net::SocketAddr;
use core::time::Duration;
use std::io;

use nix::libc::{sock_filter, sock_fprog};
use nix::sys::socket::{setsockopt, sockopt::AttachReusePortCbpf};
use serde::{Deserialize, Serialize};
use socket2::Socket;
use tokio::time::Instant;
use wasmcluster_core::cluster::SlotId;
use wasmcluster_core::stealing::Queue;
use wasmcluster_core::steering::{Instruction, Steering, program};

use crate::listener::listen;
use crate::upgrade::{Descriptors, Passed};

/// How long a slot that gets no new connections is kept for those that have begun. Whoever was sent there may still be in
/// the middle of a handshake, and none of it is seen before it is done. A lost packet costs the first second of this, a
/// second one the next two.
const LINGER: Duration = Duration::from_secs(4);

/// The listeners of an app's slots. They outlive workers, which have duplicates: what waits in a queue is not lost with who
/// should have accepted it.
#[derive(Debug)]
pub(crate) struct Group {
    addr: SocketAddr,
    /// In the order of the kernel's numbers.
    members: Vec<Member>,
    steering: Steering,
}

#[derive(Debug)]
struct Member {
    slot: SlotId,
    socket: Socket,
    /// Since when the slot is no more.
    retired: Option<Instant>,
}

/// A [`Group`] on its way to another program.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PassedGroup {
    members: Vec<PassedMember>,
    steering: Steering,
}

#[derive(Debug, Serialize, Deserialize)]
struct PassedMember {
    slot: SlotId,
    socket: Passed,
    retired_for: Option<Duration>,
}

impl Group {
    /// What somebody else needs to go on with it. The kernel keeps the numbers of its members, and the program.
    pub(crate) fn pass(self, descriptors: &mut Descriptors) -> PassedGroup {
        let Self { addr: _, members, steering } = self;
        let members = members.into_iter().map(|Member { slot, socket, retired }| PassedMember {
            slot,
            socket: descriptors.put(socket.into()),
            retired_for: retired.map(|retired| retired.elapsed()),
        });
        PassedGroup { members: members.collect(), steering }
    }

    /// Goes on with what somebody else had.
    pub(crate) fn take(
        passed: PassedGroup,
        addr: SocketAddr,
        descriptors: &mut Descriptors,
    ) -> io::Result<Self> {
        let PassedGroup { members, steering } = passed;
        let now = Instant::now();
        let members = members.into_iter().map(|PassedMember { slot, socket, retired_for }| {
            let retired = retired_for.map(|ago| now.checked_sub(ago).unwrap_or(now));
            Ok(Member { slot, socket: descriptors.take(socket)?.into(), retired })
        });
        Ok(Self { addr, members: members.collect::<io::Result<_>>()?, steering })
    }

    /// A group of as many slots.
    pub(crate) fn listen(addr: SocketAddr, slots: usize) -> io::Result<Self> {
        let mut group = Self { addr, members: Vec::new(), steering: Steering::new(vec![1; slots]) };
        for slot in (0..).map(SlotId).take(slots) {
            group.add(slot)?;
        }
        Ok(group)
    }

    /// Makes sure that a slot listens. True for a listener that was not there before.
    pub(crate) fn add(&mut self, slot: SlotId) -> io::Result<bool> {
        if let Some(member) = self.members.iter_mut().find(|member| member.slot == slot) {
            member.retired = None;
            return Ok(false);
        }
        self.members.push(Member { slot, socket: listen(self.addr)?, retired: None });
        Ok(true)
    }

    /// Takes note that a slot is no more. Its listener goes when nothing can come any more, see [`departing`](Self::departing).
    pub(crate) fn retire(&mut self, slot: SlotId, now: Instant) {
        if let Some(member) = self.members.iter_mut().find(|member| member.slot == slot) {
            member.retired = Some(now);
        }
    }

    /// When the next listener may go, of slots that are no more.
    pub(crate) fn next_departure(&self) -> Option<Instant> {
        self.members.iter().filter_map(|member| member.retired).min().map(|retired| retired + LINGER)
    }

    /// Slots that are no more, and whose listeners may go: it is time, and they were empty at two looks.
    pub(crate) fn departing(&self, queues: &[Queue], now: Instant) -> Vec<SlotId> {
        let is_empty =
            |slot| queues.iter().any(|queue| queue.slot == slot && queue.before.max(queue.now) == 0);
        let due = |member: &&Member| member.retired.is_some_and(|retired| retired + LINGER <= now);
        self.members.iter().filter(due).map(|member| member.slot).filter(|slot| is_empty(*slot)).collect()
    }

    /// The listener of a slot.
    pub(crate) fn socket(&self, slot: SlotId) -> Option<&Socket> {
        self.members.iter().find_map(|member| (member.slot == slot).then_some(&member.socket))
    }

    /// Each slot that listens, with its listener.
    pub(crate) fn members(&self) -> impl Iterator<Item = (SlotId, &Socket)> {
        self.members.iter().map(|member| (member.slot, &member.socket))
    }

    /// How many slots listen.
    pub(crate) fn len(&self) -> usize {
        self.members.len()
    }

    /// Deals new connections out as said, from now on.
    ///
    /// # Errors
    /// Fails where the kernel takes no programs from us. Then it goes on as before.
    pub(crate) fn steer(&mut self, steering: Steering) -> io::Result<()> {
        self.steering = steering;
        self.attach(&[])
    }

    /// Ends the listener of a slot that gets no new connections any more, and drops what waits in its queue.
    ///
    /// Its place in the group is left at once, whoever else holds a duplicate. In between, neither its number means anything
    /// nor that of the last member, which gets it: so nobody is sent to either, if there are others.
    ///
    /// # Errors
    /// Fails where the kernel takes no programs from us. It is gone all the same.
    pub(crate) fn remove(&mut self, slot: SlotId) -> io::Result<()> {
        let Some(place) = self.members.iter().position(|member| member.slot == slot) else { return Ok(()) };
        let last = self.members.last().map_or(slot, |last| last.slot);
        let avoided = self.attach(&[slot, last]);
        let Member { socket, .. } = self.members.swap_remove(place);
        // Closing is not enough while a worker has a duplicate.
        let ended = socket.shutdown(std::net::Shutdown::Read);
        avoided.and(ended).and(self.attach(&[]))
    }

    /// Ends all listeners of ours; workers may hold theirs.
    pub(crate) fn close(&mut self) {
        self.members.clear();
    }

    /// Attaches the program for what was said last, avoiding some slots as far as others have a share.
    fn attach(&self, avoided: &[SlotId]) -> io::Result<()> {
        let Some(any) = self.members.first() else { return Ok(()) };
        let mut shares: Vec<_> = self.members().map(|(slot, _)| self.steering.share(slot)).collect();
        let rest = self.members().zip(&shares).map(|((slot, _), share)| match avoided.contains(&slot) {
            true => 0,
            false => *share,
        });
        let rest: Vec<_> = rest.collect();
        if rest.iter().any(|share| *share > 0) {
            shares = rest;
        }
        let mut filter: Vec<_> = program(&shares).into_iter().map(raw).collect();
        let len = u16::try_from(filter.len()).map_err(io::Error::other)?;
        let program = sock_fprog { len, filter: filter.as_mut_ptr() };
        // Any member will do: the program is the group's.
        Ok(setsockopt(&any.socket, AttachReusePortCbpf, &program)?)
    }
}

fn raw(Instruction { code, jt, jf, k }: Instruction) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;
    use crate::descriptors::waiting;
    use crate::listener::probe;

    /// Of a test's shares every multiple must be dealt nearly.
    const CONNECTIONS: u32 = 300;

    fn group(slots: usize) -> Group {
        let (held, addr) = probe(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
        drop(held);
        Group::listen(addr, slots).expect("free")
    }

    fn steer(group: &mut Group, shares: &[u32]) {
        group.steer(Steering::new(shares.to_vec())).expect("the kernel takes programs");
    }

    /// Connects a number of times, and says how many came to each slot. They are left there.
    fn dealt(group: &Group, slots: u16) -> Vec<u32> {
        let queue =
            |slot| group.socket(SlotId(slot)).map_or(0, |socket| waiting(socket).expect("it listens"));
        let before: Vec<_> = (0..slots).map(queue).collect();
        let clients: Vec<_> =
            (0..CONNECTIONS).map(|_| TcpStream::connect(group.addr).expect("somebody listens")).collect();
        let after = (0..slots).map(queue).zip(before).map(|(after, before)| after - before);
        let dealt: Vec<_> = after.collect();
        assert_eq!(dealt.iter().sum::<u32>() as usize, clients.len(), "{dealt:?}");
        dealt
    }

    /// Fails unless each slot got something like its share: a fifth of everything off is out of any chance.
    #[track_caller]
    fn expect(group: &Group, shares: &[u32]) {
        let dealt = dealt(group, u16::try_from(shares.len()).expect("few"));
        let sum: u32 = shares.iter().sum();
        for (slot, (dealt, share)) in dealt.iter().zip(shares).enumerate() {
            let due = CONNECTIONS * share / sum;
            assert!(*share > 0 || *dealt == 0, "slot {slot} got {dealt}");
            assert!(dealt.abs_diff(due) < CONNECTIONS / 5, "slot {slot} got {dealt} and not {due}");
        }
    }

    #[test]
    fn without_a_word_all_are_equal() {
        expect(&group(3), &[1, 1, 1]);
    }

    #[test]
    fn who_comes_from_one_port_again_and_again_meets_everybody() {
        let mut group = group(4);
        steer(&mut group, &[1, 1, 1, 1]);
        let port = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut port: socket2::SockAddr = port.into();
        for _ in 0..CONNECTIONS {
            let client =
                Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("descriptors");
            client.set_reuse_address(true).expect("an option");
            // Closed by a reset, its port is free at once.
            client.set_linger(Some(Duration::ZERO)).expect("an option");
            client.bind(&port).expect("nobody else has it");
            client.connect(&group.addr.into()).expect("somebody listens");
            port = client.local_addr().expect("it is bound");
        }
        let dealt: Vec<_> = group.members().map(|(_, socket)| waiting(socket).expect("it listens")).collect();
        assert!(dealt.iter().all(|count| count.abs_diff(CONNECTIONS / 4) < CONNECTIONS / 8), "{dealt:?}");
    }

    #[test]
    fn the_kernel_does_as_it_is_told() {
        let mut group = group(4);
        for shares in [[1, 0, 0, 0], [0, 1, 1, 0], [0, 0, 0, 5], [8, 1, 1, 0], [1, 1, 1, 1]] {
            steer(&mut group, &shares);
            expect(&group, &shares);
        }
    }

    #[test]
    fn any_member_can_go_and_come_back_in_any_order() {
        let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
        for order in orders {
            let mut group = group(4);
            // The last one has a share of its own, so that whoever is taken for it shows.
            let mut shares = [2, 2, 2, 5];
            steer(&mut group, &shares);
            for slot in order {
                shares[slot] = 0;
                steer(&mut group, &shares);
                group.remove(SlotId(u16::try_from(slot).expect("few"))).expect("the kernel takes programs");
                expect(&group, &shares);
            }
            for slot in order {
                shares[slot] = 2;
                group.add(SlotId(u16::try_from(slot).expect("few"))).expect("free");
                steer(&mut group, &shares);
                expect(&group, &shares);
            }
        }
    }

    #[test]
    fn who_goes_is_gone_although_somebody_holds_a_duplicate() {
        let mut group = group(3);
        let worker = group.socket(SlotId(0)).expect("it listens").try_clone().expect("descriptors");
        steer(&mut group, &[0, 1, 2]);
        group.remove(SlotId(0)).expect("the kernel takes programs");
        expect(&group, &[0, 1, 2]);
        assert_eq!(worker.accept().expect_err("it does not listen").kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn while_one_goes_nothing_is_sent_to_it_or_to_who_takes_its_place() {
        let mut group = group(3);
        steer(&mut group, &[1, 1, 1]);
        group.attach(&[SlotId(0), SlotId(2)]).expect("the kernel takes programs");
        assert_eq!(dealt(&group, 3), [0, CONNECTIONS, 0]);
        // Somebody has to take it.
        steer(&mut group, &[0, 0, 1]);
        group.attach(&[SlotId(0), SlotId(2)]).expect("the kernel takes programs");
        assert_eq!(dealt(&group, 3), [0, 0, CONNECTIONS]);
    }

    /// Two looks that found so much in one slot.
    fn looks(slot: u16, before: u32, now: u32) -> [Queue; 1] {
        [Queue { slot: SlotId(slot), before, now }]
    }

    #[test]
    fn a_slot_that_is_no_more_listens_until_nothing_can_come() {
        let mut group = group(2);
        steer(&mut group, &[1]);
        let began = Instant::now();
        group.retire(SlotId(1), began);
        assert_eq!(group.next_departure(), Some(began + LINGER));
        let early = began + LINGER - Duration::from_millis(1);
        for (time, before, now) in [(early, 0, 0), (began + LINGER, 1, 0), (began + LINGER, 0, 1)] {
            assert_eq!(group.departing(&looks(1, before, now), time), []);
        }
        assert_eq!(group.departing(&looks(0, 0, 0), began + LINGER), [], "nobody has looked");
        assert_eq!(group.departing(&looks(1, 0, 0), began + LINGER), [SlotId(1)]);
        group.remove(SlotId(1)).expect("the kernel takes programs");
        assert_eq!((group.len(), group.next_departure()), (1, None));
        expect(&group, &[1]);
    }

    #[test]
    fn a_slot_that_comes_back_has_its_listener_again() {
        let mut group = group(2);
        group.retire(SlotId(1), Instant::now());
        assert!(!group.add(SlotId(1)).expect("it listens"));
        assert_eq!(group.next_departure(), None);
        assert!(group.add(SlotId(2)).expect("free"));
        expect(&group, &[1, 1, 1]);
    }

    #[test]
    fn a_group_that_has_closed_is_steered_nowhere() {
        let mut group = group(2);
        group.close();
        steer(&mut group, &[0, 1]);
        group.remove(SlotId(0)).expect("nothing to do");
        assert!(TcpStream::connect(group.addr).is_err());
    }
}

//! The far end of the device: every packet comes back a while later, to the one who sent it.
//!
//! A client connects to the address beyond the device. Its packets come back with source and destination exchanged, so
//! they are from beyond, and for the address here, where the server listens; and what the server answers goes the same
//! way. One device is enough for both directions, and no checksum changes, because a sum does not depend on the order.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, ErrorKind, PipeReader, PipeWriter, Read, Write, pipe};
use std::os::fd::AsFd;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};

/// As many packets as are under way at once. The rest stays with the device, whose queue drops and counts.
const MOST: usize = 10_000;

/// As long as a packet can be: the device has the MTU of Ethernet.
const PACKET: usize = 1_500;

/// A thread that turns packets round.
#[derive(Debug)]
pub(super) struct Mirror {
    /// Dropping it ends the thread.
    running: PipeWriter,
    thread: JoinHandle<io::Result<()>>,
}

impl Mirror {
    /// `device` is one that does not block.
    pub(super) fn start(device: File, delay: Duration) -> io::Result<Self> {
        let (stop, running) = pipe()?;
        let turn = move || turn_round(&device, delay, &stop);
        let thread = thread::Builder::new().name("mirror".into()).spawn(turn)?;
        Ok(Self { running, thread })
    }

    /// Ends it; what is still under way is gone. Fails if it had ended before.
    pub(super) fn stop(self) {
        drop(self.running);
        self.thread.join().unwrap().unwrap();
    }
}

fn turn_round(mut device: &File, delay: Duration, stop: &PipeReader) -> io::Result<()> {
    let mut under_way: VecDeque<(Instant, Vec<u8>)> = VecDeque::new();
    let mut packet = [0; PACKET];
    loop {
        // All are delayed alike, so the first to come is the first to go.
        while let Some((_, packet)) = under_way.pop_front_if(|(due, _)| *due <= Instant::now()) {
            device.write_all(&packet)?;
        }
        let patience = under_way.front().map(|(due, _)| due.saturating_duration_since(Instant::now()).into());
        let wanted = if under_way.len() < MOST { PollFlags::POLLIN } else { PollFlags::empty() };
        let mut ends = [PollFd::new(device.as_fd(), wanted), PollFd::new(stop.as_fd(), PollFlags::empty())];
        // Its timeout is exact where that of poll counts milliseconds, which would add up to a tenth of the delay.
        match ppoll(&mut ends, patience, None) {
            Ok(_) if ends[1].any() == Some(true) => return Ok(()),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        while under_way.len() < MOST {
            match device.read(&mut packet) {
                Ok(length) => {
                    let packet = &mut packet[..length];
                    if exchange_addresses(packet) {
                        under_way.push_back((Instant::now() + delay, packet.to_vec()));
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
    }
}

/// Exchanges source and destination. False for what is not IPv4: a kernel looks for IPv6 neighbours by itself.
fn exchange_addresses(packet: &mut [u8]) -> bool {
    const SOURCE: usize = 12;
    const END: usize = 20;
    if packet.len() < END || packet[0] >> 4 != 4 {
        return false;
    }
    let (source, destination) = packet[SOURCE..END].split_at_mut(4);
    source.swap_with_slice(destination);
    true
}

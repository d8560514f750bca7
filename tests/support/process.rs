//! What the kernel says about processes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::eventually;

/// Whether a process runs. One that is dead and not yet reaped does not.
pub(crate) fn alive(pid: u32) -> bool {
    stat(pid).is_some_and(|(_, state)| state != 'Z')
}

/// The processes that `pid` started and has not reaped, by pid.
pub(crate) fn children(pid: u32) -> Vec<u32> {
    let parents = parents();
    parents.iter().filter(|&(_, &parent)| parent == pid).map(|(&child, _)| child).collect()
}

/// [`children`], and theirs.
pub(crate) fn descendants(pid: u32) -> Vec<u32> {
    let parents = parents();
    let mut found = vec![pid];
    let mut next = 0;
    while let Some(&ancestor) = found.get(next) {
        found.extend(parents.iter().filter(|&(_, &parent)| parent == ancestor).map(|(&child, _)| child));
        next += 1;
    }
    found.split_off(1)
}

/// The processes whose working directory is within `place`. Those that the program starts stay where it was started.
pub(crate) fn running_in(place: &Path) -> Vec<u32> {
    let parents = parents();
    let within =
        |pid: &u32| fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd.starts_with(place));
    parents.into_keys().filter(within).collect()
}

/// The processes that `pid` started, that have ended, and that it has not reaped.
pub(crate) fn zombies(pid: u32) -> Vec<u32> {
    let ended = |child: &u32| stat(*child).is_some_and(|(parent, state)| parent == pid && state == 'Z');
    pids().filter(ended).collect()
}

/// What a process has open: descriptors by what they are.
pub(crate) fn descriptors(pid: u32) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    for link in links(pid) {
        // `socket:[4711]`, `anon_inode:[eventpoll]`, `/memfd:artifact (deleted)`, and files by their names.
        let kind = match link.split_once(":[") {
            Some((kind, _)) if kind != "anon_inode" => kind.to_owned(),
            _ => link,
        };
        *found.entry(kind).or_default() += 1;
    }
    found
}

/// The connections to `addr` that a process has open, by the ports of their other ends.
pub(crate) fn connections(addr: SocketAddr, pid: u32) -> BTreeSet<u16> {
    let open: BTreeSet<_> = links(pid).into_iter().collect();
    let table = fs::read_to_string("/proc/thread-self/net/tcp").unwrap();
    let local = format!(":{:04X}", addr.port());
    let port = |line: &str| {
        let columns: Vec<_> = line.split_whitespace().collect();
        let is_wanted = open.contains(&format!("socket:[{}]", columns.get(9)?));
        let peer = u16::from_str_radix(columns[2].rsplit_once(':')?.1, 16).ok()?;
        (columns[1].ends_with(&local) && is_wanted && peer != 0).then_some(peer)
    };
    table.lines().skip(1).filter_map(port).collect()
}

/// How many descriptors were sent to a process over its sockets and not taken yet.
pub(crate) fn descriptors_under_way(pid: u32) -> usize {
    queued(pid).into_iter().sum()
}

/// How many sockets a process has on which other processes send to it.
pub(crate) fn sockets_to_processes(pid: u32) -> usize {
    queued(pid).len()
}

/// How many descriptors wait in each socket of that kind.
fn queued(pid: u32) -> Vec<usize> {
    let sockets = fs::read_dir(format!("/proc/{pid}/fdinfo")).into_iter().flatten().flatten();
    let texts = sockets.filter_map(|entry| fs::read_to_string(entry.path()).ok());
    let count = |text: String| -> Option<usize> {
        text.lines().find_map(|line| line.strip_prefix("scm_fds:")?.trim().parse().ok())
    };
    texts.filter_map(count).collect()
}

/// Where the descriptors of a process lead; none if it is gone.
fn links(pid: u32) -> Vec<String> {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let links = descriptors.filter_map(|entry| fs::read_link(entry.path()).ok());
    links.map(|link| link.to_string_lossy().into_owned()).collect()
}

/// The name of a process; none if it is gone.
pub(crate) fn name_of(pid: u32) -> Option<String> {
    Some(fs::read_to_string(format!("/proc/{pid}/comm")).ok()?.trim_end().to_owned())
}

/// Whether a process has a handler for a signal. One that is gone has none.
pub(crate) fn catches(pid: u32, signal: Signal) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let caught = caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default();
    caught & (1 << (signal as i32 - 1)) != 0
}

/// Sends a signal; nobody there is no failure.
pub(crate) fn signal(pid: u32, signal: Signal) {
    let _ = kill(Pid::from_raw(pid.try_into().unwrap()), signal);
}

/// Stops a process, and waits until it does nothing any more.
#[track_caller]
pub(crate) fn stop(pid: u32) {
    assert!(try_stop(pid), "{pid} is gone");
}

/// [`stop`], of a process that may end. Says whether it stands still.
#[track_caller]
pub(crate) fn try_stop(pid: u32) -> bool {
    signal(pid, Signal::SIGSTOP);
    eventually("it is stopped", || match stat(pid) {
        Some((_, 'T')) => Some(true),
        Some((_, 'Z' | 'X')) | None => Some(false),
        Some(_) => None,
    })
}

/// How many descriptors a process has open.
#[track_caller]
pub(crate) fn open_files(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

/// The most bytes of memory that a process has ever had (RSS).
#[track_caller]
pub(crate) fn peak_memory(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// Bytes of memory a process has, what it has in common with others included (RSS).
#[track_caller]
pub(crate) fn resident_memory(pid: u32) -> u64 {
    memory(pid, "status", "VmRSS:").unwrap()
}

/// Bytes of memory a process has, what it has in common with others divided among them (PSS). None if it is gone.
pub(crate) fn proportional_memory(pid: u32) -> Option<u64> {
    memory(pid, "smaps_rollup", "Pss:")
}

/// How long a process has computed, in ticks of 10 ms.
#[track_caller]
pub(crate) fn computed(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    let [user, system] = [11, 12].map(|field| fields[field].parse::<u64>().unwrap());
    user + system
}

/// How often a process touched memory that the kernel had to find first.
#[track_caller]
pub(crate) fn faults(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit_once(") ").unwrap().1.split(' ').nth(7).unwrap().parse().unwrap()
}

/// Names of abstract unix sockets that begin with `prefix`.
pub(crate) fn abstract_sockets(prefix: &str) -> Vec<String> {
    let sockets = fs::read_to_string("/proc/thread-self/net/unix").unwrap();
    let names = sockets.lines().filter_map(|line| line.split_once(" @").map(|(_, name)| name));
    names.filter(|name| name.starts_with(prefix)).map(str::to_owned).collect()
}

/// Whether anybody listens on the port of `addr`.
pub(crate) fn listens(addr: SocketAddr) -> bool {
    listeners(addr) > 0
}

/// How many sockets listen on a port, for this thread's network.
pub(crate) fn listeners(addr: SocketAddr) -> usize {
    const LISTEN: &str = "0A";
    let port = format!(":{:04X}", addr.port());
    let is_one = |line: &&str| {
        let mut columns = line.split_whitespace().skip(1);
        let local = columns.next().is_some_and(|local| local.ends_with(&port));
        local && columns.nth(1) == Some(LISTEN)
    };
    let tables = ["/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"];
    let count = |table| fs::read_to_string(table).unwrap_or_default().lines().skip(1).filter(is_one).count();
    tables.into_iter().map(count).sum()
}

fn memory(pid: u32, file: &str, line: &str) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/{file}")).ok()?;
    let value = text.lines().find_map(|text| text.strip_prefix(line))?;
    Some(value.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024)
}

/// The parent of every process that runs.
fn parents() -> BTreeMap<u32, u32> {
    pids().filter_map(|pid| Some((pid, stat(pid).filter(|&(_, state)| state != 'Z')?.0))).collect()
}

/// Every process there is.
fn pids() -> impl Iterator<Item = u32> {
    fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Parent and state.
fn stat(pid: u32) -> Option<(u32, char)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before it is in parentheses, and may have some in it.
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    let state = fields.next()?.chars().next()?;
    Some((fields.next()?.parse().ok()?, state))
}

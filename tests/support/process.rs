//! What the kernel says about processes.

use std::collections::BTreeMap;
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

/// Sends a signal; nobody there is no failure.
pub(crate) fn signal(pid: u32, signal: Signal) {
    let _ = kill(Pid::from_raw(pid.try_into().unwrap()), signal);
}

/// Stops a process, and waits until it does nothing any more.
#[track_caller]
pub(crate) fn stop(pid: u32) {
    signal(pid, Signal::SIGSTOP);
    eventually("it is stopped", || stat(pid).filter(|&(_, state)| state == 'T'));
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
    let pids = fs::read_dir("/proc").unwrap().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid| Some((pid, stat(pid).filter(|&(_, state)| state != 'Z')?.0))).collect()
}

/// Parent and state.
fn stat(pid: u32) -> Option<(u32, char)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before it is in parentheses, and may have some in it.
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    let state = fields.next()?.chars().next()?;
    Some((fields.next()?.parse().ok()?, state))
}

//! System calls: by seccomp.
//!
//! What is listed here is what a worker was seen to need. Something that is missing ends a worker, and the log names it.

use std::collections::BTreeMap;
use std::process;

use nix::libc;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch,
};
use syscalls::Sysno;

use super::{Reach, violation};

/// Calls that cannot hurt, or only hurt whoever makes them. Not every architecture has all of them.
const ALLOWED: &[&str] = &[
    // Connections, pipes and what tells of them.
    "read",
    "readv",
    "write",
    "writev",
    "recvfrom",
    "recvmsg",
    "sendto",
    "sendmsg",
    "accept4",
    "shutdown",
    "close",
    "epoll_wait",
    "epoll_pwait",
    "epoll_pwait2",
    "epoll_ctl",
    "poll",
    "ppoll",
    "getsockname",
    "getpeername",
    "getsockopt",
    "setsockopt",
    "socketpair",
    "eventfd2",
    "fcntl",
    // Files that are open.
    "fstat",
    "newfstatat",
    "fstatat",
    "statx",
    "lseek",
    "pread64",
    // Memory, threads and time.
    "munmap",
    "mremap",
    "madvise",
    "brk",
    "futex",
    "sched_yield",
    "sched_getaffinity",
    "set_robust_list",
    "rseq",
    "membarrier",
    "exit",
    "exit_group",
    "clock_nanosleep",
    "nanosleep",
    "clock_gettime",
    "clock_getres",
    "gettimeofday",
    "time",
    "restart_syscall",
    // Signals of our own.
    "sigaltstack",
    "rt_sigaction",
    "rt_sigprocmask",
    "rt_sigreturn",
    // Who we are, and chance.
    "getpid",
    "gettid",
    "getuid",
    "geteuid",
    "getgid",
    "getegid",
    "uname",
    "sysinfo",
    "getrandom",
    // Answered with an error below, where they are not needed.
    "open",
    "openat",
    "openat2",
    "readlink",
    "readlinkat",
    "access",
    "faccessat",
    "faccessat2",
    "stat",
    "lstat",
    "socket",
    "clone3",
    "getcwd",
];

/// What a guest does to files and directories that it was granted.
const FILES: &[&str] = &[
    "getdents64",
    "mkdirat",
    "unlinkat",
    "renameat",
    "renameat2",
    "linkat",
    "symlinkat",
    "utimensat",
    "fsync",
    "fdatasync",
    "ftruncate",
    "fallocate",
    "fadvise64",
    "pwrite64",
    "preadv",
    "preadv2",
    "pwritev",
    "pwritev2",
    "fstatfs",
];

/// What it takes to find another host, and to talk to it.
const NETWORK: &[&str] = &["connect", "sendmmsg", "recvmmsg"];

/// What opens something by its name, or tells one.
const NAMES: &[&str] =
    &["open", "openat", "openat2", "readlink", "readlinkat", "access", "faccessat", "faccessat2", "getcwd"];

/// `PAGEMAP_SCAN`, by which the memory of instances is erased.
const PAGEMAP_SCAN: u64 = 0xc060_6610;

/// `F_SETSIG` and `F_SETOWN_EX`: which signal an event is to be, and for whom.
const F_SETSIG: i32 = 10;
const F_SETOWN_EX: i32 = 15;

/// `SIOCGIFINDEX`, by which the resolver finds the interface of a name server.
const SIOCGIFINDEX: u64 = 0x8933;

/// `PR_SET_VMA`, by which mappings get names.
const PR_SET_VMA: u64 = 0x5356_4d41;

/// From now on, any other call ends this process.
///
/// # Errors
/// Fails where the kernel does not have it, or this architecture is none that we know.
pub(super) fn restrict(reach: &Reach) -> Result<(), String> {
    let filters = filters(reach)?;
    violation::report()?;
    for filter in &filters {
        seccompiler::apply_filter_all_threads(filter).map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// What a compiler never does: it starts nobody, talks to nobody, looks into nobody, and leaves the system as it is.
const NOT_COMPILING: &[&str] = &[
    "execve",
    "execveat",
    "fork",
    "vfork",
    "socket",
    "socketpair",
    "connect",
    "bind",
    "listen",
    "ptrace",
    "process_vm_readv",
    "process_vm_writev",
    "pidfd_open",
    "pidfd_getfd",
    "kill",
    "tkill",
    "bpf",
    "perf_event_open",
    "userfaultfd",
    "io_uring_setup",
    "keyctl",
    "add_key",
    "request_key",
    "mount",
    "unshare",
    "setns",
    "chmod",
    "fchmodat",
    "chown",
    "mknod",
    "mknodat",
];

/// From now on, a compiler that does something else is refused it.
///
/// # Errors
/// As [`restrict`].
pub(super) fn restrict_builder() -> Result<(), String> {
    let describe = |error: seccompiler::BackendError| error.to_string();
    let arch: TargetArch = std::env::consts::ARCH.try_into().map_err(describe)?;
    let refused = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let filter: BpfProgram = SeccompFilter::new(all(NOT_COMPILING), SeccompAction::Allow, refused, arch)
        .and_then(TryInto::try_into)
        .map_err(describe)?;
    seccompiler::apply_filter_all_threads(&filter).map_err(|error| error.to_string())
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// In the order in which they are installed: the last one forbids to install more.
fn filters(reach: &Reach) -> Result<Vec<BpfProgram>, String> {
    let describe = |error: seccompiler::BackendError| error.to_string();
    let arch: TargetArch = std::env::consts::ARCH.try_into().map_err(describe)?;
    let filter = |rules, otherwise, action| -> Result<BpfProgram, String> {
        SeccompFilter::new(rules, otherwise, action, arch).and_then(TryInto::try_into).map_err(describe)
    };
    let refused = |code: i32| SeccompAction::Errno(code.unsigned_abs());

    // Its flags are in memory, where a filter cannot see them. The C library does without.
    let unknown = filter(all(&["clone3"]), SeccompAction::Allow, refused(libc::ENOSYS))?;
    let mut closed = if reach.opens() { Rules::new() } else { all(NAMES) };
    closed.extend(unwanted_sockets(reach).map_err(describe)?);
    closed.extend(detours().map_err(describe)?);
    if reach.connects() {
        // The system's resolver may want to load a library for it, and does without.
        let exec = constant(libc::PROT_EXEC);
        closed.extend(any("mmap", [masked(2, exec, exec)]).map_err(describe)?);
    }
    let closed = filter(closed, SeccompAction::Allow, refused(libc::EACCES))?;
    let allowed = filter(allowed(reach).map_err(describe)?, SeccompAction::Trap, SeccompAction::Allow)?;
    Ok(vec![unknown, closed, allowed])
}

/// Calls by their names, whatever their arguments are.
fn all(names: &[&str]) -> Rules {
    names.iter().filter_map(|name| Some((number(name)?, Vec::new()))).collect()
}

fn number(name: &str) -> Option<i64> {
    name.parse::<Sysno>().ok().map(|call| i64::from(call.id()))
}

type Condition = Result<SeccompCondition, seccompiler::BackendError>;

/// The argument at `index`, counted from 0, with all bits but those of `mask` cleared.
fn masked(index: u8, mask: u64, value: u64) -> Condition {
    SeccompCondition::new(index, SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(mask), value)
}

fn is(index: u8, value: u64) -> Condition {
    SeccompCondition::new(index, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value)
}

fn is_not(index: u8, value: u64) -> Condition {
    SeccompCondition::new(index, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, value)
}

/// A call on which one of several conditions holds.
fn any(
    name: &str,
    conditions: impl IntoIterator<Item = Condition>,
) -> Result<Rules, seccompiler::BackendError> {
    let rules = conditions.into_iter().map(|condition| SeccompRule::new(vec![condition?]));
    let rules = rules.collect::<Result<_, _>>()?;
    Ok(number(name).map(|number| (number, rules)).into_iter().collect())
}

/// Ways to others that need no socket of their own and no `connect`, or that make the kernel signal somebody.
fn detours() -> Result<Rules, seccompiler::BackendError> {
    let fast_open = || {
        let bit = constant(libc::MSG_FASTOPEN);
        move |index| masked(index, bit, bit)
    };
    // A pair of datagram sockets reaches every socket that has a path.
    let mut rules = all(&["socketpair"]);
    rules.extend(any("sendto", [fast_open()(3)])?);
    rules.extend(any("sendmsg", [fast_open()(2)])?);
    rules.extend(any("sendmmsg", [fast_open()(3)])?);
    let signals = [libc::F_SETOWN, F_SETSIG, F_SETOWN_EX, libc::F_NOTIFY, libc::F_SETLEASE];
    rules.extend(any("fcntl", signals.map(|command| is(1, constant(command))))?);
    Ok(rules)
}

/// Sockets that nobody here needs: all, or all but those of the internet's own protocols.
fn unwanted_sockets(reach: &Reach) -> Result<Rules, seccompiler::BackendError> {
    let Some(socket) = number("socket") else { return Ok(Rules::new()) };
    if !reach.connects() {
        return Ok(all(&["socket"]));
    }
    let [inet, inet6, raw] = [libc::AF_INET, libc::AF_INET6, libc::SOCK_RAW].map(constant);
    let others = SeccompRule::new(vec![is_not(0, inet)?, is_not(0, inet6)?])?;
    let raw = SeccompRule::new(vec![masked(1, 0xf, raw)?])?;
    // Others that speak TCP, such as MPTCP, go where Landlock does not look.
    let [any, tcp, udp] = [0, libc::IPPROTO_TCP, libc::IPPROTO_UDP].map(constant);
    let protocols = SeccompRule::new(vec![is_not(2, any)?, is_not(2, tcp)?, is_not(2, udp)?])?;
    Ok([(socket, vec![others, raw, protocols])].into())
}

fn allowed(reach: &Reach) -> Result<Rules, seccompiler::BackendError> {
    let mut rules = all(ALLOWED);
    if !reach.dirs.is_empty() {
        rules.extend(all(FILES));
    }
    if reach.connects() {
        rules.extend(all(NETWORK));
    }
    // Memory that is written and then run is how an attack begins.
    let not_executable = || [masked(2, constant(libc::PROT_EXEC), 0)];
    // Where connections are made it is refused, above, and ends nobody.
    rules.extend(if reach.connects() { all(&["mmap"]) } else { any("mmap", not_executable())? });
    rules.extend(any("mprotect", not_executable())?);
    let thread = u64::from(libc::CLONE_THREAD.unsigned_abs());
    rules.extend(any("clone", [masked(0, thread, thread)])?);
    // Of nobody but ourselves.
    rules.extend(any("tgkill", [is(0, process::id().into())])?);
    rules.extend(any("prctl", [is(0, constant(libc::PR_SET_NAME)), is(0, PR_SET_VMA)])?);
    let controls = [libc::FIONBIO, libc::FIONREAD, libc::TCGETS, PAGEMAP_SCAN, SIOCGIFINDEX];
    rules.extend(any("ioctl", controls.map(|code| is(1, code)))?);
    // Limits are read and not set.
    let unset = SeccompCondition::new(2, SeccompCmpArgLen::Qword, SeccompCmpOp::Eq, 0);
    rules.extend(any("prlimit64", [unset])?);
    Ok(rules)
}

/// A constant of the C library's as an argument.
fn constant(value: i32) -> u64 {
    value.unsigned_abs().into()
}

#[cfg(test)]
mod tests {
    use wasmcluster_core::app::DirGrant;

    use super::*;

    fn reach(dir: bool, rule: Option<&str>) -> Reach {
        let grant = DirGrant { host: "/srv".into(), guest: "/srv".into(), writable: true };
        Reach {
            dirs: dir.then_some(grant).into_iter().collect(),
            outbound: rule.map(|rule| rule.parse().expect("a rule")).into_iter().collect(),
        }
    }

    #[test]
    fn every_call_has_a_number() {
        // Other architectures left out what newer calls do as well.
        if cfg!(target_arch = "x86_64") {
            for name in [ALLOWED, FILES, NETWORK, NAMES].concat() {
                assert!(number(name).is_some() || name == "fstatat", "{name}");
            }
        }
    }

    #[test]
    fn what_is_answered_with_an_error_would_not_end_the_worker() {
        for name in NAMES.iter().chain(&["socket", "socketpair", "clone3"]) {
            assert!(ALLOWED.contains(name), "{name}");
        }
    }

    #[test]
    fn a_guest_without_grants_gets_its_worker_fewer_calls() {
        let count = |dir, rule| allowed(&reach(dir, rule)).expect("rules").len();
        let without = count(false, None);
        assert_eq!(count(true, None), without + FILES.len());
        assert_eq!(count(false, Some("*")), without + NETWORK.len());
    }

    #[test]
    fn what_starts_programs_or_changes_the_system_is_not_allowed() {
        let rules = allowed(&reach(true, Some("*"))).expect("rules");
        for name in [
            "execve",
            "execveat",
            "fork",
            "vfork",
            "kill",
            "tkill",
            "ptrace",
            "process_vm_readv",
            "process_vm_writev",
            "bpf",
            "mount",
            "setns",
            "unshare",
            "io_uring_setup",
            "memfd_create",
            "listen",
            "bind",
            "setuid",
            "chmod",
            "chown",
            "keyctl",
            "perf_event_open",
            "seccomp",
            "pidfd_getfd",
            "userfaultfd",
            "mknodat",
        ] {
            assert!(number(name).is_none_or(|number| !rules.contains_key(&number)), "{name}");
        }
    }

    #[test]
    fn filters_can_be_made_for_every_reach() {
        for (dir, rule) in [(false, None), (true, None), (false, Some("*")), (true, Some("example.org:443"))]
        {
            assert_eq!(filters(&reach(dir, rule)).expect("filters").len(), 3);
        }
    }
}

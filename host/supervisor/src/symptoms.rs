//! What the kernel can say of a process that does not answer.
//!
//! Read while it is there: whatever holds it up is gone with it. Each part is there or not, by what this kernel has and what
//! this user may know.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use wasmcluster_core::recent::{self, Recent, SIZE};
use wasmcluster_core::record::Symptoms;

/// Most of a kernel's stack, which has an end.
const FRAMES: usize = 24;

/// Looks at a worker, and at the file with its last requests.
pub(crate) fn symptoms(pid: u32, requests: Option<&File>) -> Symptoms {
    let read = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap_or_default();
    let (status, stack) = (read("status"), read("stack"));
    Symptoms {
        state: state(&status).map(Into::into),
        waits_in: Some(read("wchan")).filter(|function| !function.is_empty() && function != "0"),
        system_call: read("syscall").split(' ').next().and_then(|number| number.parse().ok()),
        stack: stack.lines().take(FRAMES).filter_map(frame).map(Into::into).collect(),
        requests: requests.and_then(last).unwrap_or_default(),
    }
}

fn last(requests: &File) -> Option<Vec<Recent>> {
    let mut bytes = [0; SIZE];
    requests.read_exact_at(&mut bytes, 0).ok()?;
    Some(recent::read(&bytes))
}

/// `T (stopped)` of a line of `/proc/PID/status`.
fn state(status: &str) -> Option<&str> {
    status.lines().find_map(|line| line.strip_prefix("State:")).map(str::trim)
}

/// `do_epoll_wait+0x1/0x2` of a line of `/proc/PID/stack`, without the address.
fn frame(line: &str) -> Option<&str> {
    line.split_once("] ").map(|(_, function)| function.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_writes_is_understood() {
        let status = "Name:\twasmcluster/0\nUmask:\t0022\nState:\tD (disk sleep)\nTgid:\t7\n";
        assert_eq!(state(status), Some("D (disk sleep)"));
        assert_eq!(state("Name:\tx\n"), None);
        assert_eq!(frame("[<0>] do_epoll_wait+0x5d/0x80"), Some("do_epoll_wait+0x5d/0x80"));
        assert_eq!(frame(""), None);
    }

    #[test]
    fn of_a_process_that_is_there_something_is_known_and_of_another_nothing() {
        let ours = symptoms(std::process::id(), None);
        assert!(ours.state.is_some_and(|state| state.starts_with('R') || state.starts_with('S')));
        assert_eq!(symptoms(u32::MAX, None), Symptoms::default());
    }
}

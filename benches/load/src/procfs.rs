//! What the kernel says about processes.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use crate::Result;

/// The descendants of a process, without itself.
pub(crate) fn descendants(root: i32) -> Result<Vec<i32>> {
    let parents = parents()?;
    let descends = |process: &i32| {
        std::iter::successors(parents.get(process), |parent| parents.get(parent))
            .any(|parent| *parent == root)
    };
    Ok(parents.keys().copied().filter(descends).collect())
}

fn parents() -> Result<BTreeMap<i32, i32>> {
    let processes = fs::read_dir("/proc")?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    // One that ended in the meantime is nobody's child.
    Ok(processes.filter_map(|process| Some((process, parent(process)?))).collect())
}

fn parent(process: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name may contain anything, parentheses too: what follows the last one is fields.
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// Whether a process is there and has not ended.
pub(crate) fn runs(process: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, fields)| !fields.trim_start().starts_with(['Z', 'X']))
}

/// The memory of a process in bytes, shared pages divided by how many share them.
pub(crate) fn pss(process: i32) -> Result<u64> {
    let path = format!("/proc/{process}/smaps_rollup");
    let rollup = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"));
    let kilobytes =
        line.and_then(|line| line.trim().strip_suffix("kB")).ok_or("no `Pss:` in smaps_rollup")?;
    Ok(kilobytes.trim().parse::<u64>()? * 1024)
}

/// How long the threads of a process have been ready to run without a CPU to run on.
pub(crate) fn waited(process: i32) -> Result<Duration> {
    let mut nanos = 0;
    for task in fs::read_dir(format!("/proc/{process}/task"))? {
        // A thread that has just ended, or a kernel that does not count, waits for nothing.
        let stat = fs::read_to_string(task?.path().join("schedstat")).unwrap_or_default();
        nanos +=
            stat.split_ascii_whitespace().nth(1).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
    }
    Ok(Duration::from_nanos(nanos))
}

/// The sum for several processes.
pub(crate) fn waited_of_all(processes: &[i32]) -> Result<Duration> {
    processes.iter().map(|process| waited(*process)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_known() -> Result<()> {
        let me = i32::try_from(std::process::id())?;
        assert!(runs(me));
        assert!(!runs(i32::MAX));
        assert!(pss(me)? > 100 << 10);
        let parent = parent(me).ok_or("no parent")?;
        assert!(descendants(parent)?.contains(&me));
        assert!(!descendants(me)?.contains(&me));
        Ok(())
    }
}

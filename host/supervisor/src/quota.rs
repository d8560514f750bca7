//! The CPU quota of the control group we run in.
//!
//! A container with two CPUs of a machine with 64 sees 64; 64 workers there would take turns on two. Both versions of
//! the kernel's interface are read, and the tightest quota on the way up to the root counts.

use std::fs;
use std::path::{Path, PathBuf};

/// CPUs the quota amounts to, rounded up; `None` without a quota.
pub(crate) fn cpus() -> Option<usize> {
    let membership = fs::read_to_string("/proc/self/cgroup").ok()?;
    candidates(&membership, Path::new("/sys/fs/cgroup"))
        .iter()
        .filter_map(Directory::quota)
        .reduce(f64::min)
        .map(round_up)
}

/// A directory in which the quota of a group may be read.
#[derive(Debug, PartialEq, Eq)]
enum Directory {
    V1(PathBuf),
    V2(PathBuf),
}

impl Directory {
    fn quota(&self) -> Option<f64> {
        match self {
            Self::V1(directory) => {
                let quota = fs::read_to_string(directory.join("cpu.cfs_quota_us")).ok()?;
                let period = fs::read_to_string(directory.join("cpu.cfs_period_us")).ok()?;
                ratio(&quota, &period)
            }
            Self::V2(directory) => {
                let max = fs::read_to_string(directory.join("cpu.max")).ok()?;
                let (quota, period) = max.trim().split_once(' ')?;
                ratio(quota, period)
            }
        }
    }
}

/// `max` and `-1`, the two words for no quota, are no ratio.
fn ratio(quota: &str, period: &str) -> Option<f64> {
    let quota: u64 = quota.trim().parse().ok()?;
    let period: u64 = period.trim().parse().ok()?;
    (period > 0).then(|| quota as f64 / period as f64)
}

fn round_up(cpus: f64) -> usize {
    (cpus.ceil() as usize).max(1)
}

/// Where to look, given the content of `/proc/self/cgroup`: lines of `id:controllers:path`.
fn candidates(membership: &str, root: &Path) -> Vec<Directory> {
    let mut directories = Vec::new();
    for line in membership.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        let path = Path::new(path.trim_start_matches('/'));
        // Inside a container the path may be the host's, which does not exist here: the root, which every walk ends
        // at, is then the container's own group.
        if controllers.is_empty() {
            directories.extend(path.ancestors().map(|path| Directory::V2(root.join(path))));
        } else if controllers.split(',').any(|controller| controller == "cpu") {
            for mount in [controllers, "cpu"] {
                directories.extend(path.ancestors().map(|path| Directory::V1(root.join(mount).join(path))));
            }
        }
    }
    directories
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotas_are_rounded_up() {
        let cpus = |quota, period| ratio(quota, period).map(round_up);
        assert_eq!(cpus("200000", "100000\n"), Some(2));
        assert_eq!(cpus("150000", "100000"), Some(2));
        assert_eq!(cpus("10000", "100000"), Some(1));
        assert_eq!(cpus("0", "100000"), Some(1));
        assert_eq!(cpus("max", "100000"), None);
        assert_eq!(cpus("-1\n", "100000\n"), None);
        assert_eq!(cpus("100000", "0"), None);
        assert_eq!(cpus("", ""), None);
    }

    #[test]
    fn version_2_walks_up_to_the_root() {
        let found = candidates("0::/system.slice/app.service\n", Path::new("/sys/fs/cgroup"));
        let expected =
            ["/sys/fs/cgroup/system.slice/app.service", "/sys/fs/cgroup/system.slice", "/sys/fs/cgroup"];
        assert_eq!(found, expected.map(|path| Directory::V2(path.into())));
    }

    #[test]
    fn version_1_looks_under_both_names_of_the_controller() {
        let membership = "12:memory:/docker/1\n4:cpu,cpuacct:/docker/1\n1:name=systemd:/docker/1\n";
        let found = candidates(membership, Path::new("/cg"));
        let expected = [
            "/cg/cpu,cpuacct/docker/1",
            "/cg/cpu,cpuacct/docker",
            "/cg/cpu,cpuacct",
            "/cg/cpu/docker/1",
            "/cg/cpu/docker",
            "/cg/cpu",
        ];
        assert_eq!(found, expected.map(|path| Directory::V1(path.into())));
    }

    #[test]
    fn other_controllers_and_garbage_give_no_candidates() {
        assert_eq!(
            candidates("\n::\nnonsense\n5:cpuset:/a\n6:cpuacct:/a", Path::new("/cg")),
            [Directory::V2("/cg".into())]
        );
        assert_eq!(candidates("", Path::new("/cg")), []);
    }

    #[test]
    fn a_directory_is_read_as_the_kernel_writes_it() {
        let directory = std::env::temp_dir().join(format!("wasmcluster-quota-{}", std::process::id()));
        fs::create_dir_all(&directory).expect("a temporary directory");
        fs::write(directory.join("cpu.max"), "250000 100000\n").expect("writable");
        fs::write(directory.join("cpu.cfs_quota_us"), "50000\n").expect("writable");
        fs::write(directory.join("cpu.cfs_period_us"), "100000\n").expect("writable");
        assert_eq!(Directory::V2(directory.clone()).quota(), Some(2.5));
        assert_eq!(Directory::V1(directory.clone()).quota(), Some(0.5));
        fs::remove_dir_all(&directory).expect("removable");
    }
}

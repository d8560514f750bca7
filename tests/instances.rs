//! How many workers there are: a number, or what the machine has.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::{Pid, SysconfVar, sysconf};

use crate::support::{Program, Server, Starting, binary, program};

#[test]
fn as_many_workers_as_instances() {
    for instances in [1, 3] {
        let server = Server::of("hello-p2").instances(instances).start();
        assert_eq!(server.workers().len(), instances, "{}", server.explain());
    }
}

#[test]
fn max_is_as_many_workers_as_cpus() {
    let server = Server::of("hello-p2").instances("max").start();
    assert_eq!(server.workers().len(), cpus().min(256), "{}", server.explain());
}

#[test]
fn auto_is_no_more_workers_than_cpus_and_the_default() {
    let server = Server::of("hello-p2").instances("auto").start();
    let count = server.workers().len();
    assert!((1..=cpus()).contains(&count), "{count} workers{}", server.explain());
    let default = program(["serve", "--addr", "127.0.0.1:0"]);
    let default = Starting::of(default).start();
    assert_eq!(default.workers().len(), count, "{}", default.explain());
}

#[test]
fn auto_is_one_worker_on_one_cpu() {
    let allowed = sched_getaffinity(Pid::from_raw(0)).unwrap();
    let first = (0..CpuSet::count()).find(|&cpu| allowed.is_set(cpu).unwrap()).unwrap();
    let mut one = CpuSet::new();
    one.set(first).unwrap();
    // What this thread may use, the server inherits.
    sched_setaffinity(Pid::from_raw(0), &one).unwrap();
    let server = Server::of("hello-p2").instances("auto").start();
    sched_setaffinity(Pid::from_raw(0), &allowed).unwrap();
    assert_eq!(server.workers().len(), 1, "{}", server.explain());
}

#[test]
fn auto_is_one_worker_for_half_a_cpu() {
    let Some(group) = HalfACpu::new() else {
        eprintln!("skipped: no control group with a CPU quota can be made here");
        return;
    };
    let mut shell = Command::new("sh");
    shell.args(["-c", "echo $$ >\"$0/cgroup.procs\" && exec \"$@\""]).arg(&group.0);
    let program = Program::through(shell).args([binary(), "serve"]);
    let server = Starting::of(program.args(["--addr", "127.0.0.1:0", "--instances", "auto"])).start();
    assert_eq!(server.workers().len(), 1, "{}", server.explain());
    server.stop();
}

/// A control group, gone when dropped.
struct HalfACpu(PathBuf);

impl HalfACpu {
    /// None where we may not, or where that is organised in a way of its own.
    fn new() -> Option<Self> {
        let name = format!("wasmcluster-tests-{}", std::process::id());
        // The kernel makes the files of a group: where there are none, the directory is none.
        let set = |group: &Self, file: &str, value: &str| {
            let file = File::options().write(true).open(group.0.join(file));
            file.is_ok_and(|mut file| file.write_all(value.as_bytes()).is_ok())
        };
        let at = |root: &str| {
            let directory = Path::new(root).join(&name);
            fs::create_dir(&directory).is_ok().then_some(Self(directory))
        };
        at("/sys/fs/cgroup/cpu")
            .filter(|v1| set(v1, "cpu.cfs_period_us", "100000") && set(v1, "cpu.cfs_quota_us", "50000"))
            .or_else(|| at("/sys/fs/cgroup").filter(|v2| set(v2, "cpu.max", "50000 100000")))
            .filter(|group| group.0.join("cgroup.procs").exists())
    }
}

impl Drop for HalfACpu {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

#[test]
fn numbers_of_instances_that_make_no_sense_are_refused() {
    for (value, reason) in [
        ("0", "at least 1 instance is needed"),
        ("1000", "at most 256 instances are possible"),
        ("x", "expected a number from 1 to 256, `max` or `auto`"),
        ("-1", "expected a number from 1 to 256, `max` or `auto`"),
        ("1.5", "expected a number from 1 to 256, `max` or `auto`"),
    ] {
        let refused = program(["serve", &format!("--instances={value}")]).run();
        refused.expect_usage(&format!("invalid value `{value}` for `--instances`: {reason}"));
    }
}

/// CPUs of this machine.
fn cpus() -> usize {
    sysconf(SysconfVar::_NPROCESSORS_ONLN).unwrap().unwrap().try_into().unwrap()
}

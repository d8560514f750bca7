//! Processes that die: what is lost with them, and what is left of them.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal::{SIGKILL, SIGSTOP};
use serde_json::Value;

use crate::support::{
    RawClient, Server, abstract_sockets, alive, eventually, expect_gone, listens, open_files, signal, within,
};

#[test]
fn a_killed_worker_takes_only_what_it_had_in_flight_with_it() {
    const CLIENTS: usize = 24;
    let server = Server::demo().instances(4).start();
    let before = server.workers();
    let victim = before[0];
    let others: Vec<_> = before.iter().copied().filter(|&pid| pid != victim).collect();

    let answered: Vec<_> = (0..CLIENTS).map(|_| AtomicUsize::new(0)).collect();
    let with_victim = AtomicUsize::new(0);
    let successor_answered = AtomicBool::new(false);
    let done = AtomicBool::new(false);
    let each_answered = |more: usize| {
        let goals: Vec<_> = answered.iter().map(|count| count.load(Ordering::Relaxed) + more).collect();
        eventually("answers for every client", || {
            answered
                .iter()
                .zip(&goals)
                .all(|(count, goal)| count.load(Ordering::Relaxed) >= *goal)
                .then_some(())
        });
    };
    let losses = thread::scope(|scope| {
        let clients: Vec<_> = answered
            .iter()
            .map(|answered| {
                scope.spawn(|| {
                    let mut losses = Vec::new();
                    'connections: while !done.load(Ordering::Relaxed) {
                        let mut connection = server.connect();
                        let mut first = None;
                        while !done.load(Ordering::Relaxed) {
                            let Ok(answer) = connection.try_get("/json") else {
                                losses.push(first);
                                continue 'connections;
                            };
                            let who: Value = serde_json::from_str(answer.text()).unwrap();
                            let pid = u32::try_from(who["pid"].as_u64().unwrap()).unwrap();
                            if first.replace(pid).is_none() && pid == victim {
                                with_victim.fetch_add(1, Ordering::Relaxed);
                            }
                            if !before.contains(&pid) {
                                successor_answered.store(true, Ordering::Relaxed);
                            }
                            answered.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                    losses
                })
            })
            .collect();
        each_answered(20);
        signal(victim, SIGKILL);
        server.wait_for_workers(4, &[victim]);
        eventually("an answer of the successor", || {
            // Those who were there before it stay where they are.
            let who = server.who();
            let successor = !before.iter().any(|&pid| who["pid"] == pid);
            (successor || successor_answered.load(Ordering::Relaxed)).then_some(())
        });
        each_answered(20);
        done.store(true, Ordering::Relaxed);
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect::<Vec<_>>()
    });

    let most = with_victim.load(Ordering::Relaxed);
    assert!(losses.len() <= most, "{} lost, {most} were with it{}", losses.len(), server.explain());
    // A loss on a connection that somebody else answered, or that nobody had taken yet, is none of a crash's.
    assert!(losses.iter().all(|&who| who == Some(victim)), "{losses:?}{}", server.explain());
    let after = server.workers();
    assert!(others.iter().all(|pid| after.contains(pid)), "other slots were touched{}", server.explain());
    assert_eq!(server.stderr().matches("ended with").count(), 1, "{}", server.explain());
}

#[test]
fn connections_that_wait_at_a_dead_worker_are_served_by_its_successor() {
    let server = Server::demo().instances(1).start();
    let worker = server.workers()[0];
    // It can take nothing any more, so that all of these stay in the queue.
    signal(worker, SIGSTOP);
    let mut waiting: Vec<_> = (0..50).map(|_| server.connect()).collect();
    for client in &mut waiting {
        client.send_head("GET", "/json", &[]);
    }
    signal(worker, SIGKILL);
    for client in &mut waiting {
        let who: Value = serde_json::from_str(client.response().expect_status(200).text()).unwrap();
        assert_ne!(who["pid"], worker);
    }
}

#[test]
fn a_crash_is_said_with_slot_pid_and_cause() {
    let server = Server::of("hello-p2").instances(1).args(["--min-uptime", "0s"]).start();
    let worker = server.workers()[0];
    signal(worker, SIGKILL);
    let line = server.wait_for_stderr("ended with");
    assert!(line.starts_with(&format!("slot 0 (pid {worker}): ended with signal 9")), "{line}");
    assert!(line.ends_with("; restarting"), "{line}");
    let successor = server.wait_for_workers(1, &[worker])[0];
    server.wait_for_stderr(&format!("slot 0 (pid {successor}): ready after"));
    assert_eq!(server.get("/").status, 200);
}

#[test]
fn no_worker_outlives_its_supervisor() {
    let server = Server::of("zoo-p2").instances(3).args(["--timeout", "none"]).start();
    // One computes, one has a response under way, whoever they are.
    let mut clients: Vec<_> = (0..6).map(|_| server.connect()).collect();
    for (client, path) in clients.iter_mut().zip(["/spin", "/never", "/stream?chunks=100000"].iter().cycle())
    {
        client.send_head("GET", path, &[]);
    }
    clients[2].try_head().unwrap();
    let workers = server.workers();
    server.signal(SIGKILL);
    within(Duration::from_secs(2), "no worker left", || workers.iter().all(|&pid| !alive(pid)).then_some(()));
    let addr = server.addr;
    within(Duration::from_secs(2), "nobody listens", || (!listens(addr)).then_some(()));
}

#[test]
fn an_address_can_be_taken_over_from_a_supervisor_that_was_killed() {
    let killed = Server::of("hello-p2").instances(2).start();
    killed.signal(SIGKILL);
    let addr = killed.addr;
    killed.wait();
    let next = Server::of("hello-p2").instances(2).addr(addr).start();
    assert_eq!(next.get("/").status, 200);
}

#[test]
fn a_worker_that_keeps_dying_is_restarted_later_and_later_and_then_given_up() {
    let server =
        Server::demo().instances(2).args(["--max-restarts", "3", "--min-uptime", "1h", "--json"]).start();
    let mut other = connection_to_slot(&server, 1);
    let healthy = worker_of(&server, 1, &BTreeSet::new());
    kill_until_given_up(&server, 0, 4);
    server.wait_for_stderr("slot_errored");

    let stderr = server.stderr();
    let records = stderr.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let crashes: Vec<_> = records.filter(|record| record["notice"] == "worker_crashed").collect();
    assert!(crashes.iter().all(|crash| crash["slot"] == 0), "{}", server.explain());
    let delays: Vec<_> = crashes.iter().map(|crash| crash["restart_in_ms"].as_u64()).collect();
    let [Some(0), Some(second), Some(third), None] = delays[..] else { panic!("{delays:?}") };
    assert!((49..=100).contains(&second) && (99..=200).contains(&third), "{delays:?}");

    // The other slot never noticed.
    assert_eq!(other.get("/json").status, 200);
    assert_eq!(server.workers(), [healthy]);
    server.stop();
}

#[test]
fn connections_are_served_while_a_slot_is_given_up() {
    let server = Server::demo().instances(2).args(["--max-restarts", "0", "--min-uptime", "1h"]).start();
    kill_until_given_up(&server, 0, 1);
    server.wait_for_stderr("given up");
    for _ in 0..40 {
        let mut client = server.connect();
        client.set_timeout(Duration::from_secs(5));
        let answer = client.try_get("/json");
        assert!(answer.is_ok(), "a connection that nobody takes: {answer:?}");
    }
}

#[test]
fn it_ends_with_code_7_when_every_slot_is_given_up() {
    let server =
        Server::of("hello-p2").instances(2).args(["--max-restarts", "1", "--min-uptime", "1h"]).start();
    let both = [0, 1].map(|slot| kill_until_given_up(&server, slot, 2));
    let finished = server.wait();
    finished.expect_code(7);
    finished.expect_stderr("slot 0: given up after 2 early ends within 5m");
    finished.expect_stderr("slot 1: given up after 2 early ends within 5m");
    finished.expect_stderr("error: no worker stays up: every slot has used up its restarts\nhint: ");
    expect_gone(&both.concat());
}

#[test]
fn a_worker_that_is_not_ready_in_time_is_killed() {
    // Its start function computes for ever: however slow this machine is, it is not ready in time.
    let never_starts = wat::parse_str(
        r#"(component
            (import "wasi:http/types@0.2.0" (instance $types
                (export "incoming-request" (type (sub resource)))
                (export "response-outparam" (type (sub resource)))))
            (alias export $types "incoming-request" (type $request))
            (alias export $types "response-outparam" (type $answer))
            (core module $m
                (func $start (loop (br 0)))
                (start $start)
                (func (export "handle") (param i32 i32)))
            (core instance $i (instantiate $m))
            (func $handle (param "request" (own $request)) (param "response-out" (own $answer))
                (canon lift (core func $i "handle")))
            (instance $handler (export "handle" (func $handle)))
            (export "wasi:http/incoming-handler@0.2.0" (instance $handler)))"#,
    )
    .unwrap();
    let args = ["--listen-timeout", "100ms", "--max-restarts", "1"];
    let server = Server::of_file(Path::new("never-starts.wasm")).file("never-starts.wasm", never_starts);
    let finished = server.instances(1).args(args).program().run();
    finished
        .expect_code(7)
        .expect_stderr(": not ready after 100ms\n")
        .expect_stderr(": was killed since it was not ready in time; restarting\n");
    finished.expect_nothing_left();
}

#[test]
fn ends_after_the_min_uptime_do_not_count() {
    let server =
        Server::of("hello-p2").instances(1).args(["--max-restarts", "0", "--min-uptime", "0s"]).start();
    let mut worker = server.workers()[0];
    for _ in 0..5 {
        signal(worker, SIGKILL);
        worker = server.wait_for_workers(1, &[worker])[0];
        // One that dies before it serves did not serve for any time at all.
        server.wait_for_stderr(&format!("(pid {worker}): ready after"));
    }
    assert_eq!(server.get("/").status, 200);
    server.stop();
}

#[test]
fn crashes_leave_no_descriptor_in_the_supervisor() {
    let server = Server::of("hello-p2").instances(2).args(["--min-uptime", "0s"]).start();
    let serve_again = |killed: &[u32]| {
        let workers = server.wait_for_workers(2, killed);
        // A ready worker is one whose spawn is over and done with.
        for pid in &workers {
            eventually("ready", || server.stderr().contains(&format!("(pid {pid}): ready")).then_some(()));
        }
    };
    let kill_all = || {
        let workers = server.workers();
        workers.iter().for_each(|&pid| signal(pid, SIGKILL));
        serve_again(&workers);
    };
    kill_all();
    let before = open_files(server.pid());
    for _ in 0..10 {
        kill_all();
    }
    eventually("as many descriptors as before", || (open_files(server.pid()) <= before).then_some(()));
}

#[test]
fn a_hundred_starts_and_stops_leave_nothing_behind() {
    const AT_ONCE: usize = 10;
    const EACH: usize = 10;
    let cache = tempfile::tempdir().unwrap();
    let start = || Server::of("hello-p2").instances(2).env("WASMCLUSTER_CACHE_DIR", cache.path());
    // The only one that compiles.
    start().start().stop();
    let one = || {
        let server = start().start();
        assert_eq!(server.get("/").status, 200);
        let (addr, workers) = (server.addr, server.workers());
        assert_eq!(workers.len(), 2);
        // Fails unless the processes are gone.
        let finished = server.stop();
        eventually("nobody listens", || (!listens(addr)).then_some(()));
        let name = format!("wasmcluster/tcp/{addr}");
        eventually("no abstract socket", || abstract_sockets(&name).is_empty().then_some(()));
        assert_eq!(files(finished.place.path()), ["home", "run", "work"], "{}", finished.explain());
        // The history is there to stay.
        for (place, left) in [("home", &[".local"][..]), ("run", &[]), ("work", &[])] {
            assert_eq!(files(&finished.place.path().join(place)), left, "in {place}");
        }
    };
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| (0..EACH).for_each(|_| one()));
        }
    });
    let kept = files(cache.path());
    let kinds: Vec<_> = kept.iter().map(|name| name.rsplit('.').next().unwrap()).collect();
    assert_eq!(kinds.len(), 3, "{kept:?}");
    assert!(["cwasm", "json", "lock"].iter().all(|kind| kinds.contains(kind)), "{kept:?}");
}

/// The worker of a slot that is not among `killed`, once there is one.
#[track_caller]
fn worker_of(server: &Server, slot: usize, killed: &BTreeSet<u32>) -> u32 {
    // Workers are named after their slot, from early in their lives.
    let name = format!("wasmcluster/{slot}\n");
    let serves = |pid: &u32| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm == name);
    eventually(&format!("a worker of slot {slot}"), || {
        server.workers().into_iter().find(|pid| !killed.contains(pid) && serves(pid))
    })
}

/// Kills a slot's worker each time there is one, `times` times.
#[track_caller]
fn kill_until_given_up(server: &Server, slot: usize, times: usize) -> Vec<u32> {
    let mut killed = BTreeSet::new();
    for _ in 0..times {
        let pid = worker_of(server, slot, &killed);
        signal(pid, SIGKILL);
        killed.insert(pid);
    }
    killed.into_iter().collect()
}

/// A connection that a slot has answered.
#[track_caller]
fn connection_to_slot(server: &Server, slot: u64) -> RawClient {
    eventually("a connection to the slot", || {
        let mut client = server.connect();
        let who: Value = serde_json::from_str(client.get("/json").text()).unwrap();
        (who["slot"] == slot).then_some(client)
    })
}

fn files(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap().flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

use wasmcluster_core::cluster::{Cause, Exit as Ended, Generation, Notice, SlotId, WorkerId};
use wasmcluster_core::message::{Frame, Report, ReportKind};

use super::*;
use crate::cli::dev::Told;

const LOOK: Look = Look { json: false, terminal: false, demo: false, strict: false };

fn renderer(look: Look) -> Renderer {
    Renderer { look, stdout: Colours::File, stderr: Colours::File, serving: false }
}

fn render(renderer: &mut Renderer, record: Record) -> (String, String) {
    let mut rendered = Rendered::default();
    renderer.render(&Line::Record(record), &mut rendered);
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (text(rendered.stdout), text(rendered.stderr))
}

#[track_caller]
fn check(record: Record, stderr: &str) {
    let mut renderer = renderer(LOOK);
    renderer.serving = true;
    assert_eq!(render(&mut renderer, record), (String::new(), stderr.to_owned()));
}

fn serving(addr: &str) -> Record {
    Record::Serving { addr: addr.parse().expect("an address"), instances: 2 }
}

fn ready() -> Record {
    let (worker, slot, generation) = (WorkerId(1), SlotId(0), Generation::FIRST);
    let notice = Notice::WorkerReady { worker, slot, generation, took: Duration::from_micros(5_400) };
    Record::Cluster { pid: Some(7), notice }
}

#[test]
fn the_first_line_is_the_url() {
    let mut renderer = renderer(LOOK);
    assert_eq!(render(&mut renderer, ready()).1, "");
    assert_eq!(render(&mut renderer, serving("[::1]:80")).1, "Serving HTTP on http://[::1]:80/\n");
    assert_eq!(render(&mut renderer, ready()).1, "slot 0 (pid 7): ready after 5ms\n");
}

#[test]
fn a_person_learns_how_to_listen_everywhere() {
    let said = render(&mut renderer(Look { terminal: true, ..LOOK }), serving("127.0.0.1:80")).1;
    assert_eq!(said.lines().count(), 2);
    let said = render(&mut renderer(Look { terminal: true, ..LOOK }), serving("0.0.0.0:80")).1;
    assert_eq!(said.lines().count(), 1);
    let said = render(&mut renderer(Look { demo: true, ..LOOK }), serving("127.0.0.1:80")).1;
    assert!(said.contains("built-in demo"));
}

#[test]
fn lines_of_guests_keep_their_stream() {
    let record = |stream, unfinished| Record::Output {
        source: Source::Worker { slot: SlotId(3), pid: 7 },
        stream,
        text: "hello".into(),
        unfinished,
    };
    let mut renderer = renderer(LOOK);
    assert_eq!(render(&mut renderer, record(Stream::Stdout, false)).0, "slot 3 stdout | hello\n");
    assert_eq!(render(&mut renderer, record(Stream::Stderr, true)).1, "slot 3 stderr | hello…\n");
}

#[test]
fn a_crash_says_how_and_what_next() {
    let crashed = |cause, uptime, restart_in| Record::Cluster {
        pid: Some(7),
        notice: Notice::WorkerCrashed {
            worker: WorkerId(1),
            slot: SlotId(0),
            generation: Generation::FIRST,
            uptime,
            cause,
            restart_in,
        },
    };
    let killed = Cause::Exited { exit: Ended::Signal(9) };
    check(
        crashed(killed.clone(), Some(Duration::from_secs(61)), Some(Duration::ZERO)),
        "slot 0 (pid 7): ended with signal 9 after 1m 1s; restarting\n",
    );
    check(
        crashed(killed, None, Some(Duration::from_millis(150))),
        "slot 0 (pid 7): ended with signal 9; restarting in 150ms\n",
    );
    check(
        crashed(Cause::StartTimedOut, None, None),
        "slot 0 (pid 7): was killed since it was not ready in time\n",
    );
}

#[test]
fn a_report_has_its_hint() {
    let report = Report {
        kind: ReportKind::OutboundDenied,
        message: "no".into(),
        hint: Some("try".into()),
        backtrace: Vec::new(),
        request: Some("5f3c".into()),
    };
    check(
        Record::Worker { slot: SlotId(0), pid: 7, report },
        "slot 0 (pid 7): no (request 5f3c)\nhint: try\n",
    );
}

#[test]
fn a_trap_says_where() {
    let frame = |function: Option<&str>, module: Option<&str>, offset| Frame {
        function: function.map(Into::into),
        index: 3,
        module: module.map(Into::into),
        offset,
    };
    let backtrace =
        vec![frame(Some("a"), Some("m"), Some(31)), frame(None, Some("m"), None), frame(None, None, Some(1))];
    let report =
        Report { kind: ReportKind::Trap, message: "trapped".into(), hint: None, backtrace, request: None };
    check(
        Record::Worker { slot: SlotId(0), pid: 7, report },
        "slot 0 (pid 7): trapped\n    at a (m+0x1f)\n    at function 3 (m)\n    at function 3 (+0x1)\n",
    );
}

#[test]
fn what_is_built_is_said_as_it_goes() {
    let told = |told| {
        let mut rendered = Rendered::default();
        renderer(LOOK).render(&Line::Dev(told), &mut rendered);
        assert!(rendered.stdout.is_empty(), "stdout is the guest's");
        String::from_utf8(rendered.stderr).expect("text")
    };
    let building = |command: &str, changed: Option<&str>| {
        told(Told::Building { command: command.into(), changed: changed.map(Into::into) })
    };
    assert_eq!(building("make", None), "building: make\n");
    assert_eq!(building("make a\nmake b", None), "building: make a …\n");
    assert_eq!(building("make", Some("src/main.rs")), "building again: `src/main.rs` has changed\n");
    let rereading = Told::Rereading { changed: "app.toml".into() };
    assert_eq!(told(rereading), "reading the configuration again: `app.toml` has changed\n");
    let output = |unfinished| Told::Output { stream: Stream::Stdout, text: "x".into(), unfinished };
    assert_eq!(told(output(false)) + &told(output(true)), "build | x\nbuild | x…\n");
    assert_eq!(told(Told::Built { took: Duration::from_millis(1_250) }), "built after 1s 250ms\n");
    let (message, hint) = (String::from("no"), String::from("try"));
    let failed = Told::BuildFailed { message: message.clone(), hint: hint.clone() };
    assert_eq!(told(failed), "error: no\nhint: try\n");
    assert_eq!(told(Told::Warning { message, hint }), "warning: no\nhint: try\n");
}

#[test]
fn json_is_one_object_for_each_line() {
    let mut renderer = renderer(Look { json: true, ..LOOK });
    let mut parse = |record| -> serde_json::Value {
        let (stdout, stderr) = render(&mut renderer, record);
        let line = stdout + &stderr;
        assert_eq!(line.lines().count(), 1);
        serde_json::from_str(&line).expect("an object")
    };
    let served = parse(serving("127.0.0.1:80"));
    assert_eq!((&served["record"], &served["addr"]), (&"serving".into(), &"127.0.0.1:80".into()));
    assert!(served["time"].as_str().is_some_and(|time| time.ends_with('Z')));
    let ready = parse(ready());
    assert_eq!((&ready["record"], &ready["notice"]), (&"cluster".into(), &"worker_ready".into()));
    assert_eq!((&ready["pid"], &ready["took_ms"]), (&7.into(), &5.into()));
}

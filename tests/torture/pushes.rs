//! Pushes: of what cannot be served, which must change nothing, and of what can.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;
use serde_json::Value;

use super::World;
use super::tally::{Run, Seen};
use crate::support::{Program, Server, component};

const REJECTED: i32 = 3;
const GIVEN_UP: i32 = 10;

/// What is served, in turn: both versions of the interface.
pub(super) const GOOD: [&str; 2] = ["zoo-p2", "zoo-p3"];

/// Something that cannot be served.
pub(super) struct Broken {
    name: &'static str,
    content: Vec<u8>,
    code: i32,
}

/// Of each kind one.
pub(super) fn broken() -> Vec<Broken> {
    let rejected = |name, content| Broken { name, content, code: REJECTED };
    let given_up = |name, content| Broken { name, content, code: GIVEN_UP };
    let text = |text: &str| wat::parse_str(text).unwrap();
    let read = |name| fs::read(component(name)).unwrap();
    let whole = read("zoo-p2");
    vec![
        rejected("push: nothing", Vec::new()),
        rejected("push: what is not WebAssembly", b"#!/bin/sh\n".to_vec()),
        rejected("push: half a component", whole[..whole.len() / 2].to_vec()),
        rejected("push: a core module", text("(module (func (export \"handle\")))")),
        rejected("push: a component without a handler", text("(component)")),
        given_up("push: one of 0.2 that refuses to start", read("refuses-p2")),
        given_up("push: one of 0.3 that refuses to start", read("refuses-p3")),
        given_up("push: one that traps in its probe", text(TRAPS)),
    ]
}

const TRAPS: &str = r#"(component
    (import "wasi:http/types@0.2.0" (instance $types
        (export "incoming-request" (type (sub resource)))
        (export "response-outparam" (type (sub resource)))))
    (alias export $types "incoming-request" (type $request))
    (alias export $types "response-outparam" (type $answer))
    (core module $m
        (func (export "handle") (param i32 i32) unreachable))
    (core instance $i (instantiate $m))
    (func $handle (param "request" (own $request)) (param "response-out" (own $answer))
        (canon lift (core func $i "handle")))
    (instance $handler (export "handle" (func $handle)))
    (export "wasi:http/incoming-handler@0.2.0" (instance $handler)))"#;

/// Pushes one after the other: the versions that can be served in turn, and now and then one that cannot.
pub(super) fn push(world: &World<'_>, broken: &[Broken], mut rng: Rng) {
    let mut good = GOOD.iter().cycle();
    while world.goes_on() {
        if rng.bool() {
            push_good(world, good.next().expect("without an end"));
        } else {
            push_broken(world, rng.choice(broken).expect("some"));
        }
        thread::sleep(Duration::from_millis(rng.u64(..1000)));
    }
}

/// One that is refused, whatever else happens.
pub(super) fn push_broken(world: &World<'_>, broken: &Broken) {
    let command = world.server.command(["push", "app.wasm"]).file("app.wasm", &broken.content);
    run(world, broken.name, command, |code, before, after, _| code == broken.code && before == after);
}

/// One that is rolled out, unless somebody kills a worker meanwhile: one that serves the new version speaks against it.
pub(super) fn push_good(world: &World<'_>, name: &str) {
    let command = world.server.command(["push"]).arg(component(name));
    run(world, "push: another good version", command, |code, before, after, kills| match code {
        0 => true,
        GIVEN_UP => kills && before == after,
        _ => false,
    });
}

/// Runs a push, and looks at what is served before and after it.
fn run(
    world: &World<'_>,
    name: &'static str,
    command: Program,
    is_right: impl Fn(i32, &Value, &Value, bool) -> bool,
) {
    let (from, kills, before) = (Instant::now(), world.ends.count(), served(world.server));
    let pushed = command.run();
    let (after, killed) = (served(world.server), world.ends.since(kills));
    let code = pushed.status.code().unwrap_or(-1);
    let expected = is_right(code, &before, &after, killed);
    if !expected {
        eprintln!("{name}: {before} before, {after} after{}", pushed.explain());
    }
    world.tally.note(Run {
        name,
        from,
        until: Instant::now(),
        local: None,
        seen: Seen::Code(code),
        expected,
    });
}

/// Which generation is served, and the component that it is of.
fn served(server: &Server) -> Value {
    let status = server.command(["status", "--json"]).run();
    status.expect_code(0);
    let status: Value = serde_json::from_str(&status.stdout).unwrap();
    Value::from(vec![status["cluster"]["generation"].clone(), status["component"].clone()])
}

//! Connections that outlive the worker that accepted them: they go to the worker that serves in its place.

use nix::sys::signal::Signal::{SIGCONT, SIGHUP, SIGKILL, SIGTERM, SIGTTIN, SIGTTOU};

use crate::support::frames::{ACK, DATA, END_HEADERS, FrameClient, GOAWAY, HEADERS, PING};
use crate::support::{
    Load, Network, RawClient, Response, Server, Starting, descriptors_under_way, eventually, signal,
    sockets_to_processes, stop,
};

/// One that rolls out as fast as it can.
fn zoo(version: &str) -> Starting {
    Server::of(version).instances(1).args(["--bake", "0s"])
}

/// Rolls out the next generation, and waits until nothing is left of the one before.
#[track_caller]
fn roll_to(server: &Server, generation: u32) {
    server.signal(SIGHUP);
    server.wait_for_stderr(&format!("every slot serves generation {generation}"));
}

/// Begins to roll out the next generation, and waits until it serves.
#[track_caller]
fn begin_to_roll_to(server: &Server, generation: u32) {
    server.signal(SIGHUP);
    eventually("the next generation", || (answers(&server.get("/env")) == generation).then_some(()));
}

/// Which generation an answer to `/env` is from.
#[track_caller]
fn answers(response: &Response) -> u32 {
    let text = response.clone().expect_status(200);
    let line = text.text().lines().find_map(|line| line.strip_prefix("WASMCLUSTER_GENERATION=")).unwrap();
    line.parse().unwrap()
}

/// A client that has had an answer.
#[track_caller]
fn idle(server: &Server, generation: u32) -> RawClient {
    let mut client = server.connect();
    assert_eq!(answers(&client.get("/env")), generation);
    client
}

/// Fails unless this connection is served by `generation`, and may go on.
#[track_caller]
fn goes_on(client: &mut RawClient, generation: u32) {
    let response = client.get("/env");
    assert_eq!(answers(&response), generation);
    assert!(!response.closes(), "{}", response.head);
}

#[test]
fn an_idle_connection_goes_on_in_the_next_version() {
    for version in ["zoo-p2", "zoo-p3"] {
        let server = zoo(version).start();
        let mut client = idle(&server, 1);
        roll_to(&server, 2);
        goes_on(&mut client, 2);
        // Also without a request in between.
        roll_to(&server, 3);
        roll_to(&server, 4);
        goes_on(&mut client, 4);
        goes_on(&mut client, 4);
        server.stop();
        client.expect_close();
    }
}

/// hyper remembers the wish, and would hand the connection to whoever grants it.
#[test]
fn a_connection_that_was_refused_an_upgrade_goes_on() {
    let server = zoo("zoo-p2").start();
    let mut client = server.connect();
    let wish =
        [("connection", "Upgrade, HTTP2-Settings"), ("upgrade", "h2c"), ("http2-settings", "AAMAAABk")];
    client.send_head("GET", "/env", &wish);
    assert_eq!(answers(&client.response()), 1);
    roll_to(&server, 2);
    goes_on(&mut client, 2);
}

#[test]
fn a_head_that_was_begun_before_is_answered_after() {
    let long = format!("GET /env HTTP/1.1\r\nhost: localhost\r\nx-long: {}", "x".repeat(60 << 10));
    let whole = "GET /env HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let server = zoo("zoo-p2").start();
    let mut clients = Vec::new();
    for begun in ["", "G", &whole[..20], &whole[..whole.len() - 1], &long] {
        for asked_before in [false, true] {
            let mut client = if asked_before { idle(&server, 1) } else { server.connect() };
            client.send(begun);
            clients.push((begun, client));
        }
    }
    // What was sent before is read before this is answered.
    idle(&server, 1);
    roll_to(&server, 2);
    roll_to(&server, 3);
    for (begun, client) in &mut clients {
        client.send(if begun.len() > whole.len() { "\r\n\r\n" } else { &whole[begun.len()..] });
        let response = client.response();
        assert_eq!(answers(&response), 3, "after {} bytes", begun.len());
        assert!(!response.closes(), "after {} bytes", begun.len());
        goes_on(client, 3);
    }
}

#[test]
fn half_a_preface_of_http2_is_completed() {
    let server = zoo("zoo-p2").start();
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let mut client = server.connect();
    client.send(&preface[..10]);
    idle(&server, 1);
    roll_to(&server, 2);
    client.send(&preface[10..]);
    let first = client.try_take(9).unwrap();
    assert_eq!(first[3], 4, "settings come first: {first:?}");
}

#[test]
fn a_connection_that_is_taken_over_is_as_patient_as_a_new_one() {
    let limits = ["--header-timeout", "1s", "--keep-alive-timeout", "4s"];
    let server = zoo("zoo-p2").args(limits).start();
    let mut resting = idle(&server, 1);
    let mut left = idle(&server, 1);
    let mut silent = server.connect();
    let mut begun = idle(&server, 1);
    begun.send("GET /");
    idle(&server, 1);
    roll_to(&server, 2);
    // Who owes a head is left in time, and who had an answer may rest meanwhile.
    silent.expect_close();
    begun.expect_close();
    goes_on(&mut resting, 2);
    left.expect_close();
}

#[test]
fn a_response_under_way_ends_where_it_began_and_its_connection_goes_on() {
    let server = zoo("zoo-p2").start();
    let mut client = server.connect();
    client.send_head("GET", "/stream?chunks=20&ms=50&size=1000", &[]);
    assert_eq!(client.try_head().unwrap().status, 200);
    server.signal(SIGHUP);
    for index in 0..20 {
        let chunk = client.try_chunk().unwrap().unwrap();
        assert_eq!(chunk, vec![b'a' + index; 1000]);
    }
    assert_eq!(client.try_chunk().unwrap(), None);
    client.try_take(2).unwrap();
    server.wait_for_stderr("every slot serves generation 2");
    goes_on(&mut client, 2);
}

#[test]
fn an_upload_under_way_is_answered() {
    let body: Vec<u8> = (0..200_000).map(|byte| byte as u8).collect();
    let server = zoo("zoo-p2").start();
    let mut client = idle(&server, 1);
    client.send_head("POST", "/echo", &[("content-length", &body.len().to_string())]);
    client.send(&body[..100_000]);
    begin_to_roll_to(&server, 2);
    client.send(&body[100_000..]);
    let response = client.response().expect_status(200);
    assert!(response.body == body, "{} bytes", response.body.len());
    if !response.closes() {
        server.wait_for_stderr("every slot serves generation 2");
        goes_on(&mut client, 2);
    }
}

#[test]
fn a_client_that_always_has_something_under_way_is_told_to_come_again() {
    let request = "GET /slow?ms=50 HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let server = zoo("zoo-p2").start();
    let mut client = server.connect();
    client.send(request.repeat(2));
    server.signal(SIGHUP);
    loop {
        client.send(request);
        let response = client.response().expect_status(200);
        assert_eq!(response.text(), "slept 50 ms\n");
        if response.closes() {
            break;
        }
    }
    server.wait_for_stderr("every slot serves generation 2");
}

#[test]
fn a_client_that_asks_ahead_gets_all_its_answers_over_one_connection() {
    let request = "GET /env HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let server = zoo("zoo-p2").start();
    let mut client = server.connect();
    server.signal(SIGHUP);
    let mut ahead = 0;
    loop {
        client.send(request.repeat(100));
        ahead += 100;
        let mut generation = 0;
        while ahead > 50 {
            let response = client.response();
            assert!(!response.closes(), "{}", response.head);
            generation = answers(&response);
            ahead -= 1;
        }
        if generation == 2 {
            break;
        }
    }
    for _ in 0..ahead {
        assert_eq!(answers(&client.response()), 2);
    }
    goes_on(&mut client, 2);
}

#[test]
fn thousands_of_idle_connections_go_on() {
    const CLIENTS: usize = 3_000;
    let server = zoo("zoo-p2").start();
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| idle(&server, 1)).collect();
    for client in clients.iter_mut().step_by(3) {
        client.send("GET /env HTTP/1.1\r\n");
    }
    idle(&server, 1);
    roll_to(&server, 2);
    for (number, client) in clients.iter_mut().enumerate() {
        if number % 3 == 0 {
            client.send("host: localhost\r\n\r\n");
            assert_eq!(answers(&client.response()), 2);
        } else {
            goes_on(client, 2);
        }
    }
}

/// What was served must not be left because others came first.
#[test]
fn connections_are_taken_over_above_the_cap() {
    let server = zoo("zoo-p2").args(["--max-connections", "4", "--max-connections-per-address", "4"]).start();
    let mut before: Vec<_> = (0..4).map(|_| idle(&server, 1)).collect();
    let predecessor = server.worker();
    // Nothing is handed over as long as it is stopped.
    stop(predecessor);
    server.signal(SIGHUP);
    let mut after: Vec<_> = (0..4).map(|_| idle(&server, 2)).collect();
    signal(predecessor, SIGCONT);
    server.wait_for_stderr("every slot serves generation 2");
    for client in before.iter_mut().chain(&mut after) {
        goes_on(client, 2);
    }
}

#[test]
fn a_slot_that_goes_leaves_its_connections_to_another() {
    let server = zoo("zoo-p2").instances(3).start();
    let mut clients: Vec<_> = (0..60).map(|_| idle(&server, 1)).collect();
    for workers in [2, 1] {
        server.signal(SIGTTOU);
        server.wait_for_workers(workers, &[]);
    }
    for client in &mut clients {
        let response = client.get("/env");
        assert!(response.text().contains("WASMCLUSTER_SLOT=0\n"), "{}", response.text());
        assert!(!response.closes(), "{}", response.head);
    }
}

#[test]
fn without_its_heir_a_worker_answers_what_was_asked_and_closes_politely() {
    let server = zoo("zoo-p2").start();
    let mut clients: Vec<_> = (0..20).map(|_| idle(&server, 1)).collect();
    let predecessor = server.worker();
    stop(predecessor);
    begin_to_roll_to(&server, 2);
    let heir = server.workers().into_iter().find(|&pid| pid != predecessor).unwrap();
    signal(heir, SIGKILL);
    server.wait_for_stderr("generation 2 is given up: a worker ended with signal 9");
    let (asking, resting) = clients.split_at_mut(10);
    for client in asking.iter_mut() {
        client.send_head("GET", "/slow?ms=20", &[]);
    }
    signal(predecessor, SIGCONT);
    for client in asking {
        client.response().expect_status(200);
        client.expect_close();
    }
    for client in resting {
        client.expect_close();
    }
    server.wait_for_stderr("every slot serves generation 1 again");
    server.get("/").expect_status(200);
}

/// Rolls to generation 2 and returns its worker, which hangs before it takes any of these connections.
#[track_caller]
fn hanging_heir(server: &Server, connections: usize) -> u32 {
    let predecessor = server.worker();
    let usual = sockets_to_processes(predecessor);
    stop(predecessor);
    begin_to_roll_to(server, 2);
    let heir = server.workers().into_iter().find(|&pid| pid != predecessor).unwrap();
    // Before that nothing is on its way to it but the socket from which connections come.
    eventually("it can be sent some", || (sockets_to_processes(heir) > usual).then_some(()));
    stop(heir);
    signal(predecessor, SIGCONT);
    eventually("all are on their way", || (descriptors_under_way(heir) == connections).then_some(()));
    heir
}

/// What is on its way has no owner but who sent it, until the other one says that it has it.
#[test]
fn what_was_on_its_way_to_an_heir_that_is_killed_is_answered() {
    let server = zoo("zoo-p2").args(["--heartbeat-timeout", "none"]).start();
    let mut clients: Vec<_> = (0..20).map(|_| idle(&server, 1)).collect();
    let heir = hanging_heir(&server, clients.len());
    for client in &mut clients {
        client.send_head("GET", "/env", &[]);
    }
    signal(heir, SIGKILL);
    for mut client in clients {
        assert_eq!(answers(&client.response()), 1);
        client.expect_close();
    }
    server.wait_for_stderr("every slot serves generation 1 again");
}

/// Until the heir is taken for dead, time passes in which nobody could serve them.
#[test]
fn what_comes_back_from_an_heir_that_hung_has_the_whole_time() {
    let args = ["--heartbeat-timeout", "2s", "--kill-timeout", "3s", "--header-timeout", "1s"];
    let server = zoo("zoo-p2").args(args).start();
    // Some have asked nothing yet.
    let mut clients: Vec<_> = (0..3).map(|_| server.connect()).collect();
    clients.extend((0..3).map(|_| idle(&server, 1)));
    hanging_heir(&server, clients.len());
    for client in &mut clients {
        client.send_head("GET", "/slow?ms=2000", &[]);
    }
    for mut client in clients {
        client.response().expect_status(200);
        client.expect_close();
    }
    server.wait_for_stderr("every slot serves generation 1 again");
    let log = server.stderr();
    assert!(!log.contains("still busy") && !log.contains("cut off"), "{log}");
}

#[test]
fn a_guest_that_works_on_keeps_its_worker_until_it_is_done_and_no_longer() {
    for version in ["zoo-p2", "zoo-p3"] {
        let server = zoo(version).args(["--kill-timeout", "10m"]).start();
        server.get("/work-after?ms=1500").expect_status(200);
        roll_to(&server, 2);
        assert!(server.stdout().contains("work after the response is done"), "{}", server.explain());
        assert!(!server.stderr().contains("cut"), "{}", server.explain());
    }
}

/// Its clients would wait for it until its deadline.
#[test]
fn a_worker_that_hangs_while_it_drains_is_killed() {
    let server = zoo("zoo-p2").args(["--heartbeat-timeout", "2s", "--kill-timeout", "10m"]).start();
    let mut client = server.connect();
    client.send_head("GET", "/stream?chunks=2&ms=600000&size=1000", &[]);
    assert_eq!(client.try_head().unwrap().status, 200);
    let predecessor = server.worker();
    begin_to_roll_to(&server, 2);
    stop(predecessor);
    server.wait_for_stderr(&format!("slot 0 (pid {predecessor}): says nothing since 2s"));
    server.wait_for_stderr("every slot serves generation 2");
    while client.try_chunk().is_ok_and(|chunk| chunk.expect("the end was never sent").len() == 1000) {}
}

#[test]
fn a_stop_in_the_middle_loses_nothing() {
    let server = zoo("zoo-p2").start();
    let mut idle: Vec<_> = (0..20).map(|_| idle(&server, 1)).collect();
    let mut client = server.connect();
    client.send_head("GET", "/stream?chunks=20&ms=50&size=1000", &[]);
    assert_eq!(client.try_head().unwrap().status, 200);
    begin_to_roll_to(&server, 2);
    server.signal(SIGTERM);
    for index in 0..20 {
        assert_eq!(client.try_chunk().unwrap().unwrap(), vec![b'a' + index; 1000]);
    }
    assert_eq!(client.try_chunk().unwrap(), None);
    client.try_take(2).unwrap();
    client.expect_close();
    for client in &mut idle {
        client.expect_close();
    }
    server.wait().expect_code(0).expect_nothing_left();
}

#[test]
fn http2_says_twice_that_it_goes() {
    const ALL_STREAMS: u32 = (1 << 31) - 1;
    let server = zoo("zoo-p2").start();
    let mut client = FrameClient::connect(server.addr);
    client.send_get(1, "/slow?ms=600");
    server.signal(SIGHUP);
    assert_eq!(client.next_of(GOAWAY).last_stream(), ALL_STREAMS, "whatever is sent is answered");
    let ping = client.next_of(PING);
    // The client has heard nothing yet, as far as the server knows.
    client.send_get(3, "/");
    client.send(PING, ACK, 0, &ping.payload);
    let frames = client.rest();
    let goaway = frames.iter().find(|frame| frame.kind == GOAWAY).unwrap();
    assert_eq!(goaway.last_stream(), 3, "{frames:?}");
    for (stream, text) in [(1, "slept 600 ms\n"), (3, "hello from the zoo\n")] {
        let of = |kind| frames.iter().filter(move |frame| frame.stream == stream && frame.kind == kind);
        assert!(of(HEADERS).any(|frame| frame.flags & END_HEADERS != 0), "{frames:?}");
        let body: Vec<u8> = of(DATA).flat_map(|frame| frame.payload.clone()).collect();
        assert_eq!(String::from_utf8(body).unwrap(), text);
    }
    server.wait_for_stderr("every slot serves generation 2");
}

/// So few requests that most connections are idle for longer than any worker waits for them.
#[test]
fn clients_that_ask_now_and_then_notice_nothing() {
    const CONNECTIONS: usize = 60;
    Network::delayed(|network| {
        let server = zoo("zoo-p2").instances(2).addr(network.server()).start();
        let hello = |body: &[u8]| (body == b"hello from the zoo\n").then(String::new);
        let load = Load::keep_alive(network.way_to(server.addr), CONNECTIONS);
        let load = load.rate(80).judge(hello).start();
        for generation in 2..=9 {
            let so_far = load.answered();
            eventually("answers", || (load.answered() > so_far + 40).then_some(()));
            roll_to(&server, generation);
        }
        let so_far = load.answered();
        eventually("answers by the last generation", || (load.answered() > so_far + 100).then_some(()));
        let outcome = load.stop();
        assert_eq!(outcome.lost(), 0, "{outcome}");
        assert_eq!(outcome.connections, CONNECTIONS as u64, "{outcome}");
    });
}

/// A slot that goes hands its connections to a worker that may be replaced before it has them all.
#[test]
fn clients_notice_nothing_when_the_scale_changes_during_rollouts() {
    const CONNECTIONS: usize = 60;
    Network::delayed(|network| {
        let server = zoo("zoo-p2").instances(3).addr(network.server()).start();
        let load = Load::keep_alive(network.way_to(server.addr), CONNECTIONS).rate(80).start();
        for generation in 2..=6 {
            let so_far = load.answered();
            eventually("answers", || (load.answered() > so_far + 40).then_some(()));
            server.signal(SIGTTOU);
            roll_to(&server, generation);
            server.wait_for_workers(2, &[]);
            server.signal(SIGTTIN);
            server.wait_for_workers(3, &[]);
        }
        let so_far = load.answered();
        eventually("answers by the last generation", || (load.answered() > so_far + 100).then_some(()));
        let outcome = load.stop();
        assert_eq!(outcome.lost(), 0, "{outcome}");
        assert_eq!(outcome.connections, CONNECTIONS as u64, "{outcome}");
    });
}

//! Where a request comes from, as the guest and the log are told.

use http_body_util::{BodyExt, Empty};
use hyper::Request;
use nix::sys::signal::Signal::SIGHUP;

use super::seen;
use crate::support::{Answer, Connection, Server, block_on, program};

/// What a client may say of where it comes from.
const CLAIMS: [(&str, &str); 6] = [
    ("x-forwarded-for", "192.0.2.1"),
    ("x-forwarded-proto", "https"),
    ("x-forwarded-host", "example.org"),
    ("x-real-ip", "192.0.2.1"),
    ("forwarded", "for=192.0.2.1"),
    ("x-request-id", "req-7"),
];

/// What the guest sees of a request with all of them, over HTTP/1.1 or HTTP/2.
#[track_caller]
fn inspected(server: &Server, http2: bool) -> String {
    block_on(async {
        let mut client = match http2 {
            true => Connection::http2(server.addr).await,
            false => Connection::http1(server.addr).await,
        };
        let request = CLAIMS
            .iter()
            .fold(Request::get("/inspect"), |request, (name, value)| request.header(*name, *value));
        let response = client.send(request.body(Empty::new().boxed()).unwrap()).await.unwrap();
        Answer::of(response).await.unwrap().text().to_owned()
    })
}

#[track_caller]
fn expect_number_of_ours(number: &str) {
    assert!(number.len() == 32 && number.bytes().all(|digit| digit.is_ascii_hexdigit()), "{number}");
}

/// try: `x-forwarded-for` and its kin, from whoever connects | the guest sees the address it came from | nobody is believed
#[test]
fn a_client_is_known_by_its_address_whatever_it_says() {
    Server::of_both_zoos(&[], |server| {
        for http2 in [false, true] {
            let told = inspected(server, http2);
            assert_eq!(seen(&told, "x-forwarded-for"), "127.0.0.1");
            assert_eq!((seen(&told, "x-forwarded-proto"), seen(&told, "scheme")), ("http", "http"));
            expect_number_of_ours(seen(&told, "x-request-id"));
            for name in ["x-forwarded-host", "x-real-ip", "\nforwarded"] {
                assert!(!told.contains(name), "{told}");
            }
        }
        let numbers = [(); 2].map(|()| inspected(server, false));
        assert_ne!(seen(&numbers[0], "x-request-id"), seen(&numbers[1], "x-request-id"));
    });
}

#[test]
fn a_proxy_that_was_named_is_believed() {
    for trusted in ["127.0.0.1", "127.0.0.0/8", "::/0,127.0.0.1"] {
        let args: Vec<_> = trusted.split(',').flat_map(|network| ["--trust-proxy", network]).collect();
        Server::of_both_zoos(&args, |server| {
            for http2 in [false, true] {
                let told = inspected(server, http2);
                assert_eq!(seen(&told, "x-forwarded-for"), "192.0.2.1, 127.0.0.1");
                assert_eq!((seen(&told, "x-forwarded-proto"), seen(&told, "scheme")), ("https", "https"));
                assert_eq!(seen(&told, "x-request-id"), "req-7");
                assert_eq!(seen(&told, "x-forwarded-host"), "example.org");
                assert_eq!(seen(&told, "forwarded"), "for=192.0.2.1");
            }
        });
    }
}

#[test]
fn whom_to_believe_is_read_again_and_a_connection_that_is_handed_over_is_of_the_same_client() {
    let server = Server::of("zoo-p2").instances(1).file("wasmcluster.toml", "bake = '0s'\n").start();
    let mut client = server.connect();
    let told = |client: &mut crate::support::RawClient| {
        client.send_head("GET", "/inspect", &CLAIMS);
        client.response().expect_status(200).text().to_owned()
    };
    assert_eq!(seen(&told(&mut client), "x-forwarded-for"), "127.0.0.1");
    std::fs::write(
        server.place().join("work/wasmcluster.toml"),
        "bake = '0s'\ntrust-proxy = ['127.0.0.1']\n",
    )
    .unwrap();
    server.signal(SIGHUP);
    server.wait_for_stderr("every slot serves generation 2");
    assert_eq!(seen(&told(&mut client), "x-forwarded-for"), "192.0.2.1, 127.0.0.1");
}

#[test]
fn the_log_says_of_which_request_it_speaks() {
    Server::of_both_zoos(&["--trust-proxy", "127.0.0.1"], |server| {
        for (path, what) in [
            ("/trap", "wasm `unreachable` instruction executed"),
            ("/trap-after-head", "wasm `unreachable` instruction executed"),
            ("/exit?code=3", "the guest called exit(3)"),
        ] {
            let number = format!("req{}", path.replace(['/', '?', '='], "-"));
            let mut client = server.connect();
            client.send_head("GET", path, &[("x-request-id", &number)]);
            // One that had begun has no room for it.
            if let Ok(response) = client.try_response("GET")
                && path != "/trap-after-head"
            {
                assert_eq!(response.header("x-request-id"), Some(number.as_str()), "{}", response.head);
            }
            server.wait_for_stderr(&format!("{what} (request {number})"));
        }
    });
    let server = Server::of("zoo-p2").arg("--json").start();
    server.get("/trap").expect_status(500);
    let log = server.wait_for_stderr("unreachable");
    let line = log.lines().find(|line| line.contains("unreachable")).unwrap();
    let record: serde_json::Value = serde_json::from_str(line).unwrap();
    expect_number_of_ours(record["request"].as_str().unwrap());
}

#[test]
fn what_is_no_network_is_refused() {
    for value in ["example.org", "10.0.0.0/33", "10.0.0", "10.0.0.1:80", ""] {
        let refused = program(["serve", "--trust-proxy", value]).run();
        refused.expect_code(2).expect_stderr("expected an address or a network");
    }
}

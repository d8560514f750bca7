//! Where names lead that their owners choose: in a network without a way out, by a name server that answers what it is told.

use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::process::Command;
use std::thread;

use super::expect_outbound_denied;
use crate::support::{Elsewhere, Network, PUBLIC, Program, Server, Starting, binary, component};

/// Runs `check` on one worker of each zoo that may send requests to `granted` and asks that name server. What others of the
/// machine ask is as it was: their `/etc/resolv.conf` is another one.
#[track_caller]
fn of_both_zoos(granted: &str, check: impl Fn(&Server)) {
    const ELSEWHERE: &str = "mount --bind \"$0\" /etc/resolv.conf && exec \"$@\"";
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("resolv.conf");
    fs::write(&file, "nameserver 127.0.0.1\noptions attempts:1 timeout:5\n").unwrap();
    for zoo in ["zoo-p2", "zoo-p3"] {
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", ELSEWHERE]).arg(&file).arg(binary());
        let program = Program::through(command).arg("serve").arg(component(zoo));
        let program = program.args(["--addr", "127.0.0.1:0", "-i", "1", "--allow-outbound", granted]);
        check(&Starting::of(program).start());
    }
}

/// Whoever is not on the public internet.
const SPECIAL: [&str; 12] = [
    "127.0.0.1",
    "127.8.9.10",
    "0.0.0.0",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "169.254.169.254",
    "::1",
    "fd00:ec2::254",
    "::ffff:127.0.0.1",
    "64:ff9b::7f00:1",
];

fn ip(address: &str) -> IpAddr {
    address.parse().unwrap()
}

/// Fails unless the guest is denied a host for the address that it leads to, and the log has both.
#[track_caller]
fn expect_denied(server: &Server, host: &str, leads_to: IpAddr) {
    expect_outbound_denied(server, &format!("http://{host}/"), "DestinationIpProhibited", host);
    server.wait_for_stderr(&format!(
        "asked for `{host}`, which leads to `{leads_to}`, an address that must be named"
    ));
}

/// try: a name that leads to loopback, private, link-local, metadata, under `*` | denied, and said where to | nobody is asked
/// try: the same under `*.suffix`, and a name with two such addresses | denied, and said where to | nobody is asked
#[test]
fn a_public_name_does_not_lead_to_an_address_that_is_not() {
    Network::with_names(|names| {
        let inside = Elsewhere::at(([0, 0, 0, 0], 0).into());
        let port = inside.addr.port();
        for (number, address) in SPECIAL.iter().enumerate() {
            names.lead(&format!("n{number}.example.org"), &[ip(address)]);
        }
        // Each address of a name is judged.
        names.lead("both.example.org", &[ip("127.0.0.1"), ip("::1")]);
        for granted in ["*", "*.example.org"] {
            of_both_zoos(granted, |server| {
                for (number, address) in SPECIAL.iter().enumerate() {
                    expect_denied(server, &format!("n{number}.example.org:{port}"), ip(address));
                }
                let answer = server.get(&format!("/outbound?url=http://both.example.org:{port}/"));
                assert!(answer.expect_status(502).text().contains("DestinationIpProhibited"));
                server.get("/").expect_status(200);
            });
        }
        assert_eq!(inside.counts(), (0, 0));
    });
}

/// A server at which each connection has one answer: go to `location`.
fn redirects_to(location: &str) -> SocketAddr {
    let listener = TcpListener::bind((PUBLIC, 0)).unwrap();
    let addr = listener.local_addr().unwrap();
    let head =
        format!("HTTP/1.1 302 x\r\nlocation: {location}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
    // It ends with the process.
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(head.as_bytes());
        }
    });
    addr
}

/// try: following a redirect to a name that leads inside | denied, and said where to | nobody is asked
/// try: a name that was public when it was asked first, and leads inside then | denied, and said where to | nobody is asked
#[test]
fn each_request_is_judged_by_where_its_name_leads_then() {
    Network::with_names(|names| {
        let inside = Elsewhere::start();
        names.lead("inside.example.org", &[ip("127.0.0.1")]);
        let location = format!("inside.example.org:{}", inside.addr.port());
        let port = redirects_to(&format!("http://{location}/")).port();
        of_both_zoos("*", |server| {
            names.lead("public.example.org", &[PUBLIC.into()]);
            let ask = || server.get(&format!("/outbound?url=http://public.example.org:{port}/"));
            assert_eq!(ask().expect_status(200).text(), "status: 302\n");
            // What a guest does who goes where it was told.
            expect_denied(server, &location, ip("127.0.0.1"));
            names.lead("public.example.org", &[ip("127.0.0.1")]);
            expect_denied(server, &format!("public.example.org:{port}"), ip("127.0.0.1"));
        });
        assert_eq!(inside.counts(), (0, 0));
    });
}

/// try: a name with a public address and one inside, under `*` | the public one answers | nobody inside is asked
#[test]
fn of_the_addresses_of_a_name_only_those_that_are_public_are_asked() {
    Network::with_names(|names| {
        let public = redirects_to("http://elsewhere.example.org/");
        let inside = Elsewhere::at(([127, 0, 0, 1], public.port()).into());
        names.lead("mixed.example.org", &[ip("127.0.0.1"), PUBLIC.into(), ip("127.0.0.1")]);
        of_both_zoos("*", |server| {
            for _ in 0..10 {
                let url = format!("http://mixed.example.org:{}/", public.port());
                let answer = server.get(&format!("/outbound?url={url}"));
                assert_eq!(answer.expect_status(200).text(), "status: 302\n");
            }
        });
        assert_eq!(inside.counts(), (0, 0));
    });
}

/// Whoever grants a name means where it leads. A name is not what is below it.
#[test]
fn a_name_that_was_granted_as_it_is_leads_anywhere() {
    Network::with_names(|names| {
        let inside = Elsewhere::start();
        let port = inside.addr.port();
        for name in ["inside.example.org", "below.inside.example.org"] {
            names.lead(name, &[ip("127.0.0.1")]);
        }
        of_both_zoos("inside.example.org", |server| {
            let answer = server.get(&format!("/outbound?url=http://inside.example.org:{port}/"));
            assert_eq!(answer.expect_status(200).text(), "status: 203\nGET / HTTP/1.1");
            let below = format!("below.inside.example.org:{port}");
            expect_outbound_denied(server, &format!("http://{below}/"), "HttpRequestDenied", &below);
        });
    });
}

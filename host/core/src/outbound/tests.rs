use proptest::collection::vec;
use proptest::prelude::*;

use super::laws::{any_destination_is_judged, any_rule_is_read_as_it_is_written};
use super::*;
use crate::laws::cases;

fn rules(values: &[&str]) -> Vec<OutboundRule> {
    values.iter().map(|value| value.parse().expect("a rule")).collect()
}

#[test]
fn nothing_is_granted_by_default() {
    assert_eq!(judge(&[], "example.org", 443), Verdict::Denied);
}

#[test]
fn rules_grant_what_they_say() {
    let cases = [
        ("example.org", "example.org", 443, Verdict::Named),
        ("example.org", "EXAMPLE.org.", 80, Verdict::Named),
        ("example.org", "www.example.org", 443, Verdict::Denied),
        ("example.org:443", "example.org", 80, Verdict::Denied),
        ("example.org:443", "example.org", 443, Verdict::Named),
        ("*.example.org", "www.example.org", 443, Verdict::Public),
        ("*.example.org", "a.b.example.org", 443, Verdict::Public),
        ("*.example.org", "example.org", 443, Verdict::Denied),
        ("*.example.org", "notexample.org", 443, Verdict::Denied),
        ("*.example.org:443", "www.example.org", 80, Verdict::Denied),
        ("*", "anything", 1, Verdict::Public),
        ("*:443", "anything", 80, Verdict::Denied),
        ("127.0.0.1:8080", "127.0.0.1", 8080, Verdict::Named),
        ("127.0.0.1", "127.0.0.2", 8080, Verdict::Denied),
        ("[::1]:80", "[::1]", 80, Verdict::Named),
        ("::1", "[0:0::1]", 80, Verdict::Named),
        ("localhost", "localhost", 3000, Verdict::Named),
    ];
    for (rule, host, port, expected) in cases {
        assert_eq!(judge(&rules(&[rule]), host, port), expected, "{rule} for {host}:{port}");
    }
}

#[test]
fn the_most_generous_rule_wins() {
    let rules = rules(&["*", "db.internal:5432"]);
    assert_eq!(judge(&rules, "db.internal", 5432), Verdict::Named);
    assert_eq!(judge(&rules, "db.internal", 5433), Verdict::Public);
}

#[test]
fn what_is_not_a_rule_is_refused() {
    for value in [
        "",
        "*example.org",
        "*.",
        "a b",
        "host:port",
        "host:99999",
        "http://example.org",
        "a..b",
        ":80",
        "*.*",
    ] {
        assert!(value.parse::<OutboundRule>().is_err(), "{value:?} must not parse");
    }
}

#[test]
fn rules_survive_being_written_down() {
    for value in ["*", "*:443", "*.example.org", "example.org:80", "10.0.0.1:1", "[::1]:80"] {
        let rule: OutboundRule = value.parse().expect("a rule");
        assert_eq!(rule.to_string(), value);
        assert_eq!(rule.to_string().parse(), Ok(rule));
    }
}

#[test]
fn special_addresses_are_known() {
    let special = [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.0.1",
        "169.254.169.254",
        "0.0.0.0",
        "0.1.2.3",
        "100.64.0.1",
        "100.100.100.200",
        "192.0.0.192",
        "198.18.0.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::7f00:1",
        "64:ff9b::a00:1",
        "2002:7f00:1::",
        "fd00:ec2::254",
        "fe80::1",
        "fec0::1",
        "ff02::1",
        "2001:db8::1",
        "2001::1",
        "100::1",
        "4000::1",
    ];
    for address in special {
        assert!(is_special(address.parse().expect("an address")), "{address} is special");
    }
    let public = [
        "1.1.1.1",
        "172.32.0.1",
        "100.128.0.1",
        "93.184.216.34",
        "2606:4700::1111",
        "2a00:1450::1",
        "::ffff:1.1.1.1",
    ];
    for address in public {
        assert!(!is_special(address.parse().expect("an address")), "{address} is public");
    }
}

/// What is nearly a host.
fn hosts() -> impl Strategy<Value = String> {
    prop_oneof![
        r"(\*\.)?[aB]{1,2}(\.[aB]){0,2}",
        any::<Ipv4Addr>().prop_map(|address| address.to_string()),
        any::<Ipv6Addr>().prop_map(|address| format!("[{address}]")),
        any::<Ipv6Addr>().prop_map(|address| address.to_string()),
        Just("*".to_owned()),
        ".{0,8}",
    ]
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn any_rule(host in hosts(), port: Option<u16>) {
        any_rule_is_read_as_it_is_written(&host);
        any_rule_is_read_as_it_is_written(&format!("{host}:{}", port.map(|port| port.to_string()).unwrap_or_default()));
    }

    #[test]
    fn any_destination(rules in vec((hosts(), prop_oneof!["", ":80", ":443"]), ..5), host in hosts(), secure: bool) {
        let rules: Vec<_> = rules.into_iter().map(|(host, port)| host + &port).collect();
        let rules: Vec<_> = rules.iter().map(String::as_str).collect();
        any_destination_is_judged(&rules, &host, if secure { 443 } else { 80 });
    }
}

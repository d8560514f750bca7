use super::*;

/// What becomes of a request's headers that comes from `peer`, without its number.
fn signed(peer: &str, sent: &[(&str, &str)]) -> Vec<String> {
    let proxies: Vec<IpNet> =
        ["10.0.0.0/8", "2001:db8::/32"].map(|network| network.parse().expect("a network")).into();
    let mut headers = HeaderMap::new();
    for (name, value) in sent {
        headers.append(HeaderName::try_from(*name).expect("a name"), value.parse().expect("a value"));
    }
    let id = Sender::new(peer.parse().expect("an address"), &proxies).sign(&mut headers).id;
    assert_eq!(headers.remove(ID).expect("a number"), id.value());
    let mut headers: Vec<_> =
        headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().expect("text"))).collect();
    headers.sort();
    headers
}

const CLAIMS: [(&str, &str); 8] = [
    ("accept", "*/*"),
    ("forwarded", "for=192.0.2.1"),
    ("x-forwarded-for", "192.0.2.1"),
    ("x-forwarded-for", "10.0.0.9"),
    ("x-forwarded-host", "example.org"),
    ("x-forwarded-proto", "https"),
    ("x-real-ip", "192.0.2.1"),
    ("x-forward", "it"),
];

#[test]
fn nobody_is_believed_who_was_not_named() {
    for (peer, address) in [
        ("127.0.0.1", "127.0.0.1"),
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db9::1", "2001:db9::1"),
    ] {
        let expected = [
            "accept: */*",
            "x-forward: it",
            &format!("x-forwarded-for: {address}"),
            "x-forwarded-proto: http",
        ];
        assert_eq!(signed(peer, &CLAIMS), expected);
        assert_eq!(signed(peer, &[]), expected[2..]);
    }
}

#[test]
fn a_proxy_that_was_named_speaks_for_others() {
    for peer in ["10.1.2.3", "::ffff:10.1.2.3"] {
        assert_eq!(
            signed(peer, &CLAIMS),
            [
                "accept: */*",
                "forwarded: for=192.0.2.1",
                "x-forward: it",
                "x-forwarded-for: 192.0.2.1, 10.0.0.9, 10.1.2.3",
                "x-forwarded-host: example.org",
                "x-forwarded-proto: https",
                "x-real-ip: 192.0.2.1",
            ]
        );
    }
    assert_eq!(signed("2001:db8::1", &[]), ["x-forwarded-for: 2001:db8::1", "x-forwarded-proto: http"]);
}

#[test]
fn what_a_client_told_the_first_proxy_is_not_believed() {
    for (said, expected) in [
        ("6.6.6.6, 192.0.2.1", "192.0.2.1, 10.0.0.1"),
        ("6.6.6.6, 192.0.2.1, 10.0.0.9", "192.0.2.1, 10.0.0.9, 10.0.0.1"),
        ("10.6.6.6, nonsense, 10.0.0.9", "10.0.0.9, 10.0.0.1"),
        ("unknown", "10.0.0.1"),
        ("", "10.0.0.1"),
        ("192.0.2.1:4711", "192.0.2.1, 10.0.0.1"),
        ("[2001:db9::1]:4711,::ffff:10.0.0.9", "2001:db9::1, 10.0.0.9, 10.0.0.1"),
        ("10.0.0.7, 10.0.0.8", "10.0.0.7, 10.0.0.8, 10.0.0.1"),
    ] {
        let signed = signed("10.0.0.1", &[("x-forwarded-for", said), ("x-forwarded-proto", "ftp")]);
        assert_eq!(signed, [&format!("x-forwarded-for: {expected}"), "x-forwarded-proto: http"], "{said}");
    }
}

#[test]
fn a_number_is_kept_that_a_proxy_gave_and_that_can_be_written_down() {
    let proxies = ["10.0.0.0/8".parse().expect("a network")];
    let number = |peer: &str, sent: &[u8]| {
        let mut headers = HeaderMap::new();
        headers.insert(ID, HeaderValue::from_bytes(sent).expect("a value"));
        Sender::new(peer.parse().expect("an address"), &proxies).sign(&mut headers);
        let values: Vec<_> = headers.get_all(ID).iter().collect();
        assert_eq!(values.len(), 1);
        values[0].to_str().expect("text").to_owned()
    };
    assert_eq!(number("10.0.0.1", b"req-1"), "req-1");
    let long = [b'a'; LONGEST_ID + 1];
    assert_eq!(number("10.0.0.1", &long[..LONGEST_ID]).len(), LONGEST_ID);
    for (peer, sent) in [
        ("10.0.0.1", &long[..]),
        ("10.0.0.1", b""),
        ("10.0.0.1", b"a b"),
        ("10.0.0.1", b"\xff"),
        ("192.0.2.1", b"req-1"),
    ] {
        let ours = number(peer, sent);
        assert!(ours.len() == 32 && ours.bytes().all(|digit| digit.is_ascii_hexdigit()), "{ours}");
        assert_ne!(ours, number(peer, sent));
    }
}

#[test]
fn a_number_is_in_the_headers_as_it_is_in_the_log() {
    for number in [0, 0xf, 1 << 127, u128::MAX, 0x0123_4567_89ab_cdef_fedc_ba98_7654_3210] {
        let id = RequestId::Ours(number);
        assert_eq!(id.value().to_str().expect("text"), id.to_string());
    }
}

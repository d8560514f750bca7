use proptest::prelude::*;

use super::laws::{any_factor_is_read_as_it_is_written, any_value_is_read_or_explained};
use super::*;

#[test]
fn addresses() {
    let check =
        |value: &str, expected: &str| assert_eq!(address(value), Ok(expected.parse().expect("an address")));
    check("127.0.0.1:3000", "127.0.0.1:3000");
    check("0.0.0.0:0", "0.0.0.0:0");
    check("[::]:80", "[::]:80");
    check(":3000", "127.0.0.1:3000");
    check("3000", "127.0.0.1:3000");
    for value in [
        "",
        ":",
        "65536",
        ":99999",
        "127.0.0.1",
        "::1:80:",
        "localhost",
        "localhost:",
        "localhost:http",
        "a:b:1",
    ] {
        assert!(address(value).is_err(), "{value:?}");
    }
}

#[test]
fn durations() {
    assert_eq!(duration("0s"), Ok(Duration::ZERO));
    assert_eq!(duration("1m 30s"), Ok(Duration::from_secs(90)));
    assert_eq!(positive_duration("250ms"), Ok(Duration::from_millis(250)));
    assert_eq!("none".parse(), Ok(Timeout(None)));
    assert_eq!("5s".parse(), Ok(Timeout(Some(Duration::from_secs(5)))));
    for value in ["", "30", "-1s", "s", "2years", "99999999999999999999s", "1e9s"] {
        assert!(duration(value).is_err(), "{value:?}");
    }
    assert!(positive_duration("0ms").is_err());
    assert!("0s".parse::<Timeout>().is_err());
}

#[test]
fn factors() {
    assert_eq!("none".parse(), Ok(Factor(None)));
    assert_eq!("3x".parse(), Ok(Factor(Some(300))));
    assert_eq!("1.5".parse(), Ok(Factor(Some(150))));
    // None of these is a binary fraction.
    assert_eq!("1.15x".parse(), Ok(Factor(Some(115))));
    assert_eq!("2.01x".parse(), Ok(Factor(Some(201))));
    for value in ["", "x", "0.99x", "1000.1x", "NaN", "inf", "-3x", "3 x"] {
        assert!(value.parse::<Factor>().is_err(), "{value:?}");
    }
}

#[test]
fn sizes() {
    assert_eq!(memory_size("256MiB"), Ok(256 << 20));
    assert_eq!(memory_size("1G"), Ok(1_000_000_000));
    assert_eq!(memory_size("4GiB"), Ok(4 << 30));
    assert_eq!(memory_size("65536"), Ok(65536));
    assert_eq!(header_size("64KiB"), Ok(64 << 10));
    for value in ["", "0", "65535", "4.1GiB", "5G", "much", "-1", "1XB"] {
        assert!(memory_size(value).is_err(), "{value:?}");
    }
    assert!(header_size("8191").is_err());
}

#[test]
fn shares() {
    assert_eq!((percent("1%"), percent("100%")), (Ok(1), Ok(100)));
    for value in ["", "%", "5", "0%", "101%", "-1%", "5 %", "0.5%", "300%"] {
        assert!(percent(value).is_err(), "{value:?}");
    }
}

#[test]
fn directories() {
    let root = |guest: &str, writable| Ok(DirGrant { host: "/".into(), guest: guest.into(), writable });
    assert_eq!(directory("/"), root("/", true));
    assert_eq!(directory("/::data"), root("data", true));
    assert_eq!(directory("/::data::ro"), root("data", false));
    assert!(directory(".").is_ok_and(|grant| grant.host.is_absolute() && grant.guest == "."));
    for value in ["", "::data", "/::", "/::data::rw", "/::data::ro::", "/no/such/directory", "/proc/version"]
    {
        assert!(directory(value).is_err(), "{value:?}");
    }
}

#[test]
fn variables() {
    assert_eq!(variable("A=b=c"), Ok(("A".into(), "b=c".into())));
    assert_eq!(variable("A="), Ok(("A".into(), String::new())));
    assert!(variable("PATH").is_ok_and(|(name, value)| name == "PATH" && !value.is_empty()));
    assert!(variable("WASMCLUSTER_NO_SUCH_VARIABLE").is_err());
    assert!(variable("=b").is_err());
    assert!(variable("").is_err());
    assert!(pair("A").is_err());
}

#[test]
fn workers_are_counted_or_compared_with_those_that_are_there() {
    assert_eq!(change("8"), Ok(Change::To(8)));
    assert_eq!(change("+2"), Ok(Change::By(2)));
    assert_eq!(change("-2"), Ok(Change::By(-2)));
    assert_eq!(change("256"), Ok(Change::To(256)));
    for bad in ["", "0", "257", "+257", "-257", "99999999999", "two", "+", "-", "+-2", "1.5", " 1"] {
        assert!(change(bad).is_err(), "{bad:?}");
    }
}

/// What is nearly a value.
fn values() -> impl Strategy<Value = String> {
    prop_oneof![
        r"[0-9]{1,20}(\.[0-9]{0,3})?[ ]?(ns|us|ms|s|m|h|d|w|M|y|%|x|B|k|kB|KiB|MiB|G|T|PiB)?",
        r"([0-9]{1,3}[a-z]{1,2} ?){1,4}",
        r"[+-]?[0-9]{1,4}",
        r"[A-Z/.]{0,3}=?[a-z:]{0,6}",
        ".{0,12}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_value(value in values()) {
        any_value_is_read_or_explained(&value);
    }

    #[test]
    fn any_factor(hundredths in 100_u32..=100_000) {
        any_factor_is_read_as_it_is_written(hundredths);
    }
}

use proptest::prelude::*;

use super::laws::any_bytes_are_told;
use super::*;

fn rejection(bytes: &[u8]) -> String {
    match inspect("app.wasm", bytes) {
        Ok(_) => panic!("accepted"),
        Err(rejection) => rejection.message,
    }
}

#[test]
fn files_that_are_no_components_are_told_apart() {
    assert_eq!(rejection(b""), "`app.wasm` is not WebAssembly");
    assert_eq!(rejection(b"#!/bin/sh\n"), "`app.wasm` is not WebAssembly");
    assert_eq!(rejection(b"\0asm\x01\0\0\0"), "`app.wasm` is a core module and not a component");
    let whole = wat::parse_str(r#"(component (core module (func) (func) (func)))"#).expect("valid text");
    assert!(rejection(&whole[..whole.len() - 3]).starts_with("`app.wasm` is damaged: "));
}

#[test]
fn a_component_without_a_handler_says_what_it_exports() {
    let bytes =
        wat::parse_str(r#"(component (instance $i) (export "acme:thing/store@1.0.0" (instance $i)))"#);
    assert_eq!(
        rejection(&bytes.expect("valid text")),
        "`app.wasm` has no HTTP handler: it exports `acme:thing/store@1.0.0`"
    );
}

#[test]
fn versions_match_as_the_linker_matches_them() {
    for import in [
        "wasi:http/types@0.2.0",
        "wasi:http/types@0.2.99",
        "wasi:http/types@0.3.0",
        "wasi:config/store@0.2.0-rc.1",
    ] {
        assert!(is_provided(import), "{import}");
    }
    for import in [
        "wasi:http/types@0.4.0",
        "wasi:http/types@0.3.0-rc-2026-03-15",
        "wasi:http/nothing@0.2.0",
        "acme:thing/store",
        "",
    ] {
        assert!(!is_provided(import), "{import}");
    }
}

#[test]
fn a_missing_import_is_named_with_what_comes_nearest() {
    let missing = |import: &str| imports("app.wasm", &[import.to_owned()]).expect_err("missing");
    let rejection = missing("wasi:http/types@0.4.0");
    assert_eq!(rejection.message, "`app.wasm` imports `wasi:http/types@0.4.0`, which nothing provides");
    assert_eq!(
        rejection.hint.as_deref(),
        Some("the nearest that this host has is `wasi:http/types@0.2.12` and `wasi:http/types@0.3.0`")
    );
    assert!(
        missing("wasi:http/types@0.3.0-rc-2026-03-15")
            .hint
            .is_some_and(|hint| hint.contains("released bindings"))
    );
    assert!(missing("acme:thing/store@1.0.0").hint.is_some_and(|hint| hint.contains("compose")));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever somebody pushes is looked at, and what is wrong with it is said in one line, with what to do.
    #[test]
    fn any_component(at: prop::sample::Index, taken in ..16_usize, junk in prop::collection::vec(any::<u8>(), ..8)) {
        let text = r#"(component
            (import "wasi:cli/stdout@0.2.3" (instance))
            (component (import "a" (func)))
            (core module (memory 1))
            (instance $handler)
            (export "wasi:http/incoming-handler@0.2.3" (instance $handler)))"#;
        let mut bytes = wat::parse_str(text).expect("valid text");
        prop_assert!(inspect("app.wasm", &bytes).is_ok_and(|found| found.shape == Shape::P2));
        let at = at.index(bytes.len());
        let end = bytes.len().min(at + taken);
        bytes.splice(at..end, junk);
        any_bytes_are_told(&bytes);
    }
}

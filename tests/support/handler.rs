//! Components in text, where no guest of ours does what a test needs.

/// A handler of 0.2 around the inside of a core module, which has a function `$handle` of two numbers.
pub(crate) fn handler_with(inside: &str) -> Vec<u8> {
    handler_around(&format!(
        r#"(core module $m
                {inside}
                (export "handle" (func $handle)))
            (core instance $i (instantiate $m))"#
    ))
}

/// A handler of 0.2 around a core instance `$i`, which exports `handle`.
pub(crate) fn handler_around(instance: &str) -> Vec<u8> {
    let text = format!(
        r#"(component
            {instance}
            (import "wasi:http/types@0.2.0" (instance $types
                (export "incoming-request" (type (sub resource)))
                (export "response-outparam" (type (sub resource)))))
            (alias export $types "incoming-request" (type $request))
            (alias export $types "response-outparam" (type $out))
            (func $handle (param "request" (own $request)) (param "response-out" (own $out))
                (canon lift (core func $i "handle")))
            (component $handler
                (import "request" (type $request (sub resource)))
                (import "out" (type $out (sub resource)))
                (import "handle" (func $handle
                    (param "request" (own $request)) (param "response-out" (own $out))))
                (export $exported "incoming-request" (type $request))
                (export $exported-out "response-outparam" (type $out))
                (export "handle" (func $handle) (func
                    (param "request" (own $exported)) (param "response-out" (own $exported-out)))))
            (instance $handler (instantiate $handler
                (with "request" (type $request)) (with "out" (type $out)) (with "handle" (func $handle))))
            (export "wasi:http/incoming-handler@0.2.0" (instance $handler)))"#
    );
    wat::parse_str(text).unwrap()
}

/// One that answers nothing.
pub(crate) fn handler(inside: &str) -> Vec<u8> {
    handler_with(&format!("{inside} (func $handle (param i32 i32))"))
}

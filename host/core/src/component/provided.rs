//! What a component may import: all of WASI that workers have, whatever it grants.

/// Package, interfaces, newest version.
const PROVIDED: &[(&str, &[&str], &str)] = &[
    (
        "wasi:cli",
        &[
            "environment",
            "exit",
            "stderr",
            "stdin",
            "stdout",
            "terminal-input",
            "terminal-output",
            "terminal-stderr",
            "terminal-stdin",
            "terminal-stdout",
        ],
        "0.2.12",
    ),
    ("wasi:clocks", &["monotonic-clock", "wall-clock"], "0.2.12"),
    ("wasi:config", &["store"], "0.2.0-rc.1"),
    ("wasi:config", &["store"], "0.2.0-draft-2024-09-27"),
    ("wasi:config", &["runtime", "store"], "0.2.0-draft"),
    ("wasi:logging", &["logging"], "0.1.0-draft"),
    ("fermyon:spin", &["variables"], "2.0.0"),
    ("wasi:filesystem", &["preopens", "types"], "0.2.12"),
    ("wasi:http", &["outgoing-handler", "types"], "0.2.12"),
    ("wasi:io", &["error", "poll", "streams"], "0.2.12"),
    ("wasi:random", &["insecure", "insecure-seed", "random"], "0.2.12"),
    (
        "wasi:sockets",
        &[
            "instance-network",
            "ip-name-lookup",
            "network",
            "tcp",
            "tcp-create-socket",
            "udp",
            "udp-create-socket",
        ],
        "0.2.12",
    ),
    (
        "wasi:cli",
        &[
            "environment",
            "exit",
            "stderr",
            "stdin",
            "stdout",
            "terminal-input",
            "terminal-output",
            "terminal-stderr",
            "terminal-stdin",
            "terminal-stdout",
            "types",
        ],
        "0.3.0",
    ),
    ("wasi:clocks", &["monotonic-clock", "system-clock", "types"], "0.3.0"),
    ("wasi:filesystem", &["preopens", "types"], "0.3.0"),
    ("wasi:http", &["client", "types"], "0.3.0"),
    ("wasi:random", &["insecure", "insecure-seed", "random"], "0.3.0"),
    ("wasi:sockets", &["ip-name-lookup", "types"], "0.3.0"),
];

/// What components import that were written for Spin or wasmCloud, often without ever calling it. It can be linked, and ends
/// the request that calls it.
const FOREIGN: &[&str] = &[
    "fermyon:spin/",
    "spin:",
    "wasi:blobstore/",
    "wasi:keyvalue/",
    "wasi:logging/",
    "wasi:messaging/",
    "wasi:otel/",
    "wasmcloud:",
];

/// Whether only other hosts provide `import`.
#[must_use]
pub fn is_foreign(import: &str) -> bool {
    !is_provided(import) && FOREIGN.iter().any(|prefix| import.starts_with(prefix))
}

/// Each interface, and its newest version.
pub fn provided() -> impl Iterator<Item = (String, &'static str)> {
    PROVIDED.iter().flat_map(|(package, interfaces, version)| {
        interfaces.iter().map(move |interface| (format!("{package}/{interface}"), *version))
    })
}

/// Whether the linker resolves `import`, by the rules of semantic versions: a release matches any of its series, a draft
/// only itself.
#[must_use]
pub fn is_provided(import: &str) -> bool {
    let Some((interface, wanted)) = import.split_once('@') else { return false };
    let series = |version: &str| version.rsplit_once('.').map(|(series, _)| series.to_owned());
    provided().any(|(known, version)| {
        known == interface
            && (version == wanted
                || (!wanted.contains('-') && !version.contains('-') && series(version) == series(wanted)))
    })
}

//! Bad components, bad flags and bad places to run in: one line that says what is wrong, one that says what to do, the
//! documented exit code, and nothing else changed.

mod usage;

use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::process::Command;

use nix::unistd::geteuid;

use crate::support::{Finished, Program, Server, binary, component, program, repository, shared_cache};

const COMPONENT: i32 = 3;
const ADDRESS: i32 = 4;
const CACHE: i32 = 5;
const DESCRIPTORS: i32 = 6;

/// The user that no file belongs to.
const NOBODY: u32 = 65534;

#[test]
fn a_file_that_is_not_there() {
    let refused = serve(["missing.wasm"]).run();
    let (error, _) = refused.expect_refusal(COMPONENT);
    assert_eq!(error, "there is no file `missing.wasm`");
}

#[test]
fn a_directory() {
    let refused = serve(["."]).run();
    let (error, hint) = refused.expect_refusal(COMPONENT);
    assert_eq!(error, "`.` is a directory, not a component");
    assert!(hint.contains(".wasm"), "{hint}");
}

#[test]
fn a_file_that_may_not_be_read() {
    let Some(program) = as_nobody(["serve", "--addr", "127.0.0.1:0", "app.wasm"]) else { return };
    let program = program.file("app.wasm", "");
    fs::set_permissions(program.work().join("app.wasm"), Permissions::from_mode(0o000)).unwrap();
    let refused = program.run();
    let (error, hint) = refused.expect_refusal(COMPONENT);
    assert!(error.starts_with("failed to open `app.wasm`: "), "{error}");
    assert!(hint.contains("permission"), "{hint}");
}

/// try: nothing, a script, text, half a header as a component | refused, exit code 3 | no process is left
#[test]
fn files_that_are_not_webassembly() {
    for content in ["", "#!/bin/sh\necho no\n", "(component)", "\0asn\x01\0\0\0"] {
        let refused = serve_bytes(content.as_bytes());
        let (error, hint) = refused.expect_refusal(COMPONENT);
        assert_eq!(error, "`app.wasm` is not WebAssembly", "{content:?}");
        assert!(hint.contains("wasm32-wasip2"), "{hint}");
    }
}

/// try: a component that was cut short | refused, exit code 3 | no process is left
#[test]
fn a_truncated_component() {
    let whole = fs::read(component("zoo-p2")).unwrap();
    for length in [9, 100, whole.len() / 2, whole.len() - 1] {
        let refused = serve_bytes(&whole[..length]);
        let (error, hint) = refused.expect_refusal(COMPONENT);
        assert!(error.starts_with("`app.wasm` is damaged: "), "{length} bytes: {error}");
        assert!(hint.contains("size"), "{hint}");
    }
}

/// try: a component with broken code | refused, exit code 3 | no process is left
#[test]
fn a_component_with_broken_insides() {
    let mut bytes = fs::read(component("hello-p2")).unwrap();
    // Somewhere in the code: the sections around it stay what they are.
    let middle = bytes.len() / 3;
    bytes[middle..middle + 64].fill(0xff);
    let refused = serve_bytes(&bytes);
    let (error, _) = refused.expect_refusal(COMPONENT);
    assert!(error.starts_with("`app.wasm` is "), "{error}");
}

#[test]
fn a_core_module_is_told_how_to_become_a_component() {
    let refused = serve_text("(module (func (export \"handle\")))");
    let (error, hint) = refused.expect_refusal(COMPONENT);
    assert_eq!(error, "`app.wasm` is a core module and not a component");
    assert!(hint.contains("wasm32-wasip2") && hint.contains("wasm-tools component new"), "{hint}");
}

#[test]
fn a_component_without_an_http_export_hears_what_it_exports() {
    let refused = serve_text(
        r#"(component
            (instance $i)
            (export "acme:shop/cart@1.0.0" (instance $i))
            (export "wasi:cli/run@0.2.3" (instance $i)))"#,
    );
    let (error, hint) = refused.expect_refusal(COMPONENT);
    assert_eq!(
        error,
        "`app.wasm` has no HTTP handler: it exports `acme:shop/cart@1.0.0`, `wasi:cli/run@0.2.3`"
    );
    // As they stand in `wit/`.
    let worlds = fs::read_to_string(repository("wit/handler.wit")).unwrap();
    let lines: Vec<_> = worlds.lines().map(str::trim).filter(|line| line.starts_with("export ")).collect();
    assert!(lines.len() == 2 && lines.iter().all(|line| hint.contains(line)), "{hint}");
    let refused = serve_text("(component)");
    let (error, _) = refused.expect_refusal(COMPONENT);
    assert_eq!(error, "`app.wasm` has no HTTP handler: it exports nothing");
}

#[test]
fn an_import_of_another_version_hears_the_nearest() {
    let refused = serve_text(&handler_with_import("wasi:cli/environment@0.4.0"));
    let (error, hint) = refused.expect_refusal(COMPONENT);
    assert_eq!(error, "`app.wasm` imports `wasi:cli/environment@0.4.0`, which nothing provides");
    assert!(
        hint.contains("`wasi:cli/environment@0.2.") || hint.contains("`wasi:cli/environment@0.3."),
        "{hint}"
    );
}

#[test]
fn an_import_of_something_unknown_is_named() {
    for import in ["wasi:crypto/keys@0.2.0-draft", "acme:shop/prices@2.1.0"] {
        let refused = serve_text(&handler_with_import(import));
        let (error, _) = refused.expect_refusal(COMPONENT);
        assert_eq!(error, format!("`app.wasm` imports `{import}`, which nothing provides"));
    }
}

#[test]
fn an_import_of_a_draft_of_0_3_is_told_to_build_again() {
    let refused = serve_text(&handler_with_import("wasi:http/types@0.3.0-rc-2026-01-06"));
    let (error, hint) = refused.expect_refusal(COMPONENT);
    assert_eq!(error, "`app.wasm` imports `wasi:http/types@0.3.0-rc-2026-01-06`, which nothing provides");
    assert!(hint.contains("`wasi:http/types@0.3.") && hint.contains("again"), "{hint}");
}

#[test]
fn an_export_of_a_draft_of_0_3_is_told_to_build_again() {
    let refused = serve_text(
        r#"(component (instance $i) (export "wasi:http/handler@0.3.0-rc-2026-01-06" (instance $i)))"#,
    );
    let (error, hint) = refused.expect_refusal(COMPONENT);
    assert!(error.contains("`wasi:http/handler@0.3.0-rc-2026-01-06`") && error.contains("draft"), "{error}");
    assert!(hint.contains("again"), "{hint}");
}

#[test]
fn a_handler_that_is_not_what_its_name_says() {
    for name in ["wasi:http/incoming-handler@0.2.0", "wasi:http/handler@0.3.0"] {
        let refused = serve_text(&format!(r#"(component (instance $i) (export "{name}" (instance $i)))"#));
        let (error, _) = refused.expect_refusal(COMPONENT);
        assert!(error.contains("handle"), "{error}");
    }
}

/// try: a handler of another type | refused, exit code 3 | no process is left
#[test]
fn a_handler_of_another_type_is_found_before_anything_starts() {
    let refused = serve_text(
        r#"(component
            (core module $m (func (export "h")))
            (core instance $i (instantiate $m))
            (func $f (canon lift (core func $i "h")))
            (instance $x (export "handle" (func $f)))
            (export "wasi:http/incoming-handler@0.2.0" (instance $x)))"#,
    );
    let (error, hint) = refused.expect_refusal(COMPONENT);
    assert!(
        error.contains("its `handle` takes 0 parameters and returns 0 values, and not 2 and 0"),
        "{error}"
    );
    assert!(hint.contains("wasi:http"), "{hint}");
}

#[test]
fn memory_that_the_machine_does_not_have_is_no_fault_of_the_component() {
    let refused = limited("-v 2000000").args(["--max-restarts", "0"]).run();
    assert!(!refused.stderr.contains("the component traps"), "{}", refused.stderr);
    assert!(refused.stderr.contains("Cannot allocate memory"), "{}", refused.stderr);
    refused.expect_code(7);
}

/// try: a component that traps while it starts | refused, exit code 3, its words are in the log | no process is left
#[test]
fn a_component_that_traps_while_starting() {
    for guest in ["refuses-p2", "refuses-p3"] {
        let refused = Server::of(guest).program().run();
        refused.expect_code(COMPONENT);
        refused.expect_nothing_left();
        assert_eq!(refused.stdout, "", "{}", refused.explain());
        // What the guest says for itself comes before.
        refused.expect_stderr("stderr | this component refuses to start");
        let is_frame = |line: &&str| line.starts_with("    at function ");
        assert!(refused.said().filter(is_frame).count() > 2, "{}", refused.explain());
        let own = refused.said().filter(|line| !line.starts_with("slot ") && !is_frame(line));
        let own: Vec<_> = own.collect();
        let [error, hint] = own[..] else { panic!("not an error and a hint{}", refused.explain()) };
        assert!(error.starts_with("error: the component traps while starting: "), "{error}");
        assert!(hint.starts_with("hint: "), "{hint}");
    }
}

/// try: compiled code as a component | refused, exit code 3 | no process is left
#[test]
fn compiled_code_given_as_a_component() {
    Server::of("hello-p2").instances(1).start().stop();
    let is_compiled = |path: &std::path::PathBuf| path.extension().is_some_and(|kind| kind == "cwasm");
    let artifact =
        fs::read_dir(shared_cache()).unwrap().flatten().map(|entry| entry.path()).find(is_compiled);
    let refused = serve(["app.cwasm"]).file("app.cwasm", fs::read(artifact.unwrap()).unwrap()).run();
    let (error, hint) = refused.expect_refusal(COMPONENT);
    assert!(error.starts_with("`app.cwasm` is compiled code"), "{error}");
    assert!(hint.contains("`.wasm`"), "{hint}");
}

/// try: a second app on an address that is served, to get a share | refused, exit code 4 | the first one serves on
#[test]
fn an_address_that_we_serve_already() {
    let server = Server::of("hello-p2").start();
    let port = server.addr.port();
    let pid = server.pid();
    // The second one is another address that would take a share of the first one's connections.
    for addr in [server.addr.to_string(), format!("0.0.0.0:{port}"), format!("[::]:{port}")] {
        let refused = Server::of("hello-p2").addr(&addr).program().run();
        let (error, hint) = refused.expect_refusal(ADDRESS);
        assert_eq!(error, format!("`{addr}` is already served by wasmcluster (pid {pid})"));
        assert!(hint.contains("--addr"), "{hint}");
    }
    assert_eq!(server.get("/").status, 200);
    assert_eq!(server.workers().len(), 2);
}

#[test]
fn an_address_that_another_program_has() {
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = other.local_addr().unwrap();
    let refused = Server::of("hello-p2").addr(addr).program().run();
    let (error, hint) = refused.expect_refusal(ADDRESS);
    assert_eq!(error, format!("`{addr}` is already in use by another program"));
    assert!(hint.contains(&format!("sport = :{}", addr.port())), "{hint}");
}

#[test]
fn an_address_of_another_machine() {
    let refused = Server::of("hello-p2").addr("192.0.2.1:8080").program().run();
    let (error, _) = refused.expect_refusal(ADDRESS);
    assert_eq!(error, "`192.0.2.1:8080` is not an address of this machine");
}

#[test]
fn a_privileged_port() {
    let first = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap_or_default();
    if first.trim().parse::<u16>().is_ok_and(|first| first <= 80) {
        eprintln!("skipped: port 80 is not privileged here");
        return;
    }
    let Some(program) = as_nobody(["serve", "--addr", "127.0.0.1:80"]) else { return };
    let refused = program.run();
    let (error, hint) = refused.expect_refusal(ADDRESS);
    assert_eq!(error, "not permitted to listen on `127.0.0.1:80`");
    assert!(hint.contains("1024") && hint.contains("--addr"), "{hint}");
}

#[test]
fn a_granted_directory_that_is_not_there() {
    let refused = Server::of("hello-p2").args(["--dir", "missing::/data"]).program().run();
    refused.expect_usage("for `--dir`: there is no directory `missing`");
    let refused = Server::of("hello-p2").args(["--dir", "file"]).file("file", "").program().run();
    refused.expect_usage("`file` is not a directory");
}

#[test]
fn a_cache_that_cannot_be_made() {
    for directory in ["file/cache", "/proc/cache", "/proc/version/cache"] {
        let refused = serve(["--cache-dir", directory]).file("file", "").run();
        let (error, hint) = refused.expect_refusal(CACHE);
        assert!(error.starts_with(&format!("failed to open the cache directory `{directory}`: ")), "{error}");
        assert!(hint.contains("--cache-dir"), "{hint}");
    }
}

#[test]
fn a_cache_that_is_a_file() {
    let refused = serve(["--cache-dir", "file"]).file("file", "").run();
    refused.expect_refusal(CACHE);
}

#[test]
fn a_cache_that_cannot_be_written() {
    let Some(program) = as_nobody(["serve", "--addr", "127.0.0.1:0", "--cache-dir", "cache"]) else { return };
    let cache = program.work().join("cache");
    fs::create_dir(&cache).unwrap();
    if geteuid().is_root() {
        chown(&cache, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    fs::set_permissions(&cache, Permissions::from_mode(0o500)).unwrap();
    let refused = program.run();
    let (error, hint) = refused.expect_refusal(CACHE);
    assert!(error.starts_with("the cache directory `cache` cannot be used: "), "{error}");
    assert!(hint.contains("--cache-dir"), "{hint}");
}

/// try: a cache directory that others can write | refused, exit code 5 | no process is left
#[test]
fn a_cache_that_others_can_write() {
    for mode in [0o777, 0o770, 0o702] {
        let program = serve(["--cache-dir", "cache"]);
        let cache = program.work().join("cache");
        fs::create_dir(&cache).unwrap();
        fs::set_permissions(&cache, Permissions::from_mode(mode)).unwrap();
        let refused = program.run();
        let (error, hint) = refused.expect_refusal(CACHE);
        assert_eq!(error, format!("the cache directory `cache` can be written by others (mode {mode:o})"));
        assert!(hint.contains("chmod go-w cache"), "{hint}");
    }
}

/// try: a cache directory of another user | refused, exit code 5 | no process is left
#[test]
fn a_cache_of_another_user() {
    let program = if geteuid().is_root() {
        let program = serve(["--cache-dir", "cache"]);
        let cache = program.work().join("cache");
        fs::create_dir(&cache).unwrap();
        chown(&cache, Some(NOBODY), None).unwrap();
        program
    } else if fs::metadata("/usr").unwrap().uid() != geteuid().as_raw() {
        serve(["--cache-dir", "/usr"])
    } else {
        eprintln!("skipped: there is no directory of another user");
        return;
    };
    let refused = program.run();
    let (error, _) = refused.expect_refusal(CACHE);
    assert!(error.contains(" belongs to user ") && error.ends_with(", not to us"), "{error}");
}

/// try: a symbolic link as the cache directory, also `link/`, also to nowhere | refused, exit code 5 | no process is left
#[test]
fn a_cache_that_is_a_symbolic_link() {
    for (target, given) in [("own", "link"), ("own", "link/"), ("own", "./link/."), ("nowhere", "link")] {
        let program = serve(["--cache-dir", given]);
        fs::create_dir(program.work().join("own")).unwrap();
        symlink(target, program.work().join("link")).unwrap();
        let refused = program.run();
        let (error, hint) = refused.expect_refusal(CACHE);
        assert_eq!(error, format!("the cache directory `{given}` is a symbolic link"));
        assert_eq!(hint, "name the directory that it leads to with `--cache-dir`");
        assert_eq!(fs::read_dir(refused.place.path().join("work/own")).unwrap().count(), 0);
    }
}

#[test]
fn too_few_descriptors() {
    let refused = limited("-n 256").run();
    let (error, hint) = refused.expect_refusal(DESCRIPTORS);
    assert!(error.ends_with("file descriptors are needed and at most 256 are allowed"), "{error}");
    assert!(hint.contains("ulimit -n") && hint.contains("--max-connections"), "{hint}");
}

#[test]
fn no_descriptors_for_a_start_at_all() {
    let refused = limited("-n 5").run();
    let (error, hint) = refused.expect_refusal(DESCRIPTORS);
    assert!(error.contains("Too many open files"), "{error}");
    assert_eq!(hint, "raise `ulimit -n`");
}

#[test]
fn a_low_limit_that_may_be_raised_is_raised() {
    let server = crate::support::Starting::of(limited("-S -n 256")).start();
    assert_eq!(server.get("/").status, 200);
}

/// `serve` on any port, with these arguments.
fn serve<const N: usize>(args: [&str; N]) -> Program {
    program(["serve", "--addr", "127.0.0.1:0", "--instances", "2"]).args(args)
}

/// What happens to a component of these bytes.
#[track_caller]
fn serve_bytes(bytes: &[u8]) -> Finished {
    serve(["app.wasm"]).file("app.wasm", bytes).run()
}

/// What happens to the component that a text describes.
#[track_caller]
fn serve_text(text: &str) -> Finished {
    serve_bytes(&wat::parse_str(text).unwrap())
}

/// A handler, as far as names go, that needs something.
fn handler_with_import(import: &str) -> String {
    format!(
        r#"(component
            (import "{import}" (instance))
            (instance $i)
            (export "wasi:http/incoming-handler@0.2.0" (instance $i)))"#
    )
}

/// The demo under a limit, in the words of the shell's `ulimit`.
fn limited(limit: &str) -> Program {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("ulimit {limit} && exec \"$0\" \"$@\"")]);
    Program::through(shell).args([binary(), "serve", "--addr", "127.0.0.1:0"])
}

/// The program as a user without privileges: nobody if we are root, and ourselves if not. None, having said so, where
/// we can be nobody but root.
fn as_nobody<const N: usize>(args: [&str; N]) -> Option<Program> {
    match Program::as_user(NOBODY) {
        Ok(program) => Some(program.args(args).own_cache()),
        Err(error) => {
            eprintln!("skipped: cannot run as another user: {error}");
            None
        }
    }
}

//! The cache of compiled code: compiled once, found again, and never trusted for its name alone.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;
use nix::unistd::geteuid;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::support::{Server, Starting, children, component, eventually, expect_gone, program, signal};

const REPAIRED: &str = "in the cache was damaged and was replaced";

/// A cache of one test's own.
struct Cache(TempDir);

impl Cache {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// One that has the compiled code of `guest`, and nothing else.
    #[track_caller]
    fn with(guest: &str) -> Self {
        let cache = Self::new();
        cache.serve(guest);
        cache
    }

    fn starting(&self, guest: &str) -> Starting {
        Server::of(guest).instances(1).env("WASMCLUSTER_CACHE_DIR", self.path())
    }

    /// Serves once, and returns what was said.
    #[track_caller]
    fn serve(&self, guest: &str) -> String {
        let server = self.starting(guest).start();
        let answer = server.get("/").expect_status(200);
        let expected = if guest.starts_with("zoo") { "hello from the zoo\n" } else { "hello from wasm\n" };
        assert_eq!(answer.text(), expected, "{}", server.explain());
        server.stderr()
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// What is there with this extension.
    fn all(&self, extension: &str) -> BTreeSet<PathBuf> {
        let paths = fs::read_dir(self.path()).unwrap().flatten().map(|entry| entry.path());
        paths.filter(|path| path.extension().is_some_and(|own| own == extension)).collect()
    }

    #[track_caller]
    fn only(&self, extension: &str) -> PathBuf {
        let mut all = self.all(extension);
        assert_eq!(all.len(), 1, "{all:?}");
        all.pop_first().unwrap()
    }

    fn artifact(&self) -> PathBuf {
        self.only("cwasm")
    }

    fn entry(&self) -> PathBuf {
        self.only("json")
    }

    /// Fails unless every file is whole: an artifact has the digest in its name, an entry names an artifact that is
    /// there, and both are files of ours alone.
    #[track_caller]
    fn expect_whole(&self) {
        for artifact in self.all("cwasm") {
            let digest = Sha256::digest(fs::read(&artifact).unwrap());
            let name: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(artifact.file_stem().unwrap().to_str(), Some(name.as_str()));
        }
        for entry in self.all("json") {
            let entry: Value = serde_json::from_slice(&fs::read(entry).unwrap()).unwrap();
            assert!(self.path().join(entry["artifact"].as_str().unwrap()).is_file(), "{entry}");
        }
        for file in fs::read_dir(self.path()).unwrap().flatten() {
            let metadata = fs::symlink_metadata(file.path()).unwrap();
            assert!(metadata.is_file(), "{file:?}");
            assert_eq!(metadata.mode() & 0o777, 0o600, "{file:?}");
            assert_eq!(metadata.uid(), geteuid().as_raw(), "{file:?}");
        }
    }

    /// Serves, and fails unless that was noticed and made good.
    #[track_caller]
    fn expect_repaired(&self, guest: &str) {
        let said = self.serve(guest);
        assert!(said.contains(REPAIRED), "{said}");
        self.expect_whole();
        let said = self.serve(guest);
        assert!(!said.contains(REPAIRED), "{said}");
    }
}

/// What a file that was written anew does not have in common with the old one.
fn stamp(path: &Path) -> (u64, i64, i64) {
    let metadata = fs::metadata(path).unwrap();
    (metadata.ino(), metadata.mtime(), metadata.mtime_nsec())
}

fn inode(path: &Path) -> u64 {
    fs::metadata(path).unwrap().ino()
}

#[test]
fn it_is_made_in_the_users_home_for_the_user_alone() {
    let server = Server::of("hello-p2").own_cache().start();
    let cache = server.place().join("home/.cache/wasmcluster");
    assert_eq!(fs::metadata(cache).unwrap().mode() & 0o777, 0o700);
    let server = Server::of("hello-p2").own_cache().env("XDG_CACHE_HOME", "").start();
    let cache = server.place().join("home/.cache/wasmcluster");
    assert_eq!(fs::metadata(cache).unwrap().mode() & 0o777, 0o700);
}

/// Where homes are small, caches are elsewhere.
#[test]
fn it_may_be_within_what_a_symbolic_link_leads_to() {
    let place = tempfile::tempdir().unwrap();
    fs::create_dir(place.path().join("elsewhere")).unwrap();
    symlink("elsewhere", place.path().join(".cache")).unwrap();
    let server =
        Server::of("hello-p2").own_cache().env("XDG_CACHE_HOME", place.path().join(".cache")).start();
    server.get("/").expect_status(200);
    assert!(fs::read_dir(place.path().join("elsewhere/wasmcluster")).unwrap().count() > 0);
}

#[test]
fn a_second_start_does_not_compile() {
    let cache = Cache::with("hello-p2");
    cache.expect_whole();
    let (entry, artifact) = (stamp(&cache.entry()), inode(&cache.artifact()));
    cache.serve("hello-p2");
    assert_eq!((stamp(&cache.entry()), inode(&cache.artifact())), (entry, artifact));
}

#[test]
fn each_component_has_its_own_code() {
    let cache = Cache::with("hello-p2");
    cache.serve("hello-p3");
    assert_eq!(cache.all("cwasm").len(), 2);
    cache.serve("hello-p2");
    assert_eq!(cache.all("cwasm").len(), 2);
    cache.expect_whole();
}

#[test]
fn a_file_of_the_same_name_and_other_content_is_compiled() {
    let cache = Cache::new();
    for (guest, answer) in [("hello-p2", "hello from wasm\n"), ("zoo-p2", "hello from the zoo\n")] {
        let bytes = fs::read(component(guest)).unwrap();
        let program = program(["serve", "app.wasm", "--instances", "1", "--addr", "127.0.0.1:0"]);
        let program = program.file("app.wasm", bytes).env("WASMCLUSTER_CACHE_DIR", cache.path());
        let server = Starting::of(program).start();
        assert_eq!(server.get("/").text(), answer);
    }
}

/// try: a byte of compiled code that was changed | not run, made anew, said | not looked at
#[test]
fn a_flipped_byte_is_noticed() {
    for place in [0, 1000, usize::MAX] {
        let cache = Cache::with("hello-p2");
        let artifact = cache.artifact();
        let mut bytes = fs::read(&artifact).unwrap();
        let place = place.min(bytes.len() - 1);
        bytes[place] ^= 1;
        fs::write(&artifact, bytes).unwrap();
        cache.expect_repaired("hello-p2");
    }
}

/// try: compiled code that was cut short | not run, made anew, said | not looked at
#[test]
fn a_truncated_artifact_is_noticed() {
    let cache = Cache::with("hello-p2");
    let artifact = cache.artifact();
    fs::File::options().write(true).open(artifact).unwrap().set_len(4096).unwrap();
    cache.expect_repaired("hello-p2");
}

/// try: other code under the right name | not run, made anew, said | not looked at
#[test]
fn other_code_under_the_right_name_is_not_run() {
    let cache = Cache::with("hello-p2");
    let artifact = cache.artifact();
    let other = Cache::with("zoo-p2");
    fs::copy(other.artifact(), &artifact).unwrap();
    cache.expect_repaired("hello-p2");
}

/// try: a symbolic link in the place of a file | not followed, made anew, said | not looked at
#[test]
fn a_symbolic_link_is_not_followed() {
    let cache = Cache::with("hello-p2");
    let elsewhere = tempfile::tempdir().unwrap();
    for name in [cache.artifact(), cache.entry()] {
        let target = elsewhere.path().join("target");
        fs::rename(&name, &target).unwrap();
        symlink(&target, &name).unwrap();
        cache.expect_repaired("hello-p2");
    }
}

/// try: a file that others can write | not used, made anew, said | not looked at
#[test]
fn a_file_that_others_could_have_written_is_made_anew() {
    let cache = Cache::with("hello-p2");
    for mode in [0o620, 0o602] {
        for name in [cache.artifact(), cache.entry()] {
            fs::set_permissions(&name, Permissions::from_mode(mode)).unwrap();
            cache.expect_repaired("hello-p2");
        }
    }
}

/// try: a file of another user | not used, made anew, said | not looked at
#[test]
fn a_file_of_another_user_is_made_anew() {
    if !geteuid().is_root() {
        eprintln!("skipped: only root can give files away");
        return;
    }
    let cache = Cache::with("hello-p2");
    for name in [cache.artifact(), cache.entry()] {
        chown(&name, Some(65534), None).unwrap();
        cache.expect_repaired("hello-p2");
    }
}

/// try: an entry that is nonsense, or names `../../../etc/passwd` | not used, made anew, said | not looked at
#[test]
fn an_entry_that_is_nonsense_is_made_anew() {
    let cache = Cache::with("hello-p2");
    for nonsense in ["", "{", "[]", r#"{"artifact":"../../../etc/passwd","needs":{}}"#] {
        fs::write(cache.entry(), nonsense).unwrap();
        cache.expect_repaired("hello-p2");
    }
}

#[test]
fn an_artifact_that_is_gone_is_made_anew() {
    let cache = Cache::with("hello-p2");
    fs::remove_file(cache.artifact()).unwrap();
    cache.expect_repaired("hello-p2");
}

/// try: code of another engine under its own digest | not run, the start fails | no process is left
#[test]
fn code_of_another_engine_is_not_run() {
    let cache = Cache::with("hello-p2");
    let (artifact, entry) = (cache.artifact(), cache.entry());
    // Another engine's code, whose digest is as it should be.
    let mut bytes = fs::read(&artifact).unwrap();
    let engine = b" on wasmtime 48";
    let place = bytes.windows(engine.len()).position(|window| window == engine).unwrap();
    bytes[place + engine.len() - 1] = b'7';
    let digest: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    let name = format!("{digest}.cwasm");
    fs::write(cache.path().join(&name), bytes).unwrap();
    fs::set_permissions(cache.path().join(&name), Permissions::from_mode(0o600)).unwrap();
    let mut content: Value = serde_json::from_slice(&fs::read(&entry).unwrap()).unwrap();
    content["artifact"] = name.into();
    fs::write(&entry, content.to_string()).unwrap();

    let refused = cache.starting("hello-p2").program().run();
    assert_ne!(refused.status.code(), Some(0));
    refused.expect_stderr("error: ").expect_stderr("version").expect_stderr("\nhint: ");
    refused.expect_nothing_left();
}

#[test]
fn servers_that_start_at_once_compile_once() {
    let cache = Cache::new();
    let starting: Vec<_> = (0..4).map(|_| cache.starting("zoo-p3").program().start()).collect();
    let first = eventually("an entry", || Some(inode(cache.all("json").first()?)));
    for running in &starting {
        let serves = |text: &str| text.contains("Serving HTTP").then_some(());
        assert!(running.stderr.wait_for(crate::support::PATIENCE, serves).is_some(), "{}", running.explain());
    }
    // Whoever compiles writes an entry of its own.
    assert_eq!(inode(&cache.entry()), first);
    cache.expect_whole();
}

#[test]
fn a_builder_that_is_killed_leaves_no_half_entry() {
    type Reached = fn(&Cache) -> bool;
    let moments: [Reached; 3] = [
        |cache| cache.path().join("lock").exists(),
        |cache| leftovers(cache) > 0,
        |cache| !cache.all("cwasm").is_empty(),
    ];
    for reached in moments {
        let cache = Cache::new();
        let running = cache.starting("zoo-p3").program().start();
        let builder = eventually("a builder", || children(running.pid()).first().copied());
        // Some moments are short; once the entry is there, they have passed.
        eventually("the moment", || (reached(&cache) || !cache.all("json").is_empty()).then_some(()));
        signal(builder, Signal::SIGKILL);
        // The builder may have been faster: then it serves, and there is nothing half about the entry either.
        let serves = |text: &str| text.contains("Serving HTTP").then_some(());
        if running.stderr.wait_for(crate::support::PATIENCE, serves).is_none() {
            let failed = running.wait();
            let (error, hint) = failed.expect_refusal(1);
            assert!(error.ends_with("ended early: signal 9"), "{error}");
            assert!(hint.contains("memory"), "{hint}");
        }
        cache.expect_whole();
        cache.serve("zoo-p3");
        assert_eq!(leftovers(&cache), 0);
        cache.expect_whole();
    }
}

#[test]
fn a_builder_ends_with_its_supervisor() {
    let cache = Cache::new();
    let running = cache.starting("zoo-p3").program().start();
    let builder = eventually("a builder", || children(running.pid()).first().copied());
    eventually("the compilation", || cache.path().join("lock").exists().then_some(()));
    signal(running.pid(), Signal::SIGKILL);
    expect_gone(&[builder]);
    drop(running);
    cache.expect_whole();
    cache.serve("zoo-p3");
    assert_eq!(leftovers(&cache), 0);
}

#[test]
fn what_was_left_half_written_is_cleared_away() {
    let cache = Cache::new();
    fs::write(cache.path().join("new-1"), "half").unwrap();
    cache.serve("hello-p2");
    assert_eq!(leftovers(&cache), 0);
}

#[test]
fn a_server_does_not_need_the_cache_once_it_serves() {
    let cache = Cache::new();
    let server = cache.starting("hello-p2").arg("--min-uptime=0s").start();
    let worker = server.workers()[0];
    fs::remove_dir_all(cache.path()).unwrap();
    signal(worker, Signal::SIGKILL);
    server.wait_for_workers(1, &[worker]);
    assert_eq!(server.get("/").status, 200);
}

/// try: changing and emptying compiled code in place while an app runs | other workers serve what was built | others are served
#[test]
fn what_becomes_of_its_file_changes_nothing_for_an_app_that_runs() {
    let cache = Cache::new();
    let server = cache.starting("hello-p2").arg("--min-uptime=0s").start();
    let artifact = cache.artifact();
    let bytes = fs::read(&artifact).unwrap();
    // In place, as a rename would leave the workers the old file: other text for the answer, and then nothing at all.
    let text = b"hello from wasm";
    let place = bytes.windows(text.len()).position(|window| window == text).unwrap();
    let file = fs::File::options().write(true).open(&artifact).unwrap();
    file.write_all_at(b"HACKED", u64::try_from(place).unwrap()).unwrap();
    for cut in [false, true] {
        if cut {
            file.set_len(0).unwrap();
        }
        let worker = server.workers()[0];
        assert_eq!(server.get("/").text(), "hello from wasm\n");
        signal(worker, Signal::SIGKILL);
        server.wait_for_workers(1, &[worker]);
        assert_eq!(server.get("/").text(), "hello from wasm\n");
    }
    server.stop();
    cache.expect_repaired("hello-p2");
}

/// Files that a builder has not finished.
fn leftovers(cache: &Cache) -> usize {
    let names = fs::read_dir(cache.path()).unwrap().flatten().map(|entry| entry.file_name());
    names.filter(|name| name.to_string_lossy().starts_with("new-")).count()
}

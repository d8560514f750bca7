use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::Barrier;
use std::thread;

use super::*;

/// A place that goes away with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("wasmcluster-run-{test}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        Self(path)
    }

    fn open(&self) -> RunDir {
        RunDir::create(&self.0).expect("creatable")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn name(text: &str) -> AppName {
    text.parse().expect("a name")
}

fn exactly(text: &str) -> Naming {
    Naming::Exactly(name(text))
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("there").permissions().mode() & 0o777
}

#[test]
fn everything_is_made_for_us_alone_and_goes_away() {
    let scratch = Scratch::new("modes");
    let app = scratch.open().claim(&exactly("demo")).expect("free");
    let listener = app.listen().expect("a socket");
    assert_eq!(mode(&scratch.0), 0o700);
    assert_eq!(mode(&scratch.0.join("demo")), 0o700);
    assert_eq!(mode(&scratch.0.join("demo/control.sock")), 0o600);
    assert!(scratch.open().connect(&name("demo")).expect("ours").is_some());
    drop((listener, app));
    assert!(!scratch.0.join("demo").exists());
    assert!(scratch.open().connect(&name("demo")).expect("ours").is_none());
}

#[test]
fn a_name_has_one_owner_at_a_time() {
    let scratch = Scratch::new("taken");
    let first = scratch.open().claim(&exactly("demo")).expect("free");
    let _listener = first.listen().expect("a socket");
    let own = i32::try_from(std::process::id()).ok();
    match scratch.open().claim(&exactly("demo")) {
        Err(RunDirError::NameTaken { pid, .. }) => assert_eq!(pid, own),
        other => panic!("{other:?}"),
    }
    let second = scratch.open().claim(&Naming::Like(name("demo"))).expect("another name");
    let third = scratch.open().claim(&Naming::Like(name("demo"))).expect("another name");
    assert_eq!((second.name().as_str(), third.name().as_str()), ("demo-2", "demo-3"));
    drop(first);
    scratch.open().claim(&exactly("demo")).expect("free again");
}

#[test]
fn owners_that_come_and_go_never_meet() {
    const THREADS: usize = 4;
    let scratch = Scratch::new("race");
    let _ = scratch.open();
    let start = Barrier::new(THREADS);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                start.wait();
                for _ in 0..200 {
                    match scratch.open().claim(&exactly("demo")) {
                        // A second owner would find the socket in its way, or miss it.
                        Ok(app) => {
                            app.listen().expect("alone");
                            assert!(scratch.0.join("demo/control.sock").exists());
                        }
                        Err(RunDirError::NameTaken { .. }) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            });
        }
    });
    assert_eq!(scratch.open().names().expect("readable"), []);
}

#[test]
fn what_a_killed_supervisor_left_is_taken_over() {
    let scratch = Scratch::new("stale");
    let mut app = scratch.open().claim(&exactly("demo")).expect("free");
    drop(app.listen().expect("a socket"));
    // As SIGKILL would: the lock is gone, and nothing else. So it is with who is no owner.
    app.owner = NOBODY;
    drop(app);
    assert_eq!(scratch.open().names().expect("readable"), [name("demo")]);
    assert!(scratch.0.join("demo").join(SOCKET).exists());
    assert!(scratch.open().connect(&name("demo")).expect("ours").is_none());
    let app = scratch.open().claim(&exactly("demo")).expect("free");
    let _listener = app.listen().expect("a socket");
    assert!(scratch.open().connect(&name("demo")).expect("ours").is_some());
}

#[test]
fn links_files_and_open_doors_are_refused() {
    let scratch = Scratch::new("trust");
    let _ = scratch.open();
    let at = |name: &str| scratch.0.join(name);
    fs::create_dir(at("real")).expect("ours");
    fs::set_permissions(at("real"), Permissions::from_mode(0o700)).expect("ours");
    symlink(at("real"), at("link")).expect("ours");
    fs::write(at("file"), "").expect("ours");
    for slash in ["", "/", "/."] {
        let link = PathBuf::from(format!("{}{slash}", at("link").display()));
        assert!(matches!(RunDir::create(&link), Err(RunDirError::NoDirectory { .. })), "{slash:?}");
    }
    assert!(matches!(RunDir::open(&at("file")), Err(RunDirError::NoDirectory { .. })));
    assert!(matches!(scratch.open().claim(&exactly("link")), Err(RunDirError::NoDirectory { .. })));
    assert!(matches!(scratch.open().connect(&name("link")), Err(RunDirError::NoDirectory { .. })));
    fs::set_permissions(at("real"), Permissions::from_mode(0o750)).expect("ours");
    assert!(matches!(RunDir::create(&at("real")), Err(RunDirError::OpenToOthers { mode: 0o750, .. })));
    assert!(matches!(scratch.open().claim(&exactly("real")), Err(RunDirError::OpenToOthers { .. })));
}

#[test]
fn a_long_path_is_no_obstacle() {
    let scratch = Scratch::new("long");
    let deep = scratch.0.join("x".repeat(200));
    let app = RunDir::create(&deep).expect("creatable").claim(&exactly("demo")).expect("free");
    let _listener = app.listen().expect("longer than a socket's path may be");
    let run_dir = RunDir::open(&deep).expect("ours").expect("there");
    assert!(run_dir.connect(&name("demo")).expect("ours").is_some());
}

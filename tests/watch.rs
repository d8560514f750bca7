//! A component's file that is watched: what becomes of it is served, once it is whole.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::support::{Server, Starting, component, eventually};

fn watching() -> Starting {
    let hello = fs::read(component("hello-p2")).unwrap();
    let server = Server::of_file(Path::new("app.wasm")).file("app.wasm", hello);
    server.instances(2).args(["--watch", "--bake", "0s"])
}

fn file(server: &Server, name: &str) -> PathBuf {
    server.place().join("work").join(name)
}

#[test]
fn a_file_that_takes_its_place_is_rolled_out() {
    let server = watching().start();
    fs::copy(component("zoo-p2"), file(&server, "app.new")).unwrap();
    fs::rename(file(&server, "app.new"), file(&server, "app.wasm")).unwrap();
    server.wait_for_stderr("every slot serves generation 2");
    assert_eq!(server.get("/").text(), "hello from the zoo\n");
    // And what takes its place in turn.
    fs::copy(component("hello-p3"), file(&server, "app.new")).unwrap();
    fs::rename(file(&server, "app.new"), file(&server, "app.wasm")).unwrap();
    server.wait_for_stderr("every slot serves generation 3");
    assert_eq!(server.get("/").text(), "hello from wasm\n");
}

#[test]
fn a_file_that_is_written_over_is_rolled_out_when_its_writer_is_done() {
    let server = watching().start();
    let zoo = fs::read(component("zoo-p2")).unwrap();
    let mut writer = File::create(file(&server, "app.wasm")).unwrap();
    for piece in zoo.chunks(zoo.len() / 4 + 1) {
        writer.write_all(piece).unwrap();
        writer.sync_all().unwrap();
    }
    drop(writer);
    server.wait_for_stderr("every slot serves generation 2");
    assert_eq!(server.get("/").text(), "hello from the zoo\n");
    assert!(!server.stderr().contains("cannot be served"), "{}", server.explain());
}

#[test]
fn half_a_file_changes_nothing_and_the_other_half_does() {
    let server = watching().start();
    let workers = server.workers();
    let zoo = fs::read(component("zoo-p2")).unwrap();
    let (half, rest) = zoo.split_at(zoo.len() / 2);
    fs::write(file(&server, "app.wasm"), half).unwrap();
    server.wait_for_stderr("generation 1 goes on, the new one cannot be served");
    assert_eq!(server.get("/").text(), "hello from wasm\n");
    assert_eq!(server.workers(), workers);
    OpenOptions::new().append(true).open(file(&server, "app.wasm")).unwrap().write_all(rest).unwrap();
    server.wait_for_stderr("every slot serves generation 2");
    assert_eq!(server.get("/").text(), "hello from the zoo\n");
}

#[test]
fn a_file_that_is_gone_changes_nothing_until_there_is_another_one() {
    let server = watching().start();
    fs::remove_file(file(&server, "app.wasm")).unwrap();
    server.wait_for_stderr("there is no file `app.wasm`");
    assert_eq!(server.get("/").text(), "hello from wasm\n");
    fs::copy(component("zoo-p2"), file(&server, "app.wasm")).unwrap();
    server.wait_for_stderr("every slot serves generation 2");
}

/// As tools do it that clear up before they build.
#[test]
fn a_directory_that_is_gone_with_it_may_come_again() {
    let hello = fs::read(component("hello-p2")).unwrap();
    let server =
        Server::of_file(Path::new("made/below/app.wasm")).instances(1).args(["--watch", "--bake", "0s"]);
    let server = server.directory("made").directory("made/below").file("made/below/app.wasm", hello).start();
    fs::remove_dir_all(file(&server, "made")).unwrap();
    server.wait_for_stderr("there is no file `made/below/app.wasm`");
    fs::create_dir_all(file(&server, "made/below")).unwrap();
    fs::copy(component("zoo-p2"), file(&server, "made/below/app.wasm")).unwrap();
    server.wait_for_stderr("every slot serves generation 2");
    assert_eq!(server.get("/").text(), "hello from the zoo\n");
}

#[test]
fn a_file_that_was_only_touched_is_what_is_served_already() {
    let server = watching().start();
    let workers = server.workers();
    fs::copy(component("hello-p2"), file(&server, "app.wasm")).unwrap();
    server.wait_for_stderr("generation 1 serves `app.wasm` already");
    assert_eq!(server.workers(), workers);
    // Its neighbours are nobody's business.
    fs::write(file(&server, "other.wasm"), "x").unwrap();
    fs::copy(component("zoo-p2"), file(&server, "app.wasm")).unwrap();
    server.wait_for_stderr("every slot serves generation 2");
    assert_eq!(server.stderr().matches("looking at `app.wasm` again").count(), 2);
}

/// As deployments do it that keep releases side by side.
#[test]
fn a_link_on_the_way_to_it_is_watched_and_so_is_the_file_where_it_is() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    for (release, name) in [("first", "hello-p2"), ("second", "zoo-p2")] {
        fs::create_dir(at(release)).unwrap();
        fs::copy(component(name), at(release).join("real.wasm")).unwrap();
        symlink("real.wasm", at(release).join("app.wasm")).unwrap();
    }
    symlink("first", at("current")).unwrap();
    let server =
        Server::of_file(&at("current/app.wasm")).instances(1).args(["--watch", "--bake", "0s"]).start();
    // A directory on the way.
    symlink("second", at("next")).unwrap();
    fs::rename(at("next"), at("current")).unwrap();
    server.wait_for_stderr("every slot serves generation 2");
    assert_eq!(server.get("/").text(), "hello from the zoo\n");
    // The file that the last link leads to, under its own name.
    fs::copy(component("hello-p3"), at("second/new")).unwrap();
    fs::rename(at("second/new"), at("second/real.wasm")).unwrap();
    server.wait_for_stderr("every slot serves generation 3");
    assert_eq!(server.get("/").text(), "hello from wasm\n");
    // What nothing leads to any more is nobody's business.
    fs::copy(component("zoo-p3"), at("first/real.wasm")).unwrap();
    // The last link.
    fs::copy(component("zoo-p3"), at("other.wasm")).unwrap();
    fs::remove_file(at("second/app.wasm")).unwrap();
    symlink("../other.wasm", at("second/app.wasm")).unwrap();
    server.wait_for_stderr("every slot serves generation 4");
    assert_eq!(server.get("/").text(), "hello from the zoo\n");
    server.stop();
}

#[test]
fn without_being_asked_nobody_watches() {
    let hello = fs::read(component("hello-p2")).unwrap();
    let server =
        Server::of_file(Path::new("app.wasm")).file("app.wasm", hello).args(["--bake", "0s"]).start();
    fs::copy(component("zoo-p2"), file(&server, "app.wasm")).unwrap();
    server.signal(nix::sys::signal::Signal::SIGHUP);
    server.wait_for_stderr("every slot serves generation 2");
    assert_eq!(server.stderr().matches("looking at `app.wasm` again").count(), 1);
    eventually("the new one", || (server.get("/").text() == "hello from the zoo\n").then_some(()));
}

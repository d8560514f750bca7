//! What fuzzing begins with is of this build.

use std::collections::BTreeSet;
use std::fs;

use serde::de::DeserializeOwned;
use wasmcluster_core::channel::Channel;
use wasmcluster_core::control::ToSupervisor;
use wasmcluster_core::message::FromWorker;

use super::{repository, sources};
use crate::support::program;

#[test]
fn every_fuzz_target_is_built_and_has_something_to_begin_with() {
    let manifest: toml::Table =
        fs::read_to_string(repository("tests/fuzz/Cargo.toml")).unwrap().parse().unwrap();
    let built: BTreeSet<_> = manifest["bin"]
        .as_array()
        .unwrap()
        .iter()
        .map(|bin| bin["name"].as_str().unwrap().to_owned())
        .collect();
    let name = |(name, _): (String, _)| name.rsplit('/').next().unwrap().trim_end_matches(".rs").to_owned();
    assert_eq!(sources("tests/fuzz/fuzz_targets").into_iter().map(name).collect::<BTreeSet<_>>(), built);
    let kept = fs::read_dir(repository("tests/fuzz/corpus")).unwrap().flatten();
    assert_eq!(kept.map(|kept| kept.file_name().into_string().unwrap()).collect::<BTreeSet<_>>(), built);
    for target in built {
        let files = fs::read_dir(repository(&format!("tests/fuzz/corpus/{target}"))).unwrap().count();
        // Each is run at every start, and read by nobody.
        assert!((10..=100).contains(&files), "{target}: {files} files");
    }
}

/// How many messages there are in a seed of `frames`: behind how it is to be cut, as somebody sends them who greets.
#[track_caller]
fn messages<T: DeserializeOwned>(name: &str, seed: &[u8]) -> usize {
    let (count, rest) = seed.split_first().unwrap();
    let mut channel = Channel::<(), T>::new();
    channel.read(&rest[usize::from(*count)..]);
    let next = || channel.receive().unwrap_or_else(|error| panic!("{name}: {error}"));
    std::iter::from_fn(next).count()
}

/// A message that is not understood leads a fuzzer no further than to where that is noticed.
#[test]
fn seeds_of_frames_are_messages() {
    let mut looked_at = 0;
    for file in fs::read_dir(repository("tests/fuzz/corpus/frames")).unwrap().flatten() {
        let (name, seed) = (file.file_name().into_string().unwrap(), fs::read(file.path()).unwrap());
        let found = match name.split('-').next() {
            Some("command" | "commands") => messages::<ToSupervisor>(&name, &seed),
            Some("worker") => messages::<FromWorker>(&name, &seed),
            _ => continue,
        };
        assert!(found > 0, "{name} has none");
        looked_at += 1;
    }
    assert!(looked_at > 20, "{looked_at}");
}

#[test]
fn the_dictionary_of_the_configuration_has_every_key() {
    let dictionary = fs::read_to_string(repository("tests/fuzz/config.dict")).unwrap();
    let words: BTreeSet<_> = dictionary.lines().filter(|line| !line.starts_with('#')).collect();
    let help = program(["serve", "--help"]).run().stdout;
    // `-i, --instances <N>`, and not what is said about it.
    let named = help.lines().map(str::trim_start).filter(|line| line.starts_with('-'));
    let flags = named.filter_map(|line| line.split(' ').find_map(|word| word.strip_prefix("--")));
    let keys: BTreeSet<_> = flags.filter(|flag| !["config", "help", "version"].contains(flag)).collect();
    assert!(keys.contains("max-memory-size"), "{keys:?}");
    let missing: Vec<_> = keys.iter().filter(|key| !words.contains(format!("\"{key}\"").as_str())).collect();
    assert!(missing.is_empty(), "not in the dictionary: {missing:?}");
}

use proptest::collection::vec;
use proptest::prelude::*;

use super::laws::any_file_is_read_or_explained;
use super::*;

fn settings(text: &str) -> Result<Vec<(String, Vec<String>)>, String> {
    let read = read(text, Path::new("/etc/app/wasmcluster.toml"), &serve_arguments());
    let texts =
        |values: Vec<OsString>| values.iter().map(|value| value.to_string_lossy().into_owned()).collect();
    match read {
        Ok(settings) => Ok(settings.into_iter().map(|setting| (setting.id, texts(setting.values))).collect()),
        Err(failure) => Err(format!("{} | {}", failure.message, failure.hint.unwrap_or_default())),
    }
}

#[track_caller]
fn check(text: &str, id: &str, values: &[&str]) {
    let values = values.iter().map(|value| (*value).to_owned()).collect();
    assert_eq!(settings(text), Ok(vec![(id.to_owned(), values)]));
}

#[track_caller]
fn refuse(text: &str, message: &str) {
    assert_eq!(settings(text), Err(message.to_owned()));
}

#[test]
fn values_are_what_one_would_type() {
    check("instances = 4", "instances", &["4"]);
    check("instances = 'max'", "instances", &["max"]);
    check("json = true", "json", &["true"]);
    check("max-memory-size = '64MiB'", "max_memory_size", &["64MiB"]);
    check("allow-outbound = ['a.org', '*.b.org:443']", "allow_outbound", &["a.org", "*.b.org:443"]);
    check("allow-outbound = 'a.org'", "allow_outbound", &["a.org"]);
    check("[env]\nA = 'b'\nC = 1", "env", &["A=b", "C=1"]);
    check("env = ['A', 'B=c']", "env", &["A", "B=c"]);
}

#[test]
fn paths_start_where_the_file_is() {
    check("component = 'app.wasm'", "component", &["/etc/app/app.wasm"]);
    check("dir = ['data::/data', '/srv']", "dir", &["/etc/app/data::/data", "/srv"]);
}

#[test]
fn mistakes_name_the_line() {
    refuse(
        "\ninstance = 4",
        "`/etc/app/wasmcluster.toml`, line 2: there is no key `instance` | did you mean `instances`?",
    );
    refuse(
        "max_restarts = 4",
        "`/etc/app/wasmcluster.toml`, line 1: there is no key `max_restarts` | did you mean `max-restarts`?",
    );
    refuse("colour = 4", "`/etc/app/wasmcluster.toml`, line 1: there is no key `colour` | ");
    refuse(
        "config = 'x'",
        "`/etc/app/wasmcluster.toml`, line 1: there is no key `config` | did you mean `config-var`?",
    );
    refuse("addr = ['a', 'b']", "`/etc/app/wasmcluster.toml`, line 1: `addr` is one value | ");
    refuse("env = [['a']]", "`/etc/app/wasmcluster.toml`, line 1: `env` is a list of texts | ");
    assert!(settings("\n\naddr = ").is_err_and(|message| message.contains("line 3")));
    assert!(settings("addr = 1\naddr = 2").is_err_and(|message| message.contains("line 2")));
}

/// The failure of a command line of only `serve` when the file has `text`.
fn judged(text: &str) -> String {
    let settings = read(text, Path::new("x.toml"), &serve_arguments()).expect("readable");
    let error = with_defaults("serve", &settings)
        .try_get_matches_from(["wasmcluster", "serve"])
        .expect_err("invalid");
    blame(error, &settings).message
}

#[test]
fn a_value_is_judged_as_if_it_was_typed() {
    assert_eq!(
        judged("instances = 0"),
        "invalid value `0` for `instances` (`x.toml`, line 1): at least 1 instance is needed"
    );
    assert_eq!(
        judged("isolation = 'total'"),
        "invalid value `total` for `isolation` (`x.toml`, line 1): expected one of `fast`, `strict`"
    );
    assert!(judged("timeout = 30").contains("`x.toml`, line 1): expected a time with its unit"));
    assert!(judged("max-connections = 0").contains("line 1"));
}

#[test]
fn a_flag_wins_over_the_file() {
    let settings =
        read("instances = 3\nmax-restarts = 5", Path::new("x.toml"), &serve_arguments()).expect("readable");
    let matches = with_defaults("serve", &settings)
        .try_get_matches_from(["wasmcluster", "serve", "-i", "2"])
        .expect("valid");
    let Ok(Command::Serve(args)) = command(&matches) else { panic!("not serve") };
    assert_eq!(args.instances.resolve().get(), 2);
    assert_eq!(args.max_restarts, 5);
}

/// What is nearly a file: keys that there are, with what may be their value or not.
fn files() -> impl Strategy<Value = String> {
    let keys: Vec<String> = serve_arguments().iter().map(|arg| key(arg).to_owned()).collect();
    let key =
        prop_oneof![8 => (0..keys.len()).prop_map(move |index| keys[index].clone()), 1 => "[a-z-]{1,8}"];
    let value = prop_oneof![
        "[0-9]{1,4}",
        "(true|false|[0-9]\\.[0-9])",
        "'[0-9]{0,3}(s|ms|MiB|%|x)?'",
        "'[a-z./*:=]{0,10}'",
        r#""(\\\\n|\\\\u0000|[a-z=:]|ü){0,6}""#,
        "\\[('[a-z=]{0,4}', ){0,2}[0-9]\\]",
        "\\{ [a-z]{0,2} = 'b', \"[=a\\. ]{0,2}\" = 1 \\}",
        ".{0,8}",
    ];
    let line = prop_oneof![
        9 => (key, value).prop_map(|(key, value)| format!("{key} = {value}")),
        1 => ".{0,12}",
        1 => "\\[(env|config-var|dir|a\\.b)\\]",
    ];
    vec(line, ..4).prop_map(|lines| lines.join("\n"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_file(text in files()) {
        any_file_is_read_or_explained(&text);
    }
}

//! Command lines, variables and configuration files that make no sense.

use crate::support::program;

const USAGE: i32 = 2;

#[test]
fn values_out_of_range() {
    for (flag, value) in [
        ("addr", "127.0.0.1:65536"),
        ("allow-outbound", ""),
        ("allow-outbound", "example.org:port"),
        ("body-timeout", "0s"),
        ("config-var", "name"),
        ("config-var", "=value"),
        ("env", "=value"),
        ("env", "NOBODY_SET_THIS"),
        ("header-timeout", "0s"),
        ("idle-instance-timeout", "-1s"),
        ("isolation", "sloppy"),
        ("json", "perhaps"),
        ("keep-alive-timeout", "0s"),
        ("kill-timeout", "10"),
        ("kill-timeout", "soon"),
        ("listen-timeout", "0s"),
        ("max-concurrent-requests", "0"),
        ("max-concurrent-requests", "1000001"),
        ("max-connections", "0"),
        ("max-header-size", "1KiB"),
        ("max-header-size", "1GiB"),
        ("max-instance-reuse-count", "0"),
        ("max-memory-size", "1"),
        ("max-memory-size", "5GiB"),
        ("max-memory-size", "much"),
        ("max-restarts", "-1"),
        ("max-restarts", "5000000000"),
        ("min-uptime", "1"),
        ("timeout", "0s"),
        ("timeout", "2years"),
    ] {
        let refused = program(["serve", &format!("--{flag}={value}")]).run();
        refused.expect_usage(&format!("value `{value}` for `--{flag}`"));
        refused.expect_nothing_left();
    }
}

#[test]
fn an_unknown_key_in_the_file_is_named_with_its_place() {
    let file = "# ours\ninstances = 2\n\nmax-restart = 5\n";
    let refused = program(["serve"]).file("wasmcluster.toml", file).run();
    let (error, hint) = refused.expect_refusal(USAGE);
    assert_eq!(error, "`wasmcluster.toml`, line 4: there is no key `max-restart`");
    assert_eq!(hint, "did you mean `max-restarts`?");
}

#[test]
fn a_bad_value_in_the_file_is_named_with_its_place() {
    for (file, place, reason) in [
        ("instances = 0\n", "line 1", "at least 1 instance is needed"),
        ("\naddr = \"nowhere\"\n", "line 2", "expected `HOST:PORT`"),
        ("instances = [1, 2]\n", "line 1", "`instances` is one value"),
        ("isolation = \"sloppy\"\n", "line 1", "expected one of `fast`, `strict`"),
        ("timeout = \"1s\"\ninstances = \n", "line 2", ""),
    ] {
        let refused = program(["serve", "--config", "app.toml"]).file("app.toml", file).run();
        refused.expect_usage("`app.toml`").expect_usage(place).expect_usage(reason);
        refused.expect_nothing_left();
    }
}

#[test]
fn a_configuration_file_that_is_not_there() {
    program(["serve", "--config", "missing.toml"]).run().expect_usage("failed to read `missing.toml`: ");
}

#[test]
fn a_bad_variable_is_named() {
    for (variable, value, said) in [
        (
            "WASMCLUSTER_INSTANCES",
            "0",
            "invalid value `0` for `--instances` (variable `WASMCLUSTER_INSTANCES`): at least",
        ),
        (
            "WASMCLUSTER_ALLOW_OUTBOUND",
            "ok.example\nno:port",
            "invalid value `no:port` for `allow-outbound` (variable `WASMCLUSTER_ALLOW_OUTBOUND`): ",
        ),
    ] {
        let refused = program(["serve"]).env(variable, value).run();
        refused.expect_usage(said).expect_stderr("hint: `wasmcluster serve --help` says what there is");
        refused.expect_nothing_left();
    }
    // What was typed counts, and is to blame.
    let refused = program(["serve", "--instances=0"]).env("WASMCLUSTER_INSTANCES", "0").run();
    refused.expect_usage("invalid value `0` for `--instances`: at least");
}

#[test]
fn what_is_typed_wrong_is_said_with_a_hint() {
    for (line, error, hint) in [
        (
            vec!["serve", "--instnces", "4"],
            "unexpected argument `--instnces` found",
            "did you mean `--instances`?",
        ),
        (vec!["server"], "unrecognized subcommand `server`", "did you mean `serve`?"),
        (
            vec!["serve", "--timeout"],
            "a value is required for `--timeout <TIME>`",
            "`wasmcluster serve --help` says",
        ),
        (
            vec!["rollback", "x"],
            "invalid value `x` for `[GENERATION]`: a whole number is needed",
            "`wasmcluster rollback --help`",
        ),
        (
            vec!["logs", "-n", "x"],
            "invalid value `x` for `--lines`: a whole number is needed",
            "`wasmcluster logs --help` says",
        ),
        (
            vec!["serve", "--isolation=no"],
            "expected one of `fast`, `strict`",
            "`wasmcluster serve --help` says",
        ),
        (
            vec!["serve", "--watch"],
            "`--watch` watches a component's file, and none was named",
            "name a component",
        ),
    ] {
        let refused = program(&line).run();
        refused.expect_usage(error).expect_stderr(&format!("hint: {hint}"));
        refused.expect_nothing_left();
    }
}

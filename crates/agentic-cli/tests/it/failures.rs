//! Errors and exit codes.

use crate::sandbox::Sandbox;

/// A server that nobody runs.
fn alone() -> Sandbox {
    Sandbox::new().with("AGENTIC_BASE_URL", "http://127.0.0.1:1")
}

#[test]
fn usage_errors_end_with_2() {
    let sandbox = alone();
    for args in [
        &[] as &[&str],
        &["nonsense"],
        &["list", "--status", "nonsense"],
        &["submit"],
        &["submit", "x", "--from", "f.yaml"],
        &["submit", "--from", "f.yaml", "--label", "a"],
        &["submit", "x", "--priority", "urgent"],
        &["submit", "x", "--not-before", "tomorrow"],
        &["submit", "-x"],
        &["edit", "t"],
        &["edit", "t", "--block", "why", "--priority", "low"],
        &["cancel", "a/b"],
        &["list", "--limit", "0"],
        &["list", "--limit", "1", "--all"],
        &["worker", "--agent-id", "a"],
        &["worker", "--", "true"],
        &["allowance", "set", "a"],
        &["model", "set", "m", "--price-in", "1"],
        &["serve", "--listen", "everywhere"],
        &["serve", "--listen", "0.0.0.0:0"],
        &["serve", "--store", "postgres://h"],
        &["up", "--listen", "127.0.0.1:0"],
        &["--config", "missing.yaml", "status"],
        &["--base-url", "ftp://h", "status"],
    ] {
        let done = sandbox.run(args);
        assert_eq!(done.code, 2, "{args:?}: {done:?}");
        assert!(done.out.is_empty() && !done.err.is_empty(), "{args:?}: {done:?}");
    }
}

#[test]
fn an_unreachable_server_ends_with_5_and_says_what_to_do() {
    let sandbox = alone();
    let done = sandbox.run(&["status"]);
    assert_eq!(done.code, 5, "{done:?}");
    assert!(done.err.contains("agentic serve") && done.err.contains("http://127.0.0.1:1"), "{done:?}");
    for args in [
        &["list"] as &[&str],
        &["submit", "x"],
        &["show", "t"],
        &["logs", "t"],
        &["cancel", "t"],
        &["agents"],
        &["allowance", "list"],
        &["model", "list"],
    ] {
        assert_eq!(sandbox.run(args).code, 5, "{args:?}");
    }
}

#[test]
fn programs_get_errors_as_json() {
    let sandbox = alone();
    let failure = |args: &[&str]| {
        let done = sandbox.run(args);
        assert!(done.out.is_empty(), "{done:?}");
        serde_json::from_str::<serde_json::Value>(&done.err)
            .unwrap_or_else(|error| panic!("{error}: {done:?}"))
    };
    let away = failure(&["--json", "status"]);
    assert_eq!(away["kind"], "unreachable");
    assert!(away["error"].is_string() && away["hints"][0].as_str().unwrap().contains("agentic serve"));
    assert_eq!(failure(&["nonsense", "--json"])["kind"], "usage");
    assert_eq!(failure(&["--json"])["kind"], "usage");
}

#[test]
fn a_json_flag_after_the_dashes_is_somebody_elses() {
    let done = alone().run(&["worker", "--agent-id", "-x", "--", "true", "--json"]);
    assert_eq!(done.code, 2);
    assert!(done.err.starts_with("error:"), "{done:?}");
}

#[test]
fn unknown_stores_name_the_known_ones() {
    let sandbox = Sandbox::new();
    for store in ["postgres://h", "redis:h:1", "sqlite:"] {
        let done = sandbox.run(&["serve", "--listen", "127.0.0.1:0", "--store", store]);
        assert_eq!(done.code, 2, "{done:?}");
        assert!(done.err.contains("memory:, sqlite:PATH"), "{done:?}");
    }
}

#[test]
fn an_address_for_others_needs_a_word() {
    let done = Sandbox::new().run(&["serve", "--listen", "0.0.0.0:0"]);
    assert!(done.err.contains("--allow-plaintext"), "{done:?}");
}

//! Which of our crates may depend on which: arrows point one way.

use std::collections::BTreeSet;

use serde_json::Value;

/// A crate, what it may depend on, and what its tests may use besides.
type Edges = (&'static str, &'static [&'static str], &'static [&'static str]);

const CORE: &str = "agentic-core";
const TESTKIT: &str = "agentic-testkit";
const SQLITE: &str = "agentic-store-sqlite";
const REDIS: &str = "agentic-store-redis";
const DISPATCH: &str = "agentic-dispatch";
const CLIENT: &str = "agentic-client";
const SERVER: &str = "agentic-server";
const WORKER: &str = "agentic-worker";

/// The whole table; a crate that is not in it may not exist.
const ALLOWED: [Edges; 12] = [
    (CORE, &[], &[]),
    (TESTKIT, &[CORE], &[]),
    (SQLITE, &[CORE], &[TESTKIT]),
    (REDIS, &[CORE], &[TESTKIT]),
    (DISPATCH, &[CORE], &[TESTKIT, SQLITE]),
    (CLIENT, &[CORE], &[TESTKIT, SERVER]),
    (SERVER, &[CORE, DISPATCH], &[TESTKIT, SQLITE, CLIENT]),
    (WORKER, &[CORE, CLIENT], &[TESTKIT, DISPATCH, SERVER]),
    ("agentic-cli", &[CORE, SQLITE, REDIS, DISPATCH, CLIENT, SERVER, WORKER], &[TESTKIT]),
    // Leaves that nothing depends on and nobody ships.
    ("agentic-bench", &[CORE, SQLITE, REDIS, DISPATCH], &[]),
    ("agentic-proof", &[CORE, TESTKIT, SQLITE, REDIS, DISPATCH], &[]),
    ("xtask", &[], &[]),
];

/// The edges between packages of the workspace that the table does not allow.
pub(super) fn findings(metadata: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let name = package["name"].as_str().unwrap_or_default();
        let Some((_, shipped, tests)) = ALLOWED.iter().find(|(crate_name, ..)| *crate_name == name) else {
            found.push(format!("{name}: is not in the table of allowed edges (xtask/src/tidy/edges.rs)"));
            continue;
        };
        let allowed: BTreeSet<&str> = shipped.iter().copied().collect();
        let in_tests: BTreeSet<&str> = shipped.iter().chain(*tests).copied().collect();
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let to = dependency["name"].as_str().unwrap_or_default();
            let ours = !dependency["path"].is_null();
            let (allowed, kind) =
                if dependency["kind"] == "dev" { (&in_tests, "in its tests") } else { (&allowed, "") };
            if ours && !allowed.contains(to) {
                found.push(format!("{name}: may not depend on {to} {kind}").trim_end().to_owned());
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn arrows_point_one_way() {
        let metadata = json!({ "packages": [
            { "name": CORE, "dependencies": [{ "name": TESTKIT, "kind": "dev", "path": "/x" }] },
            { "name": SQLITE, "dependencies": [
                { "name": CORE, "kind": null, "path": "/x" },
                { "name": TESTKIT, "kind": "dev", "path": "/x" },
                { "name": TESTKIT, "kind": null, "path": "/x" },
                { "name": "serde", "kind": null },
            ] },
            { "name": "agentic-new", "dependencies": [] },
        ] });
        let found = findings(&metadata);
        assert_eq!(found.len(), 3, "{found:?}");
        assert_eq!(found[0], "agentic-core: may not depend on agentic-testkit in its tests");
        assert_eq!(found[1], "agentic-store-sqlite: may not depend on agentic-testkit");
    }
}

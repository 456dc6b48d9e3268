//! Servers whose tasks, agents and allowances live on different back ends, through the real binary.

use std::{collections::BTreeMap, time::Duration};

use serde_json::Value;

use crate::{
    pairs::redis_url,
    sandbox::{Sandbox, Served},
};

const AGENT: &str = r#"
echo '{"tokens_in": 60, "tokens_out": 40}' >> "$AGENTIC_REPORT_FILE"
echo done
"#;

/// The events of a task, by type.
fn told(served: &Served, task: &str) -> BTreeMap<String, usize> {
    let mut told = BTreeMap::new();
    for line in served.sandbox.ok(&["--json", "logs", task]).lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        *told.entry(event["type"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    told
}

#[test]
fn tasks_on_sqlite_and_all_else_on_redis() {
    let (url, _own) = redis_url();
    let name = agentic_testkit::redis::fresh_name();
    let settings = format!(r#"{{"prefix": "test-{name}", "safety": "warn"}}"#);
    let sandbox = Sandbox::new().with("AGENTIC_REDIS", settings).with("AGENTIC_REGISTRY", &url);
    await_redis(&sandbox);
    let served = sandbox.serve(&["--allowance", &url]);
    let sandbox = &served.sandbox;
    // It waits for an agent, and then for an allowance that fits: both tell it from the other store.
    sandbox.ok(&["allowance", "set", "ada", "--daily-jobs", "1"]);
    sandbox.ok(&["submit", "one", "--id", "one"]);
    let _ada = served.worker(&["--agent-id", "ada"], AGENT);
    assert_eq!(served.ended("one")["result"]["output"], "done\n");
    sandbox.ok(&["submit", "two", "--id", "two"]);
    sandbox.ok(&["allowance", "set", "ada", "--daily-jobs", "2"]);
    assert_eq!(served.ended("two")["status"], "completed");

    let status = sandbox.json(&["status"]);
    assert_eq!(status["tasks"]["completed"], 2, "{status}");
    for task in ["one", "two"] {
        // What was used is told by the other store, a moment after the task has ended.
        let mut events = told(&served, task);
        for _ in 0..2_400 {
            if events.get("usage_recorded") == Some(&2) {
                break;
            }
            std::thread::sleep(Duration::from_millis(25));
            events = told(&served, task);
        }
        for (kind, times) in [("task_created", 1), ("task_dispatched", 1), ("task_completed", 1)] {
            assert_eq!(events.get(kind), Some(&times), "{events:?}");
        }
        assert_eq!(events.get("usage_recorded"), Some(&2), "its start and its settlement, once: {events:?}");
    }
    assert_eq!(sandbox.json(&["allowance", "usage", "ada"])["tokens_used"], 200);
}

/// A server of the test may take a moment until it answers.
fn await_redis(sandbox: &Sandbox) {
    for _ in 0..2_400 {
        let url = sandbox.json(&["config", "show"])["registry"]["value"].as_str().unwrap().to_owned();
        let address = url.trim_start_matches("redis://").split('/').next().unwrap().to_owned();
        if std::net::TcpStream::connect(address).is_ok() {
            return;
        }
        std::thread::sleep(Duration::from_millis(25));
    }
    panic!("redis does not answer");
}

#[test]
fn a_dispatcher_beside_a_remote_task_api() {
    let there = Sandbox::new().serve(&["--store", "memory:"]);
    let store = there.sandbox.json(&["config", "show"])["base_url"]["value"].as_str().unwrap().to_owned();
    let token = std::fs::read_to_string(there.sandbox.home(".local/state/agentic/token")).unwrap();

    let denied = Sandbox::new().with("AGENTIC_STORE_TOKEN", "somebody-elses-token");
    let denied = denied.run(&["serve", "--listen", "127.0.0.1:0", "--store", &store]);
    assert_eq!(denied.code, 1, "{denied:?}");
    assert!(denied.err.contains("AGENTIC_STORE_TOKEN"), "{denied:?}");

    let here = Sandbox::new().with("AGENTIC_STORE_TOKEN", token.trim());
    let here = here.serve(&["--store", &store, "--registry", "memory:", "--allowance", "memory:"]);
    there.sandbox.ok(&["submit", "x", "--id", "x"]);
    let _ada = here.worker(&["--agent-id", "ada"], AGENT);
    assert_eq!(there.ended("x")["result"]["output"], "done\n");
    assert_eq!(there.sandbox.json(&["agents", "list"]), Value::from(Vec::<Value>::new()));
    assert_eq!(here.sandbox.json(&["agents", "list"])[0]["id"], "ada");
    // It is charged a moment after the task has ended.
    let used = |said: &str| serde_json::from_str::<Value>(said).unwrap()["tokens_used"].clone();
    let said = here.sandbox.until(&["--json", "allowance", "usage", "ada"], |said| used(said) == 100);
    assert_eq!(used(&said), 100);
    assert_eq!(there.sandbox.json(&["allowance", "usage", "ada"])["tokens_used"], 0);
}

#[test]
fn an_unknown_back_end_names_the_known_ones() {
    let sandbox = Sandbox::new();
    for (flag, known) in
        [("--registry", "redis://HOST"), ("--allowance", "redis://HOST"), ("--store", "http://HOST")]
    {
        let done = sandbox.run(&["serve", "--listen", "127.0.0.1:0", flag, "postgres://ada:s3cret@h"]);
        assert_eq!(done.code, 2, "{done:?}");
        assert!(done.err.contains("memory:, sqlite:PATH") && done.err.contains(known), "{done:?}");
        assert!(!done.err.contains("s3cret"), "{done:?}");
    }
}

#[test]
fn passwords_of_back_ends_are_never_shown() {
    let sandbox = Sandbox::new()
        .with("AGENTIC_STORE_TOKEN", "s3cret")
        .with("AGENTIC_REGISTRY", "redis://ada:s3cret@h:1")
        .with("AGENTIC_ALLOWANCE", "redis-sentinel://h:1?sentinelPassword=s3cret");
    for args in [["--json", "config", "show"].as_slice(), &["config", "show"]] {
        let shown = sandbox.ok(args);
        assert!(!shown.contains("s3cret") && shown.contains("sentinelPassword"), "{shown}");
    }
}

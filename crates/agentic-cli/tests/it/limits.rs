//! Budgets and prices through the binary: what is typed holds, and what a provider says parks.

use serde_json::json;

use crate::sandbox::Sandbox;

#[test]
fn budgets_are_set_seen_and_removed() {
    let served = Sandbox::new().serve(&["--store", "memory:"]);
    let sandbox = &served.sandbox;
    sandbox.ok(&["budget", "set", "project:web/site", "--daily-cost", "2.50", "--shadow"]);
    let set = sandbox.json(&["budget", "set", "project:web/site", "--limit", "tokens:5h:1000"]);
    assert_eq!(set["limits"][0]["cap"], 2_500_000);
    assert_eq!(
        (&set["limits"][0]["shadow"], &set["limits"][1]["window"]),
        (&json!(true), &json!("anchored:18000"))
    );
    assert_eq!(sandbox.json(&["budget", "list"]), json!([set]));
    let table = sandbox.ok(&["budget", "get", "project:web/site"]);
    assert!(
        table.contains("$2.50") && table.contains("5h") && table.contains("would have refused 0"),
        "{table}"
    );
    let less = sandbox.json(&["budget", "set", "project:web/site", "--daily-cost", "0"]);
    assert_eq!(less["limits"].as_array().unwrap().len(), 1);
    assert_eq!(sandbox.run(&["budget", "set", "fleet"]).code, 2);
    let far = ["budget", "set", "fleet", "--daily-jobs", "1", "--resets-at", "2026-03-01T00:00:00Z"];
    assert_eq!(sandbox.run(&far).code, 2, "a day has no anchor");
    sandbox.ok(&["budget", "delete", "project:web/site"]);
    assert_eq!(sandbox.run(&["budget", "get", "project:web/site"]).code, 3);
}

#[test]
fn a_price_map_is_taken_where_a_quota_asks_for_it() {
    let served = Sandbox::new().serve(&["--store", "memory:"]);
    let sandbox = &served.sandbox;
    let map = r#"{"sonnet": {"input_cost_per_token": 3e-06, "output_cost_per_token": 1.5e-05,
        "cache_read_input_token_cost": 3e-07}, "other": {"input_cost_per_token": 1, "output_cost_per_token": 1}}"#;
    sandbox.write("work/map.json", map);
    sandbox.ok(&["model", "set", "sonnet", "--cost-ceiling", "500"]);
    sandbox.ok(&["model", "set", "unknown", "--daily-tokens", "5"]);
    let dry = sandbox.json(&["model", "import-prices", "map.json", "--dry-run"]);
    assert_eq!((&dry[0]["done"], &dry[1]["done"]), (&json!("taken"), &json!("skipped")));
    assert!(sandbox.json(&["model", "get", "sonnet"])["price"].is_null(), "nothing was changed");
    sandbox.ok(&["model", "import-prices", "map.json"]);
    let quota = sandbox.json(&["model", "get", "sonnet"]);
    let price = json!({ "input": 3_000_000, "output": 15_000_000, "cache_read": 300_000 });
    assert_eq!((&quota["price"], &quota["cost_ceiling"]), (&price, &json!(500)));
    assert_eq!(sandbox.json(&["model", "import-prices", "map.json"])[0]["done"], "unchanged");
    assert_eq!(
        sandbox.json(&["model", "list"]).as_array().unwrap().len(),
        2,
        "what nobody asked for stays out"
    );
}

#[test]
fn a_command_that_meets_the_providers_limit_burns_no_retry() {
    let served = Sandbox::new().serve(&["--store", "memory:"]);
    let sandbox = &served.sandbox;
    sandbox.ok(&["submit", "x", "--id", "x", "--model", "opus", "--max-retries", "0"]);
    let script = r#"echo '{"input": 5, "cache_read": 2, "resets_at": "2999-01-01T00:00:00Z"}' >> "$AGENTIC_REPORT_FILE"; exit 1"#;
    let _worker = served.worker(&["--agent-id", "ada", "--model", "opus"], script);
    crate::sandbox::until(sandbox, "x", "task_released");
    let budget = sandbox.json(&["budget", "get", "agent:ada model:opus"]);
    assert!(budget["hold"]["reason"].as_str().unwrap().contains("usage limit"), "{budget}");
    let task = sandbox.json(&["show", "x"]);
    assert!(!task.to_string().contains("task_dead_lettered"), "{task}");
    sandbox.ok(&["budget", "lift", "agent:ada model:opus"]);
    assert_eq!(sandbox.run(&["budget", "get", "agent:ada model:opus"]).code, 3);
}

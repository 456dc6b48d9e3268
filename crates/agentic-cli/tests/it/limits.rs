//! Budgets and prices through the binary: what is typed holds, and what a provider says parks.

use serde_json::json;

use crate::sandbox::{Done, Sandbox};

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
        "cache_read_input_token_cost": 3e-07}, "long": {"input_cost_per_token": 1e-06, "output_cost_per_token": 2e-06,
        "input_cost_per_token_above_200k_tokens": 2e-06, "input_cost_per_audio_token": 9e-06}, "other": {"input_cost_per_token": 1, "output_cost_per_token": 1}}"#;
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
    let source = &quota["price_source"];
    assert_eq!((&source["key"], &source["tier"]), (&json!("sonnet"), &json!("only")));
    assert_eq!(source["sha256"].as_str().unwrap().len(), 64);
    let again = sandbox.json(&["model", "import-prices", "map.json"]);
    assert_eq!((&again[0]["done"], &again[0]["price_source"]), (&json!("unchanged"), source));
    let digest = &source["sha256"].as_str().unwrap()[..12];
    let list = sandbox.ok(&["model", "list"]);
    assert!(list.contains(&format!("sonnet of map {digest} (only), ")), "{list}");
    sandbox.ok(&["model", "set", "sonnet", "--price-in", "1", "--price-out", "2"]);
    assert!(sandbox.json(&["model", "get", "sonnet"])["price_source"].is_null(), "set by hand since");
    assert!(sandbox.ok(&["model", "get", "sonnet"]).contains("by hand"));
    assert_eq!(
        sandbox.json(&["model", "list"]).as_array().unwrap().len(),
        2,
        "what nobody asked for stays out"
    );

    // A price by the size of the context: the highest, unless it is asked for the base.
    let Done { out, err, .. } = sandbox.run(&["model", "import-prices", "map.json", "--only", "long"]);
    assert!(out.contains("highest") && err.contains("the highest counts"), "{out} {err}");
    assert!(err.contains("input_cost_per_token_above_200k_tokens"), "{err}");
    assert!(err.contains("left out") && err.contains("input_cost_per_audio_token"), "{err}");
    let long = |sandbox: &Sandbox| sandbox.json(&["model", "get", "long"]);
    assert_eq!(long(sandbox)["price"], json!({ "input": 2_000_000, "output": 2_000_000 }));
    let base = ["model", "import-prices", "map.json", "--only", "long", "--tier", "base"];
    let row = sandbox.json(&base)[0].clone();
    assert_eq!(row["price_source"]["tier"], "base");
    assert_eq!(row["dearer"], json!(["input_cost_per_token_above_200k_tokens"]));
    assert_eq!(row["left_out"], json!(["input_cost_per_audio_token"]));
    assert_eq!(long(sandbox)["price"]["input"], 1_000_000);
    assert!(sandbox.run(&base).err.contains("below what they cost"), "said as often as it is so");
}

#[test]
fn a_command_that_meets_the_providers_limit_burns_no_retry() {
    let served = Sandbox::new().serve(&["--store", "memory:"]);
    let sandbox = &served.sandbox;
    sandbox.ok(&["submit", "x", "--id", "x", "--model", "opus", "--max-retries", "0"]);
    let script = r#"echo '{"input": 5, "cache_read": 2, "resets_at": "2999-01-01T00:00:00Z"}' >> "$AGENTIC_REPORT_FILE"; exit 1"#;
    let worker = served.worker(&["--agent-id", "ada", "--model", "opus"], script);
    crate::sandbox::until(sandbox, "x", "task_released");
    let budget = sandbox.json(&["budget", "get", "agent:ada model:opus"]);
    assert!(budget["hold"]["reason"].as_str().unwrap().contains("usage limit"), "{budget}");
    let task = sandbox.json(&["show", "x"]);
    assert!(!task.to_string().contains("task_dead_lettered"), "{task}");
    // It would meet the limit again at once.
    drop(worker);
    sandbox.ok(&["budget", "lift", "agent:ada model:opus"]);
    assert_eq!(sandbox.run(&["budget", "get", "agent:ada model:opus"]).code, 3);
}

//! Submitting, listing, editing.

use serde_json::Value;

use crate::sandbox::Sandbox;

#[test]
fn a_task_is_submitted_seen_edited_and_called_off() {
    let served = Sandbox::new().serve(&[]);
    let sandbox = &served.sandbox;
    let submitted = sandbox.ok(&[
        "submit",
        "Write it",
        "--label",
        "rust,docs",
        "--label",
        "gpu",
        "--priority",
        "high",
        "--project",
        "p",
        "--model",
        "v/m",
        "--file",
        "a b.rs",
        "--max-retries",
        "1",
        "--estimated-tokens",
        "500",
        "--description",
        "all of it",
    ]);
    let id = submitted.trim();
    let task = sandbox.json(&["show", id]);
    assert_eq!(task["labels"], serde_json::json!(["docs", "gpu", "rust"]));
    assert_eq!((&task["priority"], &task["status"]), (&"high".into(), &"pending".into()));
    assert_eq!((&task["max_retries"], &task["estimated_tokens"]), (&1.into(), &500.into()));
    assert_eq!(task["history"][0]["type"], "task_created");
    let why = sandbox.until(&["explain", id], |why| why.contains("no_agent"));
    assert!(why.contains("no_agent"), "{why}");

    sandbox.ok(&["edit", id, "--priority", "low", "--no-labels", "--not-before", "1h"]);
    let task = sandbox.json(&["show", id]);
    assert_eq!((&task["priority"], &task["labels"]), (&"low".into(), &Value::Array(Vec::new())));
    assert!(task["not_before"].is_string());
    sandbox.ok(&["edit", id, "--block", "not yet"]);
    assert_eq!(sandbox.json(&["show", id])["status"], "blocked");
    sandbox.ok(&["edit", id, "--unblock"]);

    assert!(sandbox.ok(&["cancel", id, "--reason", "changed my mind"]).contains(id));
    assert_eq!(sandbox.run(&["cancel", id]).code, 4, "it is over");
    sandbox.ok(&["requeue", id]);
    assert_eq!(sandbox.json(&["show", id])["status"], "pending");
    assert_eq!(sandbox.run(&["show", "no-such-task"]).code, 3);
}

#[test]
fn a_key_creates_a_task_once() {
    let served = Sandbox::new().serve(&[]);
    let submit = |title| served.sandbox.run(&["submit", title, "--idempotency-key", "k"]);
    let first = submit("x");
    assert_eq!((first.code, &submit("x").out), (0, &first.out));
    assert_ne!(submit("y").code, 0);
}

#[test]
fn files_of_tasks_are_submitted_in_batches_and_listed_in_pages() {
    let served = Sandbox::new().serve(&["--store", "memory:"]);
    let sandbox = &served.sandbox;
    let lines: Vec<String> =
        (0..2_500).map(|i| format!("{{\"title\": \"task {i}\", \"labels\": [\"bulk\"]}}")).collect();
    sandbox.write("work/tasks.jsonl", &lines.join("\n"));
    let submit = || sandbox.ok(&["submit", "--from", "tasks.jsonl", "--idempotency-key", "night"]);
    let ids = submit();
    assert_eq!(ids.lines().count(), 2_500);
    assert_eq!(submit(), ids, "the same once more creates nothing");

    let titles = |args: &[&str]| -> Vec<String> {
        let tasks = sandbox.json(&[&["list", "--label", "bulk"], args].concat());
        tasks.as_array().unwrap().iter().map(|task| task["title"].as_str().unwrap().to_owned()).collect()
    };
    let all: Vec<String> = (0..2_500).map(|i| format!("task {i}")).collect();
    let mut listed = titles(&["--all"]);
    listed.sort_by_key(|title| title[5..].parse::<u32>().unwrap());
    assert_eq!(listed, all);
    assert_eq!(titles(&["--limit", "1200"]).len(), 1_200);
    assert_eq!(titles(&[]).len(), 100);
    assert_eq!(titles(&["--status", "failed"]).len(), 0);
    let page = sandbox.run(&["list", "--limit", "2"]);
    assert_eq!(page.out.lines().count(), 3, "{page:?}");
    assert!(page.err.contains("--all"), "{page:?}");
}

#[test]
fn a_file_that_is_wrong_creates_nothing() {
    let served = Sandbox::new().serve(&["--store", "memory:"]);
    let sandbox = &served.sandbox;
    sandbox.write("work/a.yaml", "- title: fine\n- title: wrong\n  priorty: high\n");
    let done = sandbox.run(&["submit", "--from", "a.yaml"]);
    assert_eq!(done.code, 2);
    assert!(done.err.contains("did you mean `priority`?") && done.err.contains("line 3"), "{}", done.err);
    sandbox.write("work/b.yaml", "- title: fine\n- title: wrong\n  dependencies: [nobody]\n");
    assert_ne!(sandbox.run(&["submit", "--from", "b.yaml"]).code, 0);
    assert_eq!(sandbox.json(&["list"]), Value::Array(Vec::new()));
}

#[test]
fn the_default_project_fills_in() {
    let served = Sandbox::new().with("AGENTIC_PROJECT", "website").serve(&["--store", "memory:"]);
    let sandbox = &served.sandbox;
    let project = |args: &[&str]| sandbox.json(&[&["submit", "x"], args].concat())["project"].clone();
    assert_eq!(project(&[]), "website");
    assert_eq!(project(&["--project", "other"]), "other");
}

#[test]
fn limits_are_set_seen_and_removed() {
    let served = Sandbox::new().serve(&["--store", "memory:"]);
    let sandbox = &served.sandbox;
    sandbox.ok(&["allowance", "set", "ada", "--daily-tokens", "100", "--allow-model", "a,b"]);
    let allowance = sandbox.json(&["allowance", "set", "ada", "--max-duration", "30m"]);
    assert_eq!(
        (&allowance["daily_token_limit"], &allowance["max_job_duration_secs"]),
        (&100.into(), &1800.into())
    );
    assert_eq!(sandbox.json(&["allowance", "get", "ada"]), allowance);
    assert_eq!(sandbox.json(&["allowance", "list"]), serde_json::json!([allowance]));
    assert!(sandbox.ok(&["allowance", "list"]).contains("30m"));
    sandbox.ok(&["allowance", "delete", "ada"]);
    assert_eq!(sandbox.run(&["allowance", "get", "ada"]).code, 3);

    sandbox.ok(&["model", "set", "v/m", "--cost-ceiling", "500", "--cost", "reported"]);
    let quota = sandbox.json(&["model", "set", "v/m", "--price-in", "3", "--price-out", "15"]);
    assert_eq!(
        (&quota["cost_ceiling"], &quota["cost"], &quota["price"]["output"]),
        (&500.into(), &"reported".into(), &15_000_000.into())
    );
    assert_eq!(sandbox.json(&["model", "get", "v/m"]), quota);
    sandbox.ok(&["model", "delete", "v/m"]);
    assert_eq!(sandbox.json(&["model", "list"]), serde_json::json!([]));
}

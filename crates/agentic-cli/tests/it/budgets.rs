//! Budgets seen from the command line: the file that a command may watch, the ledger, and what would be admitted.

use serde_json::{Value, json};

use crate::sandbox::{Done, Sandbox};

/// Comes near its budget, is told, and ends well.
const CAREFUL: &str = r#"
echo '{"tokens_in": 85}' >> "$AGENTIC_REPORT_FILE"
until grep -q '"remaining_tokens":15' "$AGENTIC_CONTROL_FILE"; do sleep 0.02; done
echo '{"tokens_in": 92}' >> "$AGENTIC_REPORT_FILE"
until grep -q '"directive":"wrap_up"' "$AGENTIC_CONTROL_FILE"; do sleep 0.02; done
cat "$AGENTIC_CONTROL_FILE"
"#;

/// Goes on whatever it is told.
const GREEDY: &str = r#"
echo '{"tokens_in": 95}' >> "$AGENTIC_REPORT_FILE"
until grep -q '"directive":"wrap_up"' "$AGENTIC_CONTROL_FILE"; do sleep 0.02; done
echo '{"tokens_in": 95, "tokens_out": 36}' >> "$AGENTIC_REPORT_FILE"
exec sleep 600
"#;

fn kinds(ledger: &Value) -> Vec<&str> {
    ledger["entries"].as_array().unwrap().iter().map(|entry| entry["kind"].as_str().unwrap()).collect()
}

#[test]
fn a_command_that_watches_ends_well_and_one_that_does_not_is_stopped() {
    let served = Sandbox::new().serve(&[]);
    let sandbox = &served.sandbox;
    for agent in ["careful", "greedy"] {
        sandbox.ok(&["allowance", "set", agent, "--daily-tokens", "100"]);
    }
    let _careful = served.worker(&["--agent-id", "careful", "--capability", "care"], CAREFUL);
    let _greedy = served.worker(&["--agent-id", "greedy", "--capability", "greed"], GREEDY);
    sandbox.ok(&["submit", "x", "--id", "well", "--label", "care"]);
    sandbox.ok(&["submit", "x", "--id", "badly", "--label", "greed", "--max-retries", "0"]);

    let well = served.ended("well");
    assert_eq!(well["status"], "completed");
    let told: Value = serde_json::from_str(well["result"]["output"].as_str().unwrap()).unwrap();
    assert_eq!((&told["directive"], &told["remaining_tokens"]), (&"wrap_up".into(), &8.into()));
    assert!(
        told["reason"].as_str().unwrap().starts_with("92 used of 100: agent:careful tokens day"),
        "{told}"
    );
    assert_eq!(sandbox.json(&["allowance", "usage", "careful"])["tokens_used"], 92);
    assert_eq!(kinds(&sandbox.json(&["ledger", "show", "careful"])), ["charge", "charge", "start"]);

    // Stopped by the report that passed the budget; all of it is charged, and none of it given back.
    let badly = served.ended("badly");
    assert_eq!((&badly["status"], &badly["attempt"]), (&"failed".into(), &1.into()));
    let error = badly["last_error"].as_str().unwrap();
    assert!(error.starts_with("stopped: 131 used of 100"), "{error}");
    assert_eq!(sandbox.json(&["allowance", "usage", "greedy"])["tokens_used"], 131);
    let ledger = sandbox.json(&["ledger", "show", "greedy"]);
    assert_eq!(kinds(&ledger), ["charge", "charge", "start"]);
    let charged = |entry: usize| &ledger["entries"][entry]["moves"][0]["delta"];
    assert_eq!((charged(0), charged(1)), (&36.into(), &95.into()));

    // The ledger is told, holds, and goes on holding after a reset.
    let shown = sandbox.ok(&["ledger", "show", "greedy", "--limit", "1"]);
    assert_eq!(shown.lines().count(), 2, "{shown}");
    assert!(
        shown.contains("charge")
            && shown.contains("badly#1")
            && shown.contains("+36 tokens (agent:greedy day)"),
        "{shown}"
    );
    let none = sandbox.json(&["ledger", "show", "greedy", "--since", "2099-01-01T00:00:00Z"]);
    assert_eq!(none, json!({ "entries": [], "next": null, "opening": [] }));
    let Done { code, err, .. } = sandbox.run(&["allowance", "reset", "greedy"]);
    assert!(code == 2 && err.contains("--yes"), "{code} {err}");
    assert_eq!(sandbox.json(&["allowance", "usage", "greedy"])["tokens_used"], 131, "nobody said yes");
    assert_eq!(sandbox.json(&["allowance", "reset", "greedy", "--yes"])["tokens_used"], 0);
    assert_eq!(kinds(&sandbox.json(&["ledger", "show", "greedy"])), ["reset", "charge", "charge", "start"]);
    assert_eq!(sandbox.ok(&["ledger", "verify"]), "every meter is the sum of its entries\n");
    assert_eq!(sandbox.json(&["ledger", "verify"]), json!([]));
}

#[test]
fn what_a_task_would_be_held_against_is_told_before_and_after() {
    let served = Sandbox::new().serve(&[]);
    let sandbox = &served.sandbox;
    sandbox.ok(&["allowance", "set", "ada", "--daily-tokens", "100"]);
    let ada = served.worker(&["--agent-id", "ada", "--capability", "rust"], "exit 0");
    let submit = |args: &[&str]| sandbox.ok(&[&["submit", "x", "--dry-run"], args].concat());
    let mut said = String::new();
    for _ in 0..500 {
        said = submit(&["--label", "rust", "--estimated-tokens", "30"]);
        if said.contains("ada") {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert!(said.starts_with("would be pending; nothing was created\n"), "{said}");
    assert!(said.contains("\nada would get it now\n"), "{said}");
    let row = |said: &str| {
        let line = said.lines().find(|line| line.contains("agent:ada tokens day"));
        line.map(|line| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    };
    assert_eq!(
        row(&said).unwrap(),
        ["agent:ada", "tokens", "day", "0", "0", "30", "100", "yes", "-"],
        "{said}"
    );
    let said = submit(&["--label", "rust", "--estimated-tokens", "101"]);
    assert!(
        said.contains("\nnobody can take it now\n") && said.contains("limit on tokens of agent:ada today"),
        "{said}"
    );
    assert_eq!(sandbox.json(&["list"]), json!([]));

    sandbox.write("work/tasks.jsonl", "{\"id\": \"a\", \"title\": \"one\", \"labels\": [\"rust\"]}\n{\"title\": \"two\", \"dependencies\": [\"a\"]}\n{\"title\": \"three\", \"labels\": [\"gpu\"]}\n");
    let said = sandbox.ok(&["submit", "--from", "tasks.jsonl", "--dry-run"]);
    let rows: Vec<Vec<&str>> = said.lines().skip(1).map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(
        rows.iter().map(|row| row[..3].to_vec()).collect::<Vec<_>>(),
        [["one", "pending", "ada"], ["two", "blocked", "ada"], ["three", "pending", "-"],],
        "{said}"
    );
    assert!(rows[1].join(" ").contains("waits for task a"), "{said}");
    assert!(rows[2].join(" ").contains("1 labels"), "{said}");
    assert_eq!(sandbox.json(&["submit", "--from", "tasks.jsonl", "--dry-run"]).as_array().unwrap().len(), 3);
    assert_eq!(sandbox.json(&["list"]), json!([]));
    let Done { code, .. } = sandbox.run(&["submit", "x", "--depends-on", "nope", "--dry-run"]);
    assert_eq!(code, 2, "what creating refuses, a dry run refuses");
    sandbox.ok(&["submit", "x", "--id", "kept", "--label", "gpu", "--idempotency-key", "k"]);
    let said = submit(&["--label", "gpu", "--idempotency-key", "k"]);
    assert!(
        said.contains("its idempotency key made task kept before") && !said.contains("would be"),
        "{said}"
    );
    let Done { code, .. } = sandbox.run(&["submit", "y", "--idempotency-key", "k", "--dry-run"]);
    assert_eq!(code, 4, "a key that came with another request");
    sandbox.ok(&["cancel", "kept"]);

    drop(ada);
    sandbox.ok(&["submit", "x", "--id", "stuck", "--label", "gpu"]);
    let lanes = sandbox.until(&["lanes"], |lanes| lanes.contains("no_agent"));
    assert!(lanes.contains("gpu||") && lanes.contains("stuck") && lanes.contains("no_agent"), "{lanes}");
    for args in [&["explain", "stuck"] as &[&str], &["explain", "--lane", "gpu||"]] {
        let said = sandbox.ok(args);
        assert!(
            said.contains("no_agent: ")
                && said.contains("nobody can take it now")
                && said.contains("lacks gpu"),
            "{said}"
        );
    }
    assert_eq!(sandbox.json(&["explain", "--lane", "gpu||"])["head"], "stuck");
    let few = sandbox.ok(&["explain", "stuck", "--agents", "0"]);
    assert!(few.contains("and 1 more: 1 labels"), "{few}");
    assert_eq!(sandbox.run(&["explain"]).code, 2);
    assert_eq!(sandbox.run(&["explain", "nope"]).code, 3);
}

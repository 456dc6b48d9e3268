//! The whole life of tasks, over HTTP, with real worker processes.

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::sandbox::{Sandbox, until};

/// Fails until its attempt is the one that its title names, waits for a file where it names one, and reports usage.
const AGENT: &str = r#"
echo '{"progress": 50, "notes": "half"}' >> "$AGENTIC_REPORT_FILE"
echo '{"tokens_in": 60, "tokens_out": 40}' >> "$AGENTIC_REPORT_FILE"
case "$AGENTIC_TASK_TITLE" in
  "fails once") [ "$AGENTIC_ATTEMPT" -ge 2 ] || { echo "not yet" >&2; exit 3; } ;;
  "fails always") echo "never" >&2; exit 4 ;;
  "hangs at first") [ "$AGENTIC_ATTEMPT" -ge 2 ] || sleep 600 ;;
  "hangs") sleep 600 ;;
esac
echo "did: $AGENTIC_TASK_TITLE"
"#;

fn events(task: &Value, kind: &str) -> usize {
    task["history"].as_array().unwrap().iter().filter(|event| event["type"] == kind).count()
}

#[test]
fn the_whole_life_over_http() {
    let served = Sandbox::new()
        .with("AGENTIC_HEARTBEAT", "5s")
        .with("AGENTIC_LEASE", "20s")
        .with("AGENTIC_AGENT_TTL", "20s")
        .with("AGENTIC_BACKOFF_BASE", "100ms")
        .with("AGENTIC_BACKOFF_CAP", "200ms")
        .serve(&[]);
    let sandbox = &served.sandbox;
    sandbox.ok(&["allowance", "set", "ada", "--daily-tokens", "100000"]);
    sandbox.ok(&["allowance", "set", "bob", "--daily-tokens", "100"]);
    let _ada = served.worker(&["--agent-id", "ada", "--capability", "rust", "--max-load", "2"], AGENT);

    // Submitted in one file: dependencies, priorities, labels, a failure that is retried, one that is given up.
    sandbox.write(
        "work/tasks.yaml",
        "- {id: plan, title: plan, labels: [rust], priority: critical}\n\
         - {id: build, title: build, labels: [rust], dependencies: [plan]}\n\
         - {id: once, title: fails once, labels: [rust]}\n\
         - {id: never, title: fails always, labels: [rust], max_retries: 1}\n\
         - {id: after, title: after, labels: [rust], dependencies: [never]}\n",
    );
    sandbox.ok(&["submit", "--from", "tasks.yaml"]);
    let build = served.ended("build");
    assert_eq!((&build["status"], &build["result"]["output"]), (&"completed".into(), &"did: build\n".into()));
    assert!(served.ended("plan")["updated_at"].as_str() < build["claimed_at"].as_str());
    let once = served.ended("once");
    assert_eq!(
        (&once["status"], &once["attempt"], &once["retry_count"]),
        (&"completed".into(), &2.into(), &1.into())
    );
    assert_eq!(events(&once, "task_retry_scheduled"), 1);
    let never = served.ended("never");
    assert_eq!((&never["status"], &never["attempt"]), (&"failed".into(), &2.into()));
    assert_eq!(never["fail_reason"], "max retries exceeded");
    assert!(never["last_error"].as_str().unwrap().contains("never"));
    let after = sandbox.json(&["show", "after"]);
    assert_eq!(
        (&after["status"], &after["pending_reason"]["code"]),
        (&"blocked".into(), &"dependency".into())
    );
    assert!(after["pending_reason"]["detail"].as_str().unwrap().contains("never"));

    // Six attempts of 100 tokens each, of which three failed and gave half back.
    assert_eq!(sandbox.json(&["allowance", "usage", "ada"])["tokens_used"], 450);

    // A running task is called off: its tree ends, and the agent is free again.
    sandbox.ok(&["submit", "hangs", "--id", "long", "--label", "rust"]);
    until(sandbox, "long", "task_updated");
    sandbox.ok(&["cancel", "long"]);
    assert_eq!(served.ended("long")["status"], "cancelled");

    // An agent is killed while it works; another one does the work.
    let cyd = served.worker(&["--agent-id", "cyd", "--capability", "gpu"], AGENT);
    sandbox.ok(&["submit", "hangs at first", "--id", "gpu", "--label", "gpu"]);
    until(sandbox, "gpu", "task_updated");
    cyd.signal(Signal::SIGKILL);
    let _dan = served.worker(&["--agent-id", "dan", "--capability", "gpu"], AGENT);
    let gpu = served.ended("gpu");
    assert_eq!(
        (&gpu["status"], &gpu["claimed_by"], &gpu["attempt"]),
        (&"completed".into(), &"dan".into(), &2.into())
    );
    assert_eq!(events(&gpu, "lease_expired"), 1);
    let agents = sandbox.json(&["agents"]);
    let cyd = agents.as_array().unwrap().iter().find(|agent| agent["id"] == "cyd").unwrap();
    assert_eq!(cyd["status"], "offline");

    // An agent runs out of tokens: what is left waits, until there is more. The first task may be told to stop at the
    // limit, or be done before; the second one is more urgent, and so the one that waits in any case.
    let _bob = served.worker(&["--agent-id", "bob", "--capability", "audit"], AGENT);
    sandbox.ok(&["submit", "audit", "--id", "first", "--label", "audit"]);
    until(sandbox, "first", "task_claimed");
    sandbox.ok(&["submit", "audit", "--id", "second", "--label", "audit", "--priority", "critical"]);
    until(sandbox, "second", "dispatch_failed_quota");
    assert_eq!(sandbox.json(&["show", "second"])["pending_reason"]["code"], "quota");
    assert!(sandbox.ok(&["explain", "second"]).contains("bob"));
    sandbox.ok(&["allowance", "set", "bob", "--daily-tokens", "1000"]);
    assert_eq!(served.ended("second")["status"], "completed");
    assert_eq!(served.ended("first")["status"], "completed");

    let status = sandbox.ok(&["status"]);
    assert!(
        status.contains("1 offline") && status.contains("6 completed") && status.contains("1 failed"),
        "{status}"
    );
}

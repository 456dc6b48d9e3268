//! Servers and workers as processes.

use std::process::Stdio;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::sandbox::{Running, Sandbox, is_private, until};

#[test]
fn a_server_leaves_its_token_to_its_owner_and_refuses_a_second() {
    let served = Sandbox::new().serve(&[]);
    let sandbox = &served.sandbox;
    assert!(is_private(&sandbox.home(".local/state/agentic/token")));
    sandbox.ok(&["status"]);
    let second = sandbox.run(&["serve", "--listen", "127.0.0.1:0"]);
    assert_eq!(second.code, 1, "{second:?}");
    assert!(second.err.contains("another server"), "{second:?}");
    let stranger = sandbox.run(&["status", "--token", "somebody-elses-token"]);
    assert_eq!(stranger.code, 1);
    assert!(stranger.err.contains("--token"), "{stranger:?}");
}

#[test]
fn a_server_that_is_told_to_end_ends_open_streams_and_keeps_everything() {
    let mut served = Sandbox::new().serve(&[]);
    served.sandbox.ok(&["submit", "x", "--id", "x"]);
    let logs =
        served.sandbox.command(&["logs", "x"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let _logs = Running(logs);
    until(&served.sandbox, "x", "task_created");
    assert!(served.server.end().success());
    let again = served.sandbox.serve(&[]);
    assert_eq!(again.sandbox.json(&["show", "x"])["title"], "x");
}

#[test]
fn a_worker_that_is_told_to_end_gives_its_work_back_unburnt() {
    let served = Sandbox::new().with("AGENTIC_DRAIN_GRACE", "0s").serve(&["--store", "memory:"]);
    let mut worker =
        served.worker(&["--agent-id", "ada"], "echo '{\"progress\": 10}' >> $AGENTIC_REPORT_FILE; sleep 600");
    served.sandbox.ok(&["submit", "x", "--id", "x"]);
    until(&served.sandbox, "x", "task_updated");
    assert!(worker.end().success());
    let task = served.sandbox.json(&["show", "x"]);
    assert_eq!(
        (&task["status"], &task["retry_count"], &task["attempt"]),
        (&"pending".into(), &0.into(), &1.into())
    );
}

#[test]
fn a_worker_that_is_told_to_end_lets_its_work_end() {
    let served = Sandbox::new().serve(&["--store", "memory:"]);
    let marker = served.sandbox.home("go");
    let script = "echo '{\"progress\": 10}' >> $AGENTIC_REPORT_FILE; until [ -e ../go ]; do sleep 0.05; done; echo done";
    let mut worker = served.worker(&["--agent-id", "ada"], script);
    served.sandbox.ok(&["submit", "x", "--id", "x"]);
    until(&served.sandbox, "x", "task_updated");
    worker.signal(Signal::SIGTERM);
    std::fs::write(marker, "").unwrap();
    assert!(worker.0.wait().unwrap().success());
    assert_eq!(served.sandbox.json(&["show", "x"])["result"]["output"], "done\n");
}

#[test]
fn a_server_and_its_agents_in_one_process() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "work/agentic.yaml",
        "listen: 127.0.0.1:0\ndata_dir: state\nagents:\n  - agent_id: ada\n    capabilities: [shell]\n    command: [sh, -c, 'echo did: $AGENTIC_TASK_TITLE']\n",
    );
    let mut child =
        sandbox.command(&["--json", "up"]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.take().unwrap()), &mut line)
        .unwrap();
    let mut up = Running(child);
    let announced: Value = serde_json::from_str(&line).unwrap();
    let sandbox = sandbox.with("AGENTIC_BASE_URL", announced["base_url"].as_str().unwrap());
    sandbox.ok(&["submit", "it", "--label", "shell", "--id", "x"]);
    sandbox.ok(&["logs", "x"]);
    assert_eq!(sandbox.json(&["show", "x"])["result"]["output"], "did: it\n");
    assert!(up.end().success());
    assert_eq!(sandbox.run(&["status"]).code, 5, "the server is gone too");
}

#[test]
fn a_backup_is_a_store_of_its_own() {
    let served = Sandbox::new().serve(&[]);
    served.sandbox.ok(&["submit", "x", "--id", "x"]);
    let copy = served.sandbox.home("copy.db").display().to_string();
    served.sandbox.ok(&["backup", &copy]);
    assert_eq!(served.sandbox.run(&["backup", &copy]).code, 2, "nothing is overwritten");
    let elsewhere = Sandbox::new().serve(&["--store", &format!("sqlite:{copy}")]);
    assert_eq!(elsewhere.sandbox.json(&["show", "x"])["title"], "x");
    assert_eq!(Sandbox::new().run(&["backup", "b.db"]).code, 3, "there is nothing to copy");
}

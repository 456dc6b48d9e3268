//! What the program says of itself.

use crate::sandbox::Sandbox;

#[test]
fn help_is_as_written_down() {
    let sandbox = Sandbox::new();
    let commands: [&[&str]; 39] = [
        &[],
        &["serve"],
        &["submit"],
        &["list"],
        &["show"],
        &["logs"],
        &["status"],
        &["explain"],
        &["lanes"],
        &["edit"],
        &["cancel"],
        &["requeue"],
        &["agents"],
        &["agents", "show"],
        &["agents", "drain"],
        &["agents", "resume"],
        &["agents", "remove"],
        &["allowance"],
        &["allowance", "get"],
        &["allowance", "set"],
        &["allowance", "delete"],
        &["allowance", "usage"],
        &["allowance", "reset"],
        &["ledger", "verify"],
        &["ledger", "show"],
        &["model"],
        &["model", "set"],
        &["model", "import-prices"],
        &["budget"],
        &["budget", "get"],
        &["budget", "set"],
        &["budget", "lift"],
        &["worker"],
        &["up"],
        &["demo"],
        &["config"],
        &["config", "show"],
        &["backup"],
        &["completions"],
    ];
    let all: Vec<String> = commands
        .iter()
        .map(|command| {
            let text = sandbox.ok(&[command, &["--help"] as &[&str]].concat());
            // The options of every command stand once.
            let own = if command.is_empty() {
                text.as_str()
            } else {
                text.split("\nGlobal options:").next().unwrap()
            };
            format!("$ agentic {}\n{own}", [command, &["--help"] as &[&str]].concat().join(" "))
        })
        .collect();
    insta::assert_snapshot!(all.join("\n"));
}

#[test]
fn the_version_is_the_crates() {
    assert_eq!(Sandbox::new().ok(&["--version"]), concat!("agentic ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn shells_get_completions() {
    let sandbox = Sandbox::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = sandbox.ok(&["completions", shell]);
        assert!(script.contains("allowance") && script.contains("agentic"), "{shell}");
    }
}

#[test]
fn completions_need_no_settings() {
    let sandbox = Sandbox::new();
    sandbox.write("work/agentic.yaml", "nonsense: 1\n");
    sandbox.ok(&["completions", "bash"]);
}

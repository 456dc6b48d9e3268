//! Text of strangers, and readers that go away.

use std::process::Stdio;

use crate::sandbox::Sandbox;

#[test]
fn what_tasks_say_cannot_act_on_a_terminal() {
    let served = Sandbox::new().serve(&[]);
    let sandbox = &served.sandbox;
    let evil = "\u{1b}[2J\u{1b}]0;owned\u{7}\u{9b}31m\u{202e}x\r\n--json";
    sandbox.ok(&["submit", "--id", "evil", "--description", &format!("-{evil}"), "--", evil]);
    sandbox.write("work/evil.json", &serde_json::json!([{ "title": evil }]).to_string());
    for args in [
        &["list"] as &[&str],
        &["show", "evil"],
        &["explain", "evil"],
        &["submit", "--dry-run", "--", evil],
        &["submit", "--dry-run", "--from", "evil.json"],
        &["lanes"],
        &["cancel", "evil", "--reason", evil],
        &["logs", "evil"],
        &["list", "--json"],
        &["show", "evil", "--json"],
    ] {
        let done = sandbox.run(args);
        assert_eq!(done.code, 0, "{args:?}: {done:?}");
        let acts = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(!done.out.contains(acts) && !done.err.contains(acts), "{args:?}: {done:?}");
    }
    let task = sandbox.json(&["show", "evil"]);
    assert_eq!(task["title"], evil, "programs get the text as it is");
}

#[test]
fn titles_and_texts_may_look_like_options() {
    let served = Sandbox::new().serve(&[]);
    let sandbox = &served.sandbox;
    for (i, title) in ["--help", "-v", "--", "$(reboot)", "; rm -rf /"].into_iter().enumerate() {
        let id = format!("t{i}");
        sandbox.ok(&["submit", "--id", &id, "--description", "--json", "--", title]);
        let task = sandbox.json(&["show", &id]);
        assert_eq!((&task["title"], &task["description"]), (&title.into(), &"--json".into()));
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let sandbox = Sandbox::new();
    for args in [&["config", "show"] as &[&str], &["config", "show", "--json"], &["completions", "bash"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = sandbox.command(args).stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
        let output = output.wait_with_output().unwrap();
        assert!(output.status.success(), "{args:?}: {output:?}");
        assert!(output.stderr.is_empty(), "{args:?}: {output:?}");
    }
}

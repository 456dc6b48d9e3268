//! The demo.

use crate::sandbox::Sandbox;

#[test]
fn the_demo_ends_well_and_leaves_nothing() {
    let sandbox = Sandbox::new();
    // Settings of the caller have nothing to do with it.
    sandbox.write("work/agentic.yaml", "base_url: http://127.0.0.1:1\ntoken: nonsense\nlease: 1h\n");
    let temporary = sandbox.home("tmp");
    std::fs::create_dir(&temporary).unwrap();
    let sandbox = sandbox.with("TMPDIR", temporary.display().to_string());
    let outcome = sandbox.json(&["demo"]);
    let checks = outcome["checks"].as_array().unwrap();
    assert!(checks.len() > 10 && checks.iter().all(|check| check["ok"] == true), "{checks:#?}");
    assert_eq!(outcome["tasks"].as_array().unwrap().len(), 30);
    assert_eq!(std::fs::read_dir(temporary).unwrap().count(), 0);
}

#[test]
fn a_demo_begins_afresh() {
    let sandbox = Sandbox::new();
    sandbox.write("work/old/file", "");
    assert_eq!(sandbox.run(&["demo", "--keep", "old"]).code, 2);
}

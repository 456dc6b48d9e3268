//! Rules for the packages.

use serde_json::Value;

use super::tree::File;

/// What breaks a rule in the packages of the workspace.
pub(super) fn findings(files: &[File], metadata: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let name = package["name"].as_str().unwrap_or_default();
        let path = package["manifest_path"].as_str().unwrap_or_default();
        let folder = path.strip_suffix("/Cargo.toml").unwrap_or_default();
        let root = metadata["workspace_root"].as_str().unwrap_or_default();
        let folder = folder.strip_prefix(root).unwrap_or_default().trim_start_matches('/');
        let text = |file: &str| {
            let path = format!("{folder}/{file}");
            files.iter().find(|file| file.path == path).map_or("", |file| file.text.as_str())
        };
        let problems = described(package).into_iter().chain(manifest(text("Cargo.toml"))).chain(
            folder.starts_with("crates/").then(|| library(name, folder, text("src/lib.rs"))).flatten(),
        );
        found.extend(problems.map(|problem| format!("{folder}/Cargo.toml: {problem}")));
    }
    found
}

/// The metadata that every package has.
fn described(package: &Value) -> Vec<String> {
    let missing = |field: &&&str| match &package[**field] {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        _ => false,
    };
    let fields = ["description", "license", "repository", "rust_version", "keywords", "categories"];
    fields.iter().filter(missing).map(|field| format!("{field} is missing")).collect()
}

/// Lints and versions come from the workspace.
fn manifest(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    if !text.contains("\n[lints]\nworkspace = true\n") {
        found.push("[lints] workspace = true is missing".to_owned());
    }
    let mut in_dependencies = false;
    for line in text.lines() {
        if line.starts_with('[') {
            in_dependencies = line.ends_with("dependencies]");
        } else if in_dependencies
            && !line.is_empty()
            && !line.starts_with('#')
            && !line.contains("workspace = true")
        {
            found.push(format!("`{line}`: versions are in the workspace's manifest"));
        }
    }
    found
}

/// A crate is in the folder of its name, and its documentation shows how it is used.
fn library(name: &str, folder: &str, lib: &str) -> Option<String> {
    if folder != format!("crates/{name}") {
        return Some(format!("package {name} belongs in crates/{name}"));
    }
    let docs: Vec<&str> = lib.lines().map_while(|line| line.strip_prefix("//!")).map(str::trim).collect();
    if lib.lines().all(|line| line.is_empty() || line.starts_with("//")) {
        // A place that is kept for later has nothing to show.
        return None;
    }
    let runnable = |line: &&&str| matches!(**line, "```" | "```rust" | "```no_run");
    let fences = docs.iter().filter(|line| line.starts_with("```")).step_by(2);
    let examples = fences.filter(runnable).count();
    (examples == 0).then(|| "its crate documentation has no example".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_say_what_they_are() {
        let package =
            serde_json::json!({ "description": "x", "license": "", "keywords": [], "categories": ["a"] });
        let found = described(&package);
        assert_eq!(found.len(), 4, "{found:?}");
    }

    #[test]
    fn versions_and_lints_come_from_the_workspace() {
        let good = "[package]\n\n[lints]\nworkspace = true\n\n[dependencies]\na.workspace = true\n\n[[bin]]\npath = \"x\"\n";
        assert!(manifest(good).is_empty());
        assert_eq!(manifest("[package]\n[dev-dependencies]\na = \"1\"\n").len(), 2);
    }

    #[test]
    fn crates_show_how_they_are_used() {
        assert!(library("a", "crates/a", "//! A.\n//!\n//! ```\n//! use a;\n//! ```\n").is_none());
        assert!(library("a", "crates/a", "//! A.\n//!\n//! ```text\n//! x\n//! ```\nmod b;\n").is_some());
        assert!(library("a", "crates/a", "//! Reserved.\n").is_none());
        assert!(library("a", "crates/b", "").is_some());
    }
}

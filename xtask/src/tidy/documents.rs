//! Rules for the documents.

use std::path::Path;

use anyhow::Result;

use super::tree::{self, File};

/// Every document of the repository.
pub(crate) fn documents(root: &Path) -> Result<Vec<File>> {
    let mut files = tree::read(root)?;
    files.retain(is_document);
    Ok(files)
}

fn is_document(file: &File) -> bool {
    file.path.rsplit_once('.').is_some_and(|(_, extension)| extension == "md")
}

/// What breaks a rule in the documents.
pub(super) fn findings(files: &[File]) -> Vec<String> {
    let mut found = decisions(files);
    for file in files {
        match file.path.as_str() {
            "README.md" if file.text.lines().count() > 150 => {
                found.push("README.md: at most 150 lines".to_owned());
            }
            "CHANGELOG.md" if first_section(&file.text) != Some("## [Unreleased]") => {
                found.push("CHANGELOG.md: its first section is ## [Unreleased]".to_owned());
            }
            _ => {}
        }
        if is_document(file) {
            found.extend(dead_links(file, files));
        }
    }
    for wanted in [
        "README.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "LICENSE-MIT",
        "LICENSE-APACHE",
        "docs/architecture.md",
    ] {
        if !files.iter().any(|file| file.path == wanted) {
            found.push(format!("{wanted}: is missing"));
        }
    }
    found
}

fn first_section(text: &str) -> Option<&str> {
    text.lines().find(|line| line.starts_with("## "))
}

/// Decisions are `NNNN-title.md`, numbered from 1 without gaps.
fn decisions(files: &[File]) -> Vec<String> {
    let names = files.iter().filter_map(|file| file.path.strip_prefix("docs/decisions/"));
    let misnumbered = |(number, name): &(u32, &str)| !name.starts_with(&format!("{number:04}-"));
    let wrong = (1..).zip(names).filter(misnumbered);
    wrong.map(|(number, name)| format!("docs/decisions/{name}: should be number {number:04}")).collect()
}

/// Links to files of the repository that are not there.
fn dead_links(file: &File, files: &[File]) -> Vec<String> {
    let mut folder: Vec<&str> = file.path.split('/').collect();
    folder.pop();
    let mut found = Vec::new();
    for link in file.text.split("](").skip(1).filter_map(|rest| rest.split_once(')').map(|(link, _)| link)) {
        let target = link.split('#').next().unwrap_or_default().trim_end_matches('/');
        if target.is_empty() || target.contains(':') {
            continue;
        }
        let mut path = folder.clone();
        for part in target.split('/') {
            if part == ".." {
                path.pop();
            } else if part != "." {
                path.push(part);
            }
        }
        let path = path.join("/");
        let is_there = |other: &File| other.path == path || other.path.starts_with(&format!("{path}/"));
        if !files.iter().any(is_there) {
            found.push(format!("{}: links to {link}, which is not there", file.path));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> File {
        File { path: path.to_owned(), text: text.to_owned() }
    }

    #[test]
    fn decisions_are_numbered_without_gaps() {
        let files = ["docs/decisions/0001-a.md", "docs/decisions/0003-b.md"].map(|path| file(path, ""));
        assert_eq!(decisions(&files), ["docs/decisions/0003-b.md: should be number 0002"]);
    }

    #[test]
    fn links_lead_somewhere() {
        let files = [
            file("docs/a.md", "[b](../b.md#x) [c](c.md) [web](https://example.org) [here](#x) [d](.)"),
            file("b.md", ""),
        ];
        assert_eq!(dead_links(&files[0], &files), ["docs/a.md: links to c.md, which is not there"]);
    }

    #[test]
    fn the_changelog_begins_with_what_is_unreleased() {
        let found = findings(&[file("CHANGELOG.md", "# Changelog\n\n## [0.1.0]\n")]);
        assert!(
            found.contains(&"CHANGELOG.md: its first section is ## [Unreleased]".to_owned()),
            "{found:?}"
        );
    }
}

//! Rules for single files.

use super::tree::File;

/// Where a file must be split.
const MAX_LINES: usize = 800;

/// Where a text is forbidden.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Where {
    Everywhere,
    /// Not in tests, nor in the crates that only test and measure.
    Shipped,
    /// Not in what is shipped, but for the CLI.
    ShippedLibraries,
}

/// Texts that no Rust file may have, and why.
const FORBIDDEN: [(&str, Where, &str); 9] = [
    ("#[allow(", Where::Everywhere, "#[expect(…, reason = …)] goes away with its cause"),
    ("#![allow(", Where::Everywhere, "#[expect(…, reason = …)] on the item, not on the crate"),
    ("#[ignore", Where::Everywhere, "a test runs or is deleted"),
    ("#[should_panic", Where::Everywhere, "assert what is returned"),
    ("TODO", Where::Everywhere, "do it, or open an issue"),
    ("FIXME", Where::Everywhere, "do it, or open an issue"),
    ("unbounded_channel", Where::Shipped, "every queue is bounded"),
    ("thread::sleep", Where::ShippedLibraries, "await a condition or a clock"),
    ("env::var", Where::ShippedLibraries, "nothing but the CLI reads the environment"),
];

/// What breaks a rule in one file.
pub(super) fn findings(file: &File) -> Vec<String> {
    let mut found = Vec::new();
    let rust = has_extension(file, &["rs"]);
    if rust {
        found.extend(forbidden(file));
        found.extend(too_long(file));
        found.extend(logic(file));
    }
    if rust
        || has_extension(file, &["md", "toml", "sql", "yaml", "yml", "json", "sh"])
        || file.path == ".ci/run"
    {
        found.extend(whitespace(file));
    }
    found
}

fn has_extension(file: &File, extensions: &[&str]) -> bool {
    file.path.rsplit_once('.').is_some_and(|(_, extension)| extensions.contains(&extension))
}

fn forbidden(file: &File) -> Vec<String> {
    // This table is the one place that has to spell them.
    if file.path == "xtask/src/tidy/sources.rs" {
        return Vec::new();
    }
    let tests_from = if is_test(&file.path) { 0 } else { unit_tests(&file.text) };
    let tool = ["xtask/", "bench/"].iter().any(|dir| file.path.starts_with(dir));
    let cli = tool || file.path.starts_with("crates/agentic-cli/");
    let mut found = Vec::new();
    for (number, line) in (1..).zip(file.text.lines()) {
        let shipped = number < tests_from && !line.trim_start().starts_with("//");
        for (text, place, why) in FORBIDDEN {
            let applies = match place {
                Where::Everywhere => true,
                Where::Shipped => shipped && !tool,
                Where::ShippedLibraries => shipped && !cli,
            };
            if applies && line.contains(text) {
                found.push(format!("{}:{number}: {text}: {why}", file.path));
            }
        }
    }
    found
}

fn is_test(path: &str) -> bool {
    path.contains("/tests/") || path.starts_with("crates/agentic-testkit/")
}

/// The number of the line on which the unit tests begin; past the end when there are none.
fn unit_tests(text: &str) -> usize {
    let found = (1..).zip(text.lines()).find(|(_, line)| line.trim_start().starts_with("#[cfg(test)]"));
    found.map_or(usize::MAX, |(number, _)| number)
}

fn too_long(file: &File) -> Option<String> {
    let lines = file.text.lines().count();
    (lines > MAX_LINES).then(|| format!("{}: {lines} lines: split it (at most {MAX_LINES})", file.path))
}

/// `lib.rs` and `mod.rs` say what a module is, and do nothing.
fn logic(file: &File) -> Vec<String> {
    let name = file.path.rsplit('/').next().unwrap_or_default();
    if !matches!(name, "lib.rs" | "mod.rs") {
        return Vec::new();
    }
    let lines: Vec<&str> = file.text.lines().collect();
    let mut found = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let words: Vec<&str> = line.split_whitespace().take_while(|word| !word.starts_with("//")).collect();
        let function = words.iter().take(4).any(|word| *word == "fn");
        let rest = lines[index..].iter().flat_map(|line| line.chars());
        if function && rest.into_iter().find(|c| matches!(c, '{' | ';')) == Some('{') {
            found.push(format!(
                "{}:{}: a body in {name}: give it a file named by its noun",
                file.path,
                index + 1
            ));
        }
    }
    found
}

fn whitespace(file: &File) -> Vec<String> {
    let mut found = Vec::new();
    for (number, line) in (1..).zip(file.text.split('\n')) {
        if line.ends_with([' ', '\t', '\r']) {
            found.push(format!("{}:{number}: white space at the end of the line", file.path));
        }
    }
    if !file.text.is_empty() && (!file.text.ends_with('\n') || file.text.ends_with("\n\n")) {
        found.push(format!("{}: must end with one newline", file.path));
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
    fn forbidden_texts_are_found_where_they_are_forbidden() {
        let text = "unbounded_channel();\n#[cfg(test)]\nunbounded_channel();\n#[ignore]\n";
        assert_eq!(findings(&file("crates/x/src/a.rs", text)).len(), 2);
        assert_eq!(findings(&file("crates/x/tests/it/a.rs", text)).len(), 1);
        assert_eq!(findings(&file("crates/x/src/a.rs", "/// unbounded_channel() in an example\n")).len(), 0);
        let reads = "std::env::var(\"X\");\n";
        assert_eq!(findings(&file("crates/x/src/a.rs", reads)).len(), 1);
        assert_eq!(findings(&file("crates/agentic-cli/src/a.rs", reads)).len(), 0);
    }

    #[test]
    fn long_files_are_split() {
        assert!(findings(&file("a.rs", &"x\n".repeat(MAX_LINES))).is_empty());
        assert_eq!(findings(&file("a.rs", &"x\n".repeat(MAX_LINES + 1))).len(), 1);
    }

    #[test]
    fn module_files_have_no_bodies() {
        let text = "//! fn x() {}\npub trait T {\n    fn a(&self);\n    pub(crate) async fn b(\n    ) -> u8 {\n    }\n}\n";
        assert_eq!(
            findings(&file("a/mod.rs", text)),
            ["a/mod.rs:4: a body in mod.rs: give it a file named by its noun"]
        );
        assert!(findings(&file("a/noun.rs", text)).is_empty());
    }

    #[test]
    fn lines_end_where_they_end() {
        assert_eq!(findings(&file("a.md", "x \ny\r\nz")).len(), 3);
        assert!(findings(&file("a.md", "x\ny\n")).is_empty());
    }
}

//! `cargo xtask test`: every test, and one plain line about them at the end.

use std::{
    fs,
    io::{Write, stdout},
    process,
};

use anyhow::{Context, Result};

use crate::{command, redis, tool, workspace};

/// How many tests passed and failed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Counts {
    passed: u64,
    failed: u64,
}

/// Runs every test of the workspace, then its doctests.
///
/// Without `cargo nextest`, and without a way to install it, the tests run under plain `cargo test`.
pub(crate) fn run() -> Result<()> {
    redis::ensure()?;
    let (tests, green) = match tool::NEXTEST.ensure() {
        Ok(()) => nextest()?,
        Err(error) => {
            eprintln!("{error:#}; falling back to cargo test");
            libtest(&["--all-targets"])?
        }
    };
    let (doctests, doc_green) = libtest(&["--doc"])?;
    let passed = tests.passed + doctests.passed;
    let failed = tests.failed + doctests.failed;
    let failed = if green && doc_green { failed } else { failed.max(1) };
    writeln!(stdout(), "{passed} passed, {failed} failed")?;
    if failed > 0 {
        // Nothing may follow the closing line.
        process::exit(1);
    }
    Ok(())
}

fn nextest() -> Result<(Counts, bool)> {
    let report = workspace::target_dir()?.join("nextest/ci/junit.xml");
    if report.exists() {
        fs::remove_file(&report)?;
    }
    let args = ["nextest", "run", "--workspace", "--locked", "--profile", "ci"];
    let status = command::status(&mut command::cargo(args))?;
    let xml = fs::read_to_string(&report).context("nextest ran no tests")?;
    Ok((junit(&xml).context("nextest's report cannot be read")?, status.success()))
}

fn libtest(what: &[&str]) -> Result<(Counts, bool)> {
    let mut counts = Counts::default();
    let mut cargo = command::cargo(["test", "--workspace", "--locked", "--no-fail-fast"]);
    let status = command::tee(cargo.args(what), |line| {
        if let Some(part) = summary(line) {
            counts.passed += part.passed;
            counts.failed += part.failed;
        }
    })?;
    Ok((counts, status.success()))
}

/// The counts in the root element of a JUnit report.
fn junit(xml: &str) -> Option<Counts> {
    let (_, root) = xml.split_once("<testsuites ")?;
    let (root, _) = root.split_once('>')?;
    let attribute = |name: &str| {
        let (_, rest) = root.split_once(&format!(" {name}=\""))?;
        rest.split_once('"')?.0.parse::<u64>().ok()
    };
    let failed = attribute("failures")? + attribute("errors")?;
    Some(Counts { passed: attribute("tests")?.checked_sub(failed)?, failed })
}

/// The counts in `test result: ok. 3 passed; 0 failed; …`.
fn summary(line: &str) -> Option<Counts> {
    let rest = line.strip_prefix("test result: ")?;
    let count = |word: &str| {
        let (before, _) = rest.split_once(word)?;
        before.trim_end().rsplit([' ', ';']).next()?.parse().ok()
    };
    Some(Counts { passed: count(" passed")?, failed: count(" failed")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_read_from_both_runners() {
        let xml = r#"<?xml version="1.0"?>
<testsuites name="nextest-run" tests="12" failures="2" errors="1" uuid="x" time="1.5">"#;
        assert_eq!(junit(xml), Some(Counts { passed: 9, failed: 3 }));
        assert_eq!(junit("<testsuites name=\"x\">"), None);
        let line = "test result: FAILED. 7 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out";
        assert_eq!(summary(line), Some(Counts { passed: 7, failed: 2 }));
        assert_eq!(summary("test a ... ok"), None);
    }
}

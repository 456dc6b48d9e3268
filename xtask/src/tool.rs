//! The cargo commands that the project needs and rustup does not bring.

use anyhow::{Result, ensure};

use crate::command;

/// A cargo command from crates.io.
#[derive(Debug)]
pub(crate) struct Tool {
    /// What follows `cargo`.
    command: &'static str,
    version: &'static str,
}

/// Runs the tests.
pub(crate) const NEXTEST: Tool = Tool { command: "nextest", version: "0.9.143" };
/// Checks licences and who depends on what.
pub(crate) const DENY: Tool = Tool { command: "deny", version: "0.20.2" };
/// Measures coverage.
pub(crate) const LLVM_COV: Tool = Tool { command: "llvm-cov", version: "0.9.1" };

impl Tool {
    /// Whether any version of it is there.
    pub(crate) fn is_there(&self) -> bool {
        command::cargo([self.command, "--version"]).output().is_ok_and(|output| output.status.success())
    }

    /// Installs it unless it is there.
    pub(crate) fn ensure(&self) -> Result<()> {
        if self.is_there() {
            return Ok(());
        }
        eprintln!("cargo {} is missing; installing it (some minutes, once)", self.command);
        command::run(&mut command::cargo(["install", "--locked", &self.package()]))
    }

    /// Fails, saying how to get it, unless it is there.
    pub(crate) fn require(&self) -> Result<()> {
        let package = self.package();
        ensure!(self.is_there(), "cargo {} is missing: cargo install --locked {package}", self.command);
        Ok(())
    }

    fn package(&self) -> String {
        format!("cargo-{}@{}", self.command, self.version)
    }
}

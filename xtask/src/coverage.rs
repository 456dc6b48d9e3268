//! `cargo xtask coverage`: line coverage of all tests.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::{command, redis, tool};

/// The oldest LLVM that reads what this toolchain writes.
const OLDEST: u32 = 19;
const HOW: &str = "apt-get install llvm-22 (19 or newer), or set LLVM_COV and LLVM_PROFDATA";

/// Runs all tests instrumented, and prints the coverage of each file.
pub(crate) fn run() -> Result<()> {
    tool::LLVM_COV.require()?;
    tool::NEXTEST.ensure()?;
    redis::ensure()?;
    let cov = find("LLVM_COV", "llvm-cov").with_context(|| format!("llvm-cov is missing: {HOW}"))?;
    let profdata =
        find("LLVM_PROFDATA", "llvm-profdata").with_context(|| format!("llvm-profdata is missing: {HOW}"))?;
    let mut cargo = command::cargo(["llvm-cov", "nextest", "--workspace", "--locked", "--profile", "ci"]);
    // Without this, cargo-llvm-cov tries to download a component of the toolchain.
    cargo.env("CARGO_LLVM_COV_SETUP", "no").env("LLVM_COV", cov).env("LLVM_PROFDATA", profdata);
    command::run(&mut cargo)
}

/// The program that a variable names, or else the newest one on the path and where Debian puts them.
fn find(variable: &str, program: &str) -> Option<PathBuf> {
    if let Some(named) = env::var_os(variable) {
        return Some(named.into());
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let debian = fs::read_dir("/usr/lib")
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")));
    let programs =
        env::split_paths(&path).chain(debian).map(|dir| dir.join(program)).filter(|file| file.is_file());
    let versions =
        programs.filter_map(|file| Some((version(&file)?, file))).filter(|(version, _)| *version >= OLDEST);
    versions.max().map(|(_, file)| file)
}

/// The major version that an LLVM program says of itself.
fn version(program: &Path) -> Option<u32> {
    let output = Command::new(program).arg("--version").output().ok()?;
    major(&String::from_utf8_lossy(&output.stdout))
}

fn major(text: &str) -> Option<u32> {
    let (_, rest) = text.split_once("LLVM version ")?;
    rest.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read() {
        assert_eq!(major("Debian LLVM version 22.1.8\n  Optimized build."), Some(22));
        assert_eq!(major("llvm-cov: error"), None);
    }
}

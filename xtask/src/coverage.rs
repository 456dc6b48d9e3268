//! `cargo xtask coverage`: line coverage of all tests.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use crate::{command, redis, tool};

const HOW: &str = "apt-get install llvm (19 or newer), or set LLVM_COV and LLVM_PROFDATA";

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

/// The program that a variable names, or else the one on the path, or else Debian's newest.
fn find(variable: &str, program: &str) -> Option<PathBuf> {
    if let Some(named) = env::var_os(variable) {
        return Some(named.into());
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let on_path = env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file());
    on_path.or_else(|| newest(Path::new("/usr/lib"), program))
}

fn newest(lib: &Path, program: &str) -> Option<PathBuf> {
    let version = |path: &Path| path.file_name()?.to_str()?.strip_prefix("llvm-")?.parse::<u32>().ok();
    let dirs = fs::read_dir(lib).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    let (_, dir) = dirs.filter_map(|dir| Some((version(&dir)?, dir))).max()?;
    Some(dir.join("bin").join(program)).filter(|file| file.is_file())
}

//! What cargo says about the workspace.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::command;

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask).to_owned()
}

/// The output of `cargo metadata` for the workspace's own packages.
pub(crate) fn metadata() -> Result<Value> {
    let mut cargo = command::cargo(["metadata", "--no-deps", "--format-version", "1", "--offline"]);
    let output = cargo.output().context("cannot run cargo metadata")?;
    ensure!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).context("cannot read what cargo metadata says")
}

/// Where cargo puts what it builds.
pub(crate) fn target_dir() -> Result<PathBuf> {
    let metadata = metadata()?;
    let dir = metadata["target_directory"].as_str().context("cargo metadata names no target directory")?;
    Ok(PathBuf::from(dir))
}

/// Builds packages, and answers with the path of a binary among what was built.
pub(crate) fn build(profile: &str, packages: &[&str], binary: &str) -> Result<PathBuf> {
    let mut cargo = command::cargo(["build", "--locked", "--bins", "--profile", profile]);
    for package in packages {
        cargo.args(["--package", package]);
    }
    command::run(&mut cargo)?;
    let folder = if profile == "dev" { "debug" } else { profile };
    Ok(target_dir()?.join(folder).join(binary))
}

/// A command that starts at the root of the repository.
pub(crate) fn at_root(mut command: Command) -> Command {
    command.current_dir(root());
    command
}

//! `cargo xtask prove`: builds the proofs that need several processes, and runs them.

use std::process::Command;

use anyhow::Result;

use crate::{command, redis, workspace};

/// Hands `args` on.
pub(crate) fn run(args: &[String]) -> Result<()> {
    redis::ensure()?;
    // With the features of the whole workspace, so that the tests' build is used.
    command::run(&mut command::cargo(["build", "--workspace", "--locked", "--bin", "agentic-proof"]))?;
    let proof = workspace::target_dir()?.join("debug/agentic-proof");
    command::run(workspace::at_root(Command::new(proof)).args(args))
}

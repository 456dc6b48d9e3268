//! `cargo xtask bench`: builds the benchmark and runs it.

use std::process::Command;

use anyhow::Result;

use crate::{command, workspace};

/// Builds the benchmark and the binary whose start it measures, and hands `args` on.
pub(crate) fn run(args: &[String]) -> Result<()> {
    let bench = workspace::build("release", &["agentic-bench", "agentic-cli"], "agentic-bench")?;
    let agentic = bench.with_file_name("agentic");
    command::run(workspace::at_root(Command::new(bench)).arg("--agentic").arg(agentic).args(args))
}

//! `cargo xtask bench`: builds the benchmark and runs it.

use std::process::Command;

use anyhow::Result;

use crate::{command, prove, redis, workspace};

/// Builds the benchmark and the binary whose start it measures, and hands `args` on. `budgets` is a proof: its figures do
/// not move with the machine.
pub(crate) fn run(args: &[String]) -> Result<()> {
    if args.first().is_some_and(|first| first == "budgets") {
        return prove::run(args);
    }
    redis::ensure()?;
    let bench = workspace::build("release", &["agentic-bench", "agentic-cli"], "agentic-bench")?;
    let agentic = bench.with_file_name("agentic");
    command::run(workspace::at_root(Command::new(bench)).arg("--agentic").arg(agentic).args(args))
}

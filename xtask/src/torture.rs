//! `cargo xtask torture`: a fleet of three servers on one Redis at any size, as it is and with a server killed every
//! two seconds.

use std::hash::{BuildHasher as _, RandomState};

use anyhow::Result;
use clap::Args;

use crate::{command, redis, tool};

/// How much of it.
#[derive(Debug, Args)]
pub(crate) struct TortureArgs {
    /// How many tasks are done.
    #[arg(long, default_value_t = 20_000)]
    tasks: u32,
    /// How many seconds each of the two runs may take.
    #[arg(long, default_value_t = 1_800)]
    seconds: u64,
    /// What decides which server is killed and how long it is away; a random one by default, which is printed.
    #[arg(long)]
    seed: Option<u64>,
}

/// Runs both, and shows their figures.
pub(crate) fn run(args: &TortureArgs) -> Result<()> {
    tool::NEXTEST.ensure()?;
    redis::ensure()?;
    let seed = args.seed.unwrap_or_else(|| RandomState::new().hash_one(()));
    eprintln!("torture: --seed {seed}");
    let mut cargo = command::cargo(["nextest", "run", "--workspace", "--locked", "--profile", "torture"]);
    cargo.args(["--no-capture", "--no-tests", "fail", "-E", "package(agentic-cli) and test(/^torture::/)"]);
    cargo.env("AGENTIC_TORTURE_TASKS", args.tasks.to_string());
    cargo.env("AGENTIC_TORTURE_SECONDS", args.seconds.to_string());
    command::run(cargo.env("AGENTIC_TORTURE_SEED", seed.to_string()))
}

//! Proofs that need several processes, with figures: `cargo xtask prove`.
//!
//! Unlike the benchmark's, its figures do not move with the machine: what does not hold is an error.

mod admitters;
mod budgets;
mod child;
mod failpoints;
mod place;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Proves what budgets promise, by processes that race and processes that die.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask prove --")]
struct Args {
    /// The URL of a Redis to use, instead of one that is started.
    #[arg(long, global = true, env = "AGENTIC_TEST_REDIS_URL")]
    redis: Option<String>,
    #[command(subcommand)]
    proof: Option<Proof>,
}

#[derive(Debug, Subcommand)]
enum Proof {
    /// Many admitters in several processes race for the places under one limit: exactly as many get in as it has.
    Admitters(admitters::Args),
    /// A process dies by SIGKILL between any two steps of assign, start, beat and finish: nothing leaks past one lease,
    /// and nothing is charged twice.
    Failpoints(failpoints::Args),
    /// A fleet burns one budget: what it overshoots, beside checking first and charging later.
    Budgets(budgets::Args),
    /// What a process that races or dies does.
    #[command(hide = true)]
    Child(child::Args),
}

#[tokio::main]
async fn main() -> ExitCode {
    match prove(Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn prove(args: Args) -> Result<()> {
    let redis = args.redis.as_deref();
    match args.proof {
        None => {
            admitters::run(&admitters::Args::default(), redis).await?;
            failpoints::run(&failpoints::Args::default(), redis).await?;
            budgets::run(&budgets::Args::default(), redis).await
        }
        Some(Proof::Admitters(args)) => admitters::run(&args, redis).await,
        Some(Proof::Failpoints(args)) => failpoints::run(&args, redis).await,
        Some(Proof::Budgets(args)) => budgets::run(&args, redis).await,
        Some(Proof::Child(args)) => child::run(args).await,
    }
}

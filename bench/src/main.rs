//! Speed, measured beside the limits of the machine that it runs on: `cargo xtask bench`.
//!
//! The figures are for people. They move with the machine, so a missed target is told, not failed: but what heartbeats
//! cost and the time of each script, which have much room.

mod bounds;
mod cycle;
mod hearts;
mod latency;
mod process;
mod raw;
mod redis;
mod report;
mod scale;
mod timer;
mod world;

use std::{
    io::{Write, stdout},
    path::PathBuf,
};

use anyhow::Result;
use clap::Parser;

use report::Report;
use world::Backend;

/// Measures agentic beside the machine's own limits.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench --")]
struct Args {
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Which back ends to measure.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Backend::Memory, Backend::Sqlite, Backend::Redis])]
    backend: Vec<Backend>,
    /// Cycles of assign, start and finish on each back end; a tenth of it on SQLite and Redis.
    #[arg(long, default_value_t = 200_000)]
    cycles: u32,
    /// Submissions to an idle fleet, one after the other.
    #[arg(long, default_value_t = 1_000)]
    submissions: u32,
    /// How large a backlog is held against one of 1,000 tasks; a tenth of it on Redis, which has it in memory.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1_000..=9_000_000))]
    waiting: u32,
    /// How large a fleet is held against one of 10 agents.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(10..=99_999))]
    agents: u32,
    /// For how many seconds the heartbeats of that fleet are sent.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=600))]
    heartbeats: u32,
    /// Measure only this.
    #[arg(long, value_enum)]
    only: Option<Only>,
    /// The URL of a Redis to measure on, instead of one that is started; nothing on it is flushed.
    #[arg(long, env = "AGENTIC_TEST_REDIS_URL")]
    redis: Option<String>,
    /// Where files are written; the speed of the disk matters.
    #[arg(long, default_value = "target")]
    dir: PathBuf,
    /// The binary `agentic`, whose start is measured.
    #[arg(long)]
    agentic: Option<PathBuf>,
}

/// A part of what is measured.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Only {
    /// How many tasks a second go through assign, start and finish.
    Cycles,
    /// What a dispatch costs as the backlog and the fleet grow.
    Scale,
    /// What the heartbeats of a large fleet cost.
    Heartbeats,
    /// How long each script of Redis takes in a large fleet.
    Bounds,
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse();
    let mut report = Report::default();
    // What was measured before something failed is told all the same.
    let measured = measure(&args, &mut report).await;
    let text = if args.json { serde_json::to_string_pretty(&report)? } else { report.to_string() };
    writeln!(stdout(), "{}", text.trim_end())?;
    measured
}

async fn measure(args: &Args, report: &mut Report) -> Result<()> {
    match args.only {
        Some(Only::Cycles) => {
            for backend in &args.backend {
                cycle::measure(*backend, args, report).await?;
            }
            return Ok(());
        }
        Some(Only::Scale) => {
            for backend in &args.backend {
                scale::measure(*backend, args, report).await?;
            }
            return Ok(());
        }
        Some(Only::Heartbeats) => return hearts::measure(args, report).await,
        Some(Only::Bounds) => return bounds::measure(args, report).await,
        None => {}
    }
    raw::measure(&args.dir, report).await?;
    for backend in &args.backend {
        cycle::measure(*backend, args, report).await?;
        latency::measure(*backend, args, report).await?;
        scale::measure(*backend, args, report).await?;
    }
    process::measure(args, report).await?;
    if args.backend.contains(&Backend::Redis) {
        bounds::measure(args, report).await?;
        hearts::measure(args, report).await?;
    }
    Ok(())
}

//! `cargo xtask lockstep`: random operations on SQLite, Redis and memory, with the same answers.

use std::{
    hash::{BuildHasher, RandomState},
    path::Path,
    str::FromStr,
};

use anyhow::Result;
use clap::Args;

use crate::{
    command,
    redis::{Redis, Source, Topology},
    tool,
};

/// Operations of one seed, in a world of its own; a longer one only grows slower.
const WORLD: u64 = 1_000;
/// Files in memory: whether the answers agree does not hang on the disk, and SQLite waits for it at each of them.
const MEMORY: &str = "/dev/shm";
const TESTS: &str = "(package(agentic-store-sqlite) or package(agentic-store-redis)) and test(/^lockstep::.*_agrees_with_memory$/)";

/// How much to run, and from where.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Operations on each back end, rounded up to whole worlds of 1,000.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    steps: u64,
    /// The first world's seed, or `random`; it is printed.
    #[arg(long, default_value = "1")]
    seed: Seed,
    /// Who runs the Redis; the first of these that there is, when left out.
    #[arg(long, value_enum)]
    server: Option<Source>,
}

impl Options {
    /// What CI runs.
    pub(crate) fn fixed(server: Option<Source>) -> Self {
        Self { steps: 100_000, seed: Seed::Fixed(1), server }
    }
}

/// Where the random operations begin.
#[derive(Debug, Clone, Copy)]
enum Seed {
    Fixed(u64),
    Random,
}

impl FromStr for Seed {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "random" { Ok(Self::Random) } else { text.parse().map(Self::Fixed) }
    }
}

/// Runs the same operations on SQLite and on Redis beside memory, and prints what they came to.
pub(crate) fn run(options: &Options) -> Result<()> {
    tool::NEXTEST.ensure()?;
    let seed = match options.seed {
        Seed::Fixed(seed) => seed,
        // The standard library's own source of chance; a short number is easier to pass on.
        Seed::Random => RandomState::new().hash_one(0) >> 32,
    };
    let worlds = options.steps.div_ceil(WORLD);
    let redis = Redis::find(Topology::Standalone, options.server)?;
    eprintln!("{} operations from --seed {seed}", worlds * WORLD);
    let args = ["nextest", "run", "--workspace", "--locked", "--profile", "ci", "--no-tests", "fail"];
    let mut nextest = command::cargo(args);
    redis.name_to(&mut nextest);
    nextest.args(["--success-output", "final", "--status-level", "pass"]);
    nextest.env("AGENTIC_TEST_SEED", seed.to_string());
    nextest.env("AGENTIC_TEST_WORLDS", worlds.to_string());
    nextest.env("AGENTIC_TEST_STEPS", WORLD.to_string());
    if Path::new(MEMORY).is_dir() {
        nextest.env("TMPDIR", MEMORY);
    }
    command::run(nextest.args(["-E", TESTS]))
}

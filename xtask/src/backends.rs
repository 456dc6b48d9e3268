//! `cargo xtask test-backends`: the conformance suite, back end by back end.

use anyhow::{Result, ensure};
use clap::{Args, ValueEnum};

use crate::{
    command,
    redis::{Redis, Source, Topology},
    tool,
};

/// What of Redis runs on whatever server there is; the other tests start servers of their own.
const ON_ANY_REDIS: &str = "package(agentic-store-redis) and test(/^(conformance|lockstep)::/)";

/// What to test, and on what.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Which back end.
    #[arg(long, value_enum, default_value_t)]
    backend: Choice,
    /// How many Redis servers.
    #[arg(long, value_enum, default_value_t)]
    topology: Topology,
    /// Who runs the Redis; the first of these that there is, when left out.
    #[arg(long, value_enum)]
    server: Option<Source>,
}

impl Options {
    /// Redis, on this.
    pub(crate) fn redis(topology: Topology, server: Option<Source>) -> Self {
        Self { backend: Choice::Redis, topology, server }
    }
}

/// Which back end to test.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Choice {
    /// Every one.
    #[default]
    All,
    /// The executable specification.
    Memory,
    /// One file.
    Sqlite,
    /// The server of `AGENTIC_TEST_REDIS_URL`, else one in a container, else a local one.
    Redis,
    /// The server and its client, together.
    Http,
    /// Tasks on one back end, agents and allowances on another.
    Pairs,
}

impl Choice {
    /// Where the suite runs on it; nothing for all of them.
    fn tests(self) -> Option<&'static str> {
        match self {
            Self::All => None,
            Self::Memory => Some("package(agentic-testkit) and kind(test)"),
            Self::Sqlite => Some("package(agentic-store-sqlite) and kind(test)"),
            Self::Redis => Some("package(agentic-store-redis) and kind(test)"),
            Self::Http => Some("package(agentic-server) and test(/^conformance::/)"),
            Self::Pairs => Some("package(agentic-cli) and test(/^pairs::/)"),
        }
    }
}

/// Runs the suite; a back end without a single case is an error.
pub(crate) fn run(options: &Options) -> Result<()> {
    tool::NEXTEST.ensure()?;
    let on_redis = matches!(options.backend, Choice::All | Choice::Redis | Choice::Pairs);
    ensure!(
        on_redis || (options.topology == Topology::Standalone && options.server.is_none()),
        "--topology and --server are about Redis"
    );
    let mut redis = None;
    let chosen = |backend: &&Choice| matches!(options.backend, Choice::All) || options.backend == **backend;
    for backend in Choice::value_variants().iter().filter(chosen) {
        let Some(mut tests) = backend.tests() else { continue };
        let args =
            ["nextest", "run", "--workspace", "--locked", "--profile", "ci", "--no-tests", "fail", "-E"];
        let mut nextest = command::cargo(args);
        if matches!(backend, Choice::Redis | Choice::Pairs) {
            let redis = match &mut redis {
                Some(redis) => redis,
                none => none.insert(Redis::find(options.topology, options.server)?),
            };
            redis.name_to(&mut nextest);
            let own = (options.topology, redis.source) == (Topology::Standalone, Source::Local);
            if *backend == Choice::Redis && !own {
                tests = ON_ANY_REDIS;
            }
        }
        command::run(nextest.arg(tests))?;
    }
    Ok(())
}

//! `cargo xtask test-backends`: the conformance suite, back end by back end.

use anyhow::Result;
use clap::ValueEnum;

use crate::{command, redis, tool};

/// Which back end to test.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Choice {
    /// Every one.
    #[default]
    All,
    /// The executable specification.
    Memory,
    /// One file.
    Sqlite,
    /// A server of its own, or the one of `AGENTIC_TEST_REDIS_URL`.
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
pub(crate) fn run(choice: Choice) -> Result<()> {
    tool::NEXTEST.ensure()?;
    for backend in
        Choice::value_variants().iter().filter(|backend| matches!(choice, Choice::All) || choice == **backend)
    {
        let Some(tests) = backend.tests() else { continue };
        if matches!(backend, Choice::Redis | Choice::Pairs) {
            redis::ensure()?;
        }
        let args =
            ["nextest", "run", "--workspace", "--locked", "--profile", "ci", "--no-tests", "fail", "-E"];
        command::run(command::cargo(args).arg(tests))?;
    }
    Ok(())
}

//! `cargo xtask test-backends`: the conformance suite, back end by back end.

use anyhow::Result;
use clap::ValueEnum;

use crate::{command, tool};

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
    /// The server and its client, together.
    Http,
}

impl Choice {
    /// Where the suite runs on it.
    fn package(self) -> Option<&'static str> {
        match self {
            Self::All => None,
            Self::Memory => Some("agentic-testkit"),
            Self::Sqlite => Some("agentic-store-sqlite"),
            Self::Http => Some("agentic-server"),
        }
    }
}

/// Runs the suite; a back end without a single case is an error.
pub(crate) fn run(choice: Choice) -> Result<()> {
    tool::NEXTEST.ensure()?;
    let chosen =
        |backend: &&Choice| backend.package().is_some() && (choice == Choice::All || choice == **backend);
    for backend in Choice::value_variants().iter().filter(chosen) {
        let package = backend.package().unwrap_or_default();
        let args = ["nextest", "run", "--locked", "--profile", "ci", "--no-tests", "fail"];
        let mut cargo = command::cargo(args);
        command::run(cargo.args([
            "--workspace",
            "-E",
            &format!("package({package}) and test(/^(conformance|model)::/)"),
        ]))?;
    }
    Ok(())
}

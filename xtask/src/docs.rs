//! `cargo xtask docs`: the documents that are generated from the code.

use anyhow::{Context, Result};
use clap::Args;

use crate::{command, tool};

/// The variable that lets the tests which hold these documents write them.
const WRITE: &str = "AGENTIC_WRITE_DOCS";
/// Those tests.
const TESTS: &str = "test(/the_reference_of_/)";

/// What to do with the documents.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Write nothing; fail where one is not as the code has it
    #[arg(long)]
    check: bool,
}

/// Writes the generated documents of `docs/reference`, or checks them.
pub(crate) fn run(options: &Options) -> Result<()> {
    tool::NEXTEST.ensure()?;
    let mut cargo = command::cargo(["nextest", "run", "--workspace", "--locked", "-E", TESTS]);
    if !options.check {
        cargo.env(WRITE, "1");
    }
    command::run(&mut cargo).context("cargo xtask docs writes them")
}

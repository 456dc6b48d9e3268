//! `cargo xtask ci`: what CI checks, step by step.

use anyhow::{Context, Result};
use clap::ValueEnum;

use crate::{
    backends, command, lockstep, prove, readme,
    redis::{Source, Topology},
    suite, tidy, tool,
};

/// The package that is a workspace of its own.
const APART: &str = "xtask/container/Cargo.toml";

/// One thing that CI checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Step {
    /// Code is formatted.
    Fmt,
    /// The rules of the house that a program can check.
    Tidy,
    /// Clippy has nothing to say.
    Clippy,
    /// The API documentation builds, without a broken link.
    Docs,
    /// Licences, sources, and who may depend on what.
    Deny,
    /// The README's first command, the demo, ends well.
    Demo,
    /// The commands in the documents exist, and those of the first guide run.
    Readme,
    /// Races for a limit, crashes between any two steps, what a budget overshoots.
    Prove,
    /// The suite on one Redis: in a container where Docker answers.
    Redis,
    /// The suite on a cluster of three nodes.
    Cluster,
    /// 100,000 random operations on SQLite and Redis beside memory.
    Lockstep,
    /// Every test; last, for its closing line.
    Test,
}

/// Runs the steps that are named, or all, and stops at the first that fails.
pub(crate) fn run(steps: &[Step]) -> Result<()> {
    for step in if steps.is_empty() { Step::value_variants() } else { steps } {
        let name = step.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
        eprintln!("== {name}");
        step.run().with_context(|| format!("{name} failed"))?;
    }
    Ok(())
}

impl Step {
    fn run(self) -> Result<()> {
        match self {
            Self::Fmt => {
                command::run(&mut command::cargo(["fmt", "--all", "--check"]))?;
                command::run(&mut command::cargo(["fmt", "--manifest-path", APART, "--check"]))
            }
            Self::Tidy => tidy::run(),
            Self::Clippy => {
                let args = ["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"];
                command::run(&mut command::cargo(args))?;
                let args = ["clippy", "--manifest-path", APART, "--target-dir", "target/container"];
                command::run(command::cargo(args).args(["--locked", "--", "-D", "warnings"]))
            }
            Self::Docs => {
                let mut cargo = command::cargo(["doc", "--workspace", "--no-deps", "--locked"]);
                command::run(cargo.env("RUSTDOCFLAGS", "-D warnings"))
            }
            Self::Deny => {
                tool::DENY.require()?;
                // The check reads every platform's dependencies, offline.
                for manifest in ["Cargo.toml", APART] {
                    let args = ["fetch", "--locked", "--quiet", "--manifest-path", manifest];
                    command::run(&mut command::cargo(args))?;
                }
                deny("Cargo.toml", "deny.toml", &["bans", "licenses", "sources"])?;
                deny(APART, "deny.toml", &["licenses", "sources"])?;
                deny(APART, "xtask/container/deny.toml", &["bans"])
            }
            Self::Demo => {
                command::run(&mut command::cargo(["run", "--locked", "-p", "agentic-cli", "--", "demo"]))
            }
            Self::Readme => readme::run(),
            Self::Prove => prove::run(&[]),
            Self::Redis => backends::run(&backends::Options::redis(Topology::Standalone, None)),
            Self::Cluster => backends::run(&backends::Options::redis(Topology::Cluster, None)),
            Self::Lockstep => lockstep::run(&lockstep::Options::fixed(Some(Source::Local))),
            Self::Test => suite::run(),
        }
    }
}

fn deny(manifest: &str, config: &str, what: &[&str]) -> Result<()> {
    let args = ["deny", "--offline", "--manifest-path", manifest, "--config", config, "check"];
    command::run(command::cargo(args).args(what))
}

//! Developer commands: `cargo xtask <command>`, the only task runner of the project.

mod backends;
mod bench;
mod ci;
mod command;
mod coverage;
mod docs;
mod guide;
mod lockstep;
mod port;
mod prove;
mod readme;
mod redis;
mod suite;
mod tidy;
mod tool;
mod torture;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Developer commands of agentic.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Everything that CI checks, or only the steps that are named.
    Ci {
        /// Steps to run, in this order; all of them when none is named.
        steps: Vec<ci::Step>,
    },
    /// Every test of the workspace, doctests too; ends with "N passed, N failed".
    Test,
    /// The conformance suite over the back ends.
    TestBackends(backends::Options),
    /// Random operations on SQLite and Redis beside memory: the same answers to each.
    Lockstep(lockstep::Options),
    /// The rules of the house that a program can check.
    Tidy,
    /// Speed, beside the machine's own limits. Arguments go to the benchmark; try `--help` after `--`.
    Bench {
        /// Arguments of the benchmark.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Proofs that need several processes: races for a limit, crashes between any two steps, what a budget overshoots.
    /// Arguments go to the proofs; try `--help` after `--`.
    Prove {
        /// Arguments of the proofs; all of them run when there are none.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Three servers and 64 agents on one Redis, left alone and then killed all the time; prints its figures.
    Torture(torture::TortureArgs),
    /// Line coverage of all tests; needs LLVM's tools.
    Coverage,
    /// Writes the documents that are generated from the code, `docs/reference/limits.md`.
    Docs(docs::Options),
}

fn main() -> ExitCode {
    let done = match Args::parse().command {
        Command::Ci { steps } => ci::run(&steps),
        Command::Test => suite::run(),
        Command::TestBackends(options) => backends::run(&options),
        Command::Lockstep(options) => lockstep::run(&options),
        Command::Tidy => tidy::run(),
        Command::Bench { args } => bench::run(&args),
        Command::Prove { args } => prove::run(&args),
        Command::Torture(args) => torture::run(&args),
        Command::Coverage => coverage::run(),
        Command::Docs(options) => docs::run(&options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

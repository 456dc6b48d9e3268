//! The command line.

mod agents;
mod budgets;
mod limits;
mod run;
mod tasks;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

pub(crate) use agents::{AgentArgs, AgentCommand};
pub(crate) use budgets::BudgetCommand;
pub(crate) use limits::{
    AllowanceCommand, AllowanceLimits, Cost, ImportArgs, LedgerCommand, ModelCommand, ModelLimits, Tier,
};
pub(crate) use run::{AgentFlags, BackupArgs, DemoArgs, GuardArgs, ServeArgs, UpArgs, WorkerArgs};
pub(crate) use tasks::{
    CancelArgs, EditArgs, ExplainArgs, ListArgs, LogsArgs, ShowArgs, SubmitArgs, TaskArg,
};

/// Hands development tasks to a fleet of AI agents and keeps them inside their budgets
///
/// Start a server with `agentic serve`, give it agents with `agentic worker`, and tasks with `agentic submit`.
/// `agentic demo` shows all of it in under a minute.
#[derive(Debug, Parser)]
#[command(name = "agentic", version, max_term_width = 100, disable_help_subcommand = true)]
#[command(
    after_help = "Exit codes: 0 ok, 1 failed, 2 usage, 3 not found, 4 conflict, 5 unreachable, 6 refused by a limit."
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// What every command takes.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// Where the server is [default: http://localhost:8080]
    #[arg(long, global = true, value_name = "URL")]
    pub base_url: Option<String>,
    /// What says who is calling; other users of this machine can see it here, AGENTIC_TOKEN they cannot
    #[arg(long, global = true, value_name = "TOKEN")]
    pub token: Option<String>,
    /// Read this file of settings instead of the usual ones
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print for programs: JSON on standard output, errors as JSON on standard error
    #[arg(long, global = true)]
    pub json: bool,
    /// Say more; twice for everything
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the server: API, dispatcher, reaper, retention
    Serve(ServeArgs),
    /// Submit a task, or a file of them
    Submit(SubmitArgs),
    /// List tasks
    List(ListArgs),
    /// Show a task with its history
    Show(ShowArgs),
    /// Follow a task until it ends
    Logs(LogsArgs),
    /// Show the fleet at a glance
    Status,
    /// Say what a task's state means, or why a lane does not move: agent by agent, limit by limit
    Explain(ExplainArgs),
    /// Show the lanes that have a ready task, and why they are parked
    Lanes,
    /// Change a task that waits
    Edit(EditArgs),
    /// Call a task off
    Cancel(CancelArgs),
    /// Put a failed or cancelled task back
    Requeue(TaskArg),
    /// See and manage agents
    Agents(AgentArgs),
    /// See and set what agents may use
    Allowance {
        #[command(subcommand)]
        command: AllowanceCommand,
    },
    /// See and set what all agents together may use of a model
    Model {
        #[command(subcommand)]
        command: ModelCommand,
    },
    /// See and check what was charged and given back
    Ledger {
        #[command(subcommand)]
        command: LedgerCommand,
    },
    /// See and set further limits: of the fleet, a project, an agent or a model, over any window
    Budget {
        #[command(subcommand)]
        command: BudgetCommand,
    },
    /// Run an agent: a command, once for each task it is given
    Worker(WorkerArgs),
    /// Run the server and its agents in one process
    Up(UpArgs),
    /// Show everything in under a minute, on a fresh database, and check the outcome
    Demo(DemoArgs),
    /// See the settings
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Copy the database while it is in use
    Backup(BackupArgs),
    /// Print a completion script for a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// The process between a worker and its command
    #[command(hide = true)]
    Guard(GuardArgs),
    /// The simulated agent of the demo
    #[command(hide = true)]
    DemoAgent,
}

/// What to do with the settings.
#[derive(Debug, Clone, Copy, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Print every value and where it comes from; secrets are masked
    Show,
}

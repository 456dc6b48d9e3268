//! The commands about tasks.

use std::path::PathBuf;

use agentic_core::{
    amount::Amount,
    clock::Timestamp,
    id::{AgentId, Label, ModelName, ProjectName, TaskId},
    lane::Lane,
    task::{Priority, TaskStatus},
};
use clap::{ArgGroup, Args};

/// `submit`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("what").required(true).args(["title", "from"]))]
#[command(after_help = "A title that begins with a dash goes after `--`: agentic submit -- '-x is ignored'")]
pub(crate) struct SubmitArgs {
    /// What is to be done, in one line
    pub title: Option<String>,
    /// Submit the tasks in this file: .yaml, .json or .jsonl
    #[arg(long, value_name = "FILE", conflicts_with_all = [
        "description", "label", "priority", "model", "depends_on", "file", "max_retries", "not_before", "id",
        "estimated_tokens",
    ])]
    pub from: Option<PathBuf>,
    /// What is to be done, in full
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub description: Option<String>,
    /// What an agent must be capable of; repeat it, or separate with commas
    #[arg(long, value_name = "LABEL", value_delimiter = ',')]
    pub label: Vec<Label>,
    /// How urgent: critical, high, normal or low
    #[arg(long, default_value = "normal")]
    pub priority: Priority,
    /// Whose budget it is held against [default: the setting default_project]
    #[arg(long, value_name = "NAME")]
    pub project: Option<ProjectName>,
    /// The model it needs
    #[arg(long, value_name = "NAME")]
    pub model: Option<ModelName>,
    /// A task that must be completed first; repeat it, or separate with commas
    #[arg(long, value_name = "TASK", value_delimiter = ',')]
    pub depends_on: Vec<TaskId>,
    /// A file that it concerns; repeat it
    #[arg(long, value_name = "PATH")]
    pub file: Vec<String>,
    /// How many failed attempts are followed by another [default: 3]
    #[arg(long, value_name = "N")]
    pub max_retries: Option<u32>,
    /// Create it once, however often this is called; with --from, once for each place in the file
    #[arg(long, value_name = "KEY")]
    pub idempotency_key: Option<String>,
    /// Not before this instant (2026-01-31T12:00:00Z), or after this time (30m)
    #[arg(long, value_name = "WHEN")]
    pub not_before: Option<When>,
    /// How many tokens it is believed to take; reserved when it is given to an agent
    #[arg(long, value_name = "N")]
    pub estimated_tokens: Option<Amount>,
    /// Its id [default: the server makes one]
    #[arg(long, value_name = "TASK")]
    pub id: Option<TaskId>,
    /// Create nothing: say whether it would be taken, by whom, and what it would be held against
    #[arg(long)]
    pub dry_run: bool,
}

/// An instant, or a time from now.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum When {
    At(Timestamp),
    In(std::time::Duration),
}

impl When {
    /// The instant, or so long before `now`.
    pub(crate) fn before(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(at) => at,
            Self::In(delay) => now.minus(delay),
        }
    }

    /// The instant, seen from `now`.
    pub(crate) fn at(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(at) => at,
            Self::In(delay) => now.plus(delay),
        }
    }
}

impl std::str::FromStr for When {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(at) = text.parse() {
            return Ok(Self::At(at));
        }
        crate::config::duration::parse(text).map(Self::In).map_err(|_| {
            "write an instant such as 2026-01-31T12:00:00Z, or a time from now such as 30m".to_owned()
        })
    }
}

/// `list`.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// In this status: pending, in_progress, completed, blocked, failed or cancelled
    #[arg(long)]
    pub status: Option<TaskStatus>,
    /// With all of these labels; repeat it, or separate with commas
    #[arg(long, value_name = "LABEL", value_delimiter = ',')]
    pub label: Vec<Label>,
    /// Of this priority
    #[arg(long)]
    pub priority: Option<Priority>,
    /// Of this project
    #[arg(long, value_name = "NAME")]
    pub project: Option<ProjectName>,
    /// Held by this agent, or held by it when they ended
    #[arg(long, value_name = "AGENT")]
    pub claimed_by: Option<AgentId>,
    /// At most so many, oldest first
    #[arg(long, value_name = "N", default_value = "100", value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: u64,
    /// All of them
    #[arg(long, conflicts_with = "limit")]
    pub all: bool,
}

/// One task.
#[derive(Debug, Args)]
pub(crate) struct TaskArg {
    /// Its id
    pub task: TaskId,
}

/// `explain`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("what").required(true).args(["task", "lane"]))]
pub(crate) struct ExplainArgs {
    /// The task
    pub task: Option<TaskId>,
    /// Explain a lane, as `agentic lanes` prints it: labels|model|project, each of which may be empty
    #[arg(long)]
    pub lane: Option<Lane>,
    /// How many agents are told one by one; the others are counted
    #[arg(long, value_name = "N", default_value = "20", value_parser = at_most_a_thousand)]
    pub agents: usize,
}

/// Reads 0 to 1,000.
fn at_most_a_thousand(text: &str) -> Result<usize, String> {
    let count: Option<usize> = text.parse().ok().filter(|count| *count <= 1_000);
    count.ok_or_else(|| "must be 0 to 1000".to_owned())
}

/// `show`.
#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// Its id
    pub task: TaskId,
}

/// `logs`.
#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    /// Its id
    pub task: TaskId,
}

/// `edit`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("change").required(true).multiple(true).args([
    "priority", "label", "no_labels", "model", "not_before", "description", "block", "unblock",
]))]
pub(crate) struct EditArgs {
    /// Its id
    pub task: TaskId,
    /// How urgent
    #[arg(long)]
    pub priority: Option<Priority>,
    /// What an agent must be capable of, in the place of what it was; repeat it, or separate with commas
    #[arg(long, value_name = "LABEL", value_delimiter = ',')]
    pub label: Vec<Label>,
    /// Any agent may do it
    #[arg(long, conflicts_with = "label")]
    pub no_labels: bool,
    /// The model it needs
    #[arg(long, value_name = "NAME")]
    pub model: Option<ModelName>,
    /// Not before this instant (2026-01-31T12:00:00Z), or after this time (30m)
    #[arg(long, value_name = "WHEN")]
    pub not_before: Option<When>,
    /// What is to be done, in full
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub description: Option<String>,
    /// Let it wait until it is unblocked, for this reason
    #[arg(long, value_name = "REASON", allow_hyphen_values = true, conflicts_with_all = [
        "priority", "label", "no_labels", "model", "not_before", "description", "unblock",
    ])]
    pub block: Option<String>,
    /// End a block by hand
    #[arg(long, conflicts_with_all = ["priority", "label", "no_labels", "model", "not_before", "description"])]
    pub unblock: bool,
}

/// `cancel`.
#[derive(Debug, Args)]
pub(crate) struct CancelArgs {
    /// Its id
    pub task: TaskId,
    /// Why
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true,
        allow_hyphen_values = true
    )]
    pub reason: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_is_an_instant_or_a_time_from_now() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let at = |text: &str| text.parse::<When>().unwrap().at(now).to_string();
        assert_eq!(at("30m"), "2026-01-01T00:30:00.000Z");
        assert_eq!(at("2026-02-01T00:00:00Z"), "2026-02-01T00:00:00.000Z");
        assert_eq!("30m".parse::<When>().unwrap().before(now).to_string(), "2025-12-31T23:30:00.000Z");
        assert!("tomorrow".parse::<When>().is_err());
    }
}

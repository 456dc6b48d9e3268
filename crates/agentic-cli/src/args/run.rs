//! The commands that run something.

use std::{ffi::OsString, net::SocketAddr, path::PathBuf};

use agentic_core::id::{AgentId, Label, ModelName};
use clap::Args;
use serde_json::{Value, json};

/// `serve`.
#[derive(Debug, Clone, Args)]
pub(crate) struct ServeArgs {
    /// Listen on this address [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<SocketAddr>,
    /// Keep everything here: memory:, sqlite:PATH, redis://HOST, or http://HOST, a server that keeps it [default:
    /// sqlite: in the data directory]
    #[arg(long, value_name = "URL")]
    pub store: Option<String>,
    /// Keep agents here: memory:, sqlite:PATH or redis://HOST [default: in the store]
    #[arg(long, value_name = "URL")]
    pub registry: Option<String>,
    /// Keep allowances and what was used here: memory:, sqlite:PATH or redis://HOST [default: in the store]
    #[arg(long, value_name = "URL")]
    pub allowance: Option<String>,
    /// The server's own directory [default: $XDG_STATE_HOME/agentic]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Serve an address that others can reach without TLS: they can read tokens and tasks
    #[arg(long)]
    pub allow_plaintext: bool,
}

impl ServeArgs {
    /// What it sets, by key: key, value, flag.
    pub(crate) fn settings(&self) -> Vec<(&'static str, Value, &'static str)> {
        let mut set = Vec::new();
        set.extend(self.listen.map(|listen| ("listen", json!(listen), "--listen")));
        set.extend(self.allow_plaintext.then_some(("allow_plaintext", json!(true), "--allow-plaintext")));
        set.extend(store_settings(self.store.as_ref(), self.data_dir.as_ref()));
        set.extend(self.registry.as_ref().map(|url| ("registry", json!(url), "--registry")));
        set.extend(self.allowance.as_ref().map(|url| ("allowance", json!(url), "--allowance")));
        set
    }
}

fn store_settings(
    store: Option<&String>,
    data_dir: Option<&PathBuf>,
) -> impl Iterator<Item = (&'static str, Value, &'static str)> {
    let store = store.map(|url| ("store", json!(url), "--store"));
    store.into_iter().chain(data_dir.map(|dir| ("data_dir", json!(dir), "--data-dir")))
}

/// `worker`.
#[derive(Debug, Args)]
#[command(
    after_help = "The command gets the task as JSON on standard input and in the file AGENTIC_TASK_FILE. Exit code 0 \
completes the task with the end of its output; any other fails the attempt. It may append lines such as \
{\"progress\": 40} and {\"tokens_in\": 1200, \"tokens_out\": 300} (totals so far) to the file AGENTIC_REPORT_FILE, \
and watch the file AGENTIC_CONTROL_FILE: {\"directive\": \"wrap_up\", \"reason\": ..., \"remaining_tokens\": ...}, where \
the directive is continue, wrap_up (90 % of a limit is used) or stop."
)]
pub(crate) struct WorkerArgs {
    #[command(flatten)]
    pub agent: AgentFlags,
    /// The command and its arguments, after `--`
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

/// What an agent is.
#[derive(Debug, Args)]
pub(crate) struct AgentFlags {
    /// The agent's id [default: the setting agent_id]
    #[arg(long, value_name = "ID")]
    pub agent_id: Option<AgentId>,
    /// For people [default: the id]
    #[arg(long, value_name = "TEXT")]
    pub name: Option<String>,
    /// A label that it can serve; name several, repeat it, or separate with commas
    #[arg(long, value_name = "LABEL", value_delimiter = ',', num_args = 1..)]
    pub capability: Vec<Label>,
    /// How many attempts at once; 0 = unlimited
    #[arg(long, value_name = "N", default_value = "1")]
    pub max_load: u32,
    /// A model that it can use, the default first; none = any
    #[arg(long, value_name = "MODEL", value_delimiter = ',', num_args = 1..)]
    pub model: Vec<ModelName>,
    /// Where the command runs [default: the working directory]
    #[arg(long, value_name = "DIR")]
    pub workdir: Option<PathBuf>,
}

impl AgentFlags {
    /// What it sets, by key: key, value, flag.
    pub(crate) fn settings(&self) -> Vec<(&'static str, Value, &'static str)> {
        self.agent_id.iter().map(|id| ("agent_id", json!(id), "--agent-id")).collect()
    }
}

/// `guard`: started by a worker only.
#[derive(Debug, Args)]
pub(crate) struct GuardArgs {
    /// What the command reads
    pub input: PathBuf,
    /// The command and its arguments
    #[arg(last = true, required = true)]
    pub command: Vec<OsString>,
}

/// `up`.
#[derive(Debug, Args)]
#[command(after_help = "Without a command, the agents are those of the setting `agents`.")]
pub(crate) struct UpArgs {
    #[command(flatten)]
    pub serve: ServeArgs,
    #[command(flatten)]
    pub agent: AgentFlags,
    /// The command and its arguments, after `--`
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

/// `demo`.
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Keep the database and the logs in this directory [default: a fresh one that is removed]
    #[arg(long, value_name = "DIR")]
    pub keep: Option<PathBuf>,
}

/// `backup`.
#[derive(Debug, Args)]
pub(crate) struct BackupArgs {
    /// The file to write; it must not exist
    #[arg(value_name = "FILE")]
    pub to: PathBuf,
    /// The store to copy: sqlite:PATH [default: as serve]
    #[arg(long, value_name = "URL")]
    pub store: Option<String>,
    /// The server's own directory [default: $XDG_STATE_HOME/agentic]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
}

impl BackupArgs {
    /// What it sets, by key: key, value, flag.
    pub(crate) fn settings(&self) -> Vec<(&'static str, Value, &'static str)> {
        store_settings(self.store.as_ref(), self.data_dir.as_ref()).collect()
    }
}

//! How a worker runs its agent.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use agentic_core::{
    agent::AgentSpec,
    engine::ledger::MAX_BEAT,
    error::{Error, Result},
};

/// What a worker runs, and how patient it is.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct WorkerConfig {
    /// The agent that it registers; a `max_load` of 0 is held to the 1,000 attempts that one heartbeat can name.
    pub agent: AgentSpec,
    /// The program and its arguments. Nothing of a task is ever added to them.
    pub command: Vec<OsString>,
    /// Where the command runs; absent = where the worker does.
    pub workdir: Option<PathBuf>,
    /// The program and first arguments that end in [`crate::guard::main`], so that the tree dies with a worker that is
    /// killed; absent = no guard.
    pub guard: Option<Vec<OsString>>,
    /// The server's address, for the command.
    pub base_url: String,
    /// The time between two heartbeats; 10 s.
    pub heartbeat: Duration,
    /// How long one request for assignments waits; 30 s.
    pub poll: Duration,
    /// The time between SIGTERM and SIGKILL, never longer than the lease; 10 s.
    pub grace: Duration,
    /// How long running attempts may go on after a drain began; 30 s.
    pub drain_grace: Duration,
    /// How long the result of an ended attempt is offered to a server that is away; 10 minutes.
    pub settle: Duration,
}

impl WorkerConfig {
    /// A worker of `agent` that runs `command`, with the defaults.
    pub fn new(
        agent: AgentSpec,
        command: impl IntoIterator<Item = impl Into<OsString>>,
        base_url: impl Into<String>,
    ) -> Self {
        Self {
            agent,
            command: command.into_iter().map(Into::into).collect(),
            workdir: None,
            guard: None,
            base_url: base_url.into(),
            heartbeat: Duration::from_secs(10),
            poll: Duration::from_secs(30),
            grace: Duration::from_secs(10),
            drain_grace: Duration::from_secs(30),
            settle: Duration::from_mins(10),
        }
    }

    /// Refuses what cannot run.
    pub(crate) fn validate(&self) -> Result<()> {
        self.agent.validate()?;
        if self.command.is_empty() {
            return Err(Error::invalid("command", "must name a program"));
        }
        if self.heartbeat.is_zero() {
            return Err(Error::invalid("heartbeat", "must be longer than nothing"));
        }
        Ok(())
    }

    /// How many attempts it runs at once.
    pub(crate) fn max_load(&self) -> usize {
        match usize::try_from(self.agent.max_load) {
            Ok(0) | Err(_) => MAX_BEAT,
            Ok(load) => load.min(MAX_BEAT),
        }
    }
}

//! What a worker needs of its server.

use std::{fmt, time::Duration};

use agentic_client::Client;
use agentic_core::{
    agent::AgentInfo,
    allowance::{UsageAnswer, UsageReport},
    api::{CompleteTask, HeartbeatAnswer, HeartbeatBody, PatchTask, RegisterAgent, ReleaseTask, TaskMessage},
    error::{Error, Kind, Result},
    id::{AgentId, TaskId},
    task::Task,
};
use async_trait::async_trait;
use tokio::time::timeout;

/// How long a call may take.
pub(crate) const CALL: Duration = Duration::from_secs(10);

/// The server's API as far as a worker uses it (design §10); [`Client`] is one.
#[async_trait]
pub trait Api: fmt::Debug + Send + Sync + 'static {
    /// Registers a new start of an agent.
    async fn register_agent(&self, agent: &RegisterAgent) -> Result<AgentInfo>;

    /// Says that the agent lives and what it runs; the answer has a directive for each attempt.
    async fn heartbeat(&self, agent: &AgentId, body: &HeartbeatBody) -> Result<HeartbeatAnswer>;

    /// Waits at most `wait` for attempts that are assigned to this start of the agent and not started.
    async fn assignments(&self, agent: &AgentId, incarnation: u64, wait: Duration) -> Result<Vec<Task>>;

    /// Starts an attempt, or says how far it is.
    async fn patch_task(&self, task: &TaskId, patch: &PatchTask) -> Result<Task>;

    /// Ends an attempt, well or badly.
    async fn complete_task(&self, task: &TaskId, complete: &CompleteTask) -> Result<TaskMessage>;

    /// Gives an attempt back unburnt.
    async fn release_task(&self, task: &TaskId, release: &ReleaseTask) -> Result<TaskMessage>;

    /// Says what a job used so far.
    async fn report_usage(&self, report: &UsageReport) -> Result<UsageAnswer>;

    /// Asks for no more work.
    async fn drain(&self, agent: &AgentId) -> Result<()>;
}

#[async_trait]
impl Api for Client {
    async fn register_agent(&self, agent: &RegisterAgent) -> Result<AgentInfo> {
        Self::register_agent(self, agent).await
    }

    async fn heartbeat(&self, agent: &AgentId, body: &HeartbeatBody) -> Result<HeartbeatAnswer> {
        Self::heartbeat(self, agent, body).await
    }

    async fn assignments(&self, agent: &AgentId, incarnation: u64, wait: Duration) -> Result<Vec<Task>> {
        Self::assignments(self, agent, incarnation, wait).await
    }

    async fn patch_task(&self, task: &TaskId, patch: &PatchTask) -> Result<Task> {
        Self::patch_task(self, task, patch).await
    }

    async fn complete_task(&self, task: &TaskId, complete: &CompleteTask) -> Result<TaskMessage> {
        Self::complete_task(self, task, complete).await
    }

    async fn release_task(&self, task: &TaskId, release: &ReleaseTask) -> Result<TaskMessage> {
        Self::release_task(self, task, release).await
    }

    async fn report_usage(&self, report: &UsageReport) -> Result<UsageAnswer> {
        Self::report_usage(self, report).await
    }

    async fn drain(&self, agent: &AgentId) -> Result<()> {
        Self::drain(self, agent).await
    }
}

/// Bounds a call: one that takes longer than `limit` is answered with `Unavailable`.
pub(crate) async fn bounded<T>(limit: Duration, call: impl Future<Output = Result<T>> + Send) -> Result<T> {
    timeout(limit, call).await.unwrap_or_else(|_| Err(Error::unavailable("the server")))
}

/// Whether the same call may get another answer later. A server that failed (`Backend`), or in whose place something
/// else answered (no such `Route`), may recover, and what an attempt brought is worth another try.
pub(crate) fn worth_retrying(error: &Error) -> bool {
    matches!(
        error,
        Error::Unavailable { .. } | Error::Backend { .. } | Error::NotFound { kind: Kind::Route, .. }
    )
}

/// The pauses between two tries, with jitter, without an end: 100 ms to 5 s, doubling.
pub(crate) fn pauses() -> impl Iterator<Item = Duration> + Send {
    use backon::BackoffBuilder;
    backon::ExponentialBuilder::new()
        .with_min_delay(Duration::from_millis(100))
        .with_max_delay(Duration::from_secs(5))
        .with_jitter()
        .without_max_times()
        .build()
}

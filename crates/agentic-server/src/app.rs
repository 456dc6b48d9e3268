//! What every handler works with.

use std::time::Duration;

use agentic_core::error::{Error, Result};
use agentic_dispatch::{AgentService, AllowanceService, Fleet, TaskService};
use tokio_util::sync::CancellationToken;

use crate::auth::Digest;

/// The fleet, and how it is served; clones share it.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) fleet: Fleet,
    pub(crate) admin: Digest,
    pub(crate) timeout: Duration,
    /// How far the clock of a caller of `/internal/v1` may be from ours; `None` = any.
    pub(crate) max_skew: Option<Duration>,
    /// Cancelled when the server is to end: what waits or streams ends at once.
    pub(crate) stop: CancellationToken,
}

impl App {
    pub(crate) fn tasks(&self) -> TaskService {
        self.fleet.tasks()
    }

    pub(crate) fn agents(&self) -> AgentService {
        self.fleet.agents()
    }

    pub(crate) fn allowances(&self) -> AllowanceService {
        self.fleet.allowances()
    }

    /// Waits for `answer`, but not beyond the end of the server.
    ///
    /// # Errors
    /// Those of `answer`; `Unavailable` when the server ends first.
    pub(crate) async fn until_stopped<T>(&self, answer: impl Future<Output = Result<T>>) -> Result<T> {
        let answer = self.stop.run_until_cancelled(answer).await;
        answer.unwrap_or_else(|| Err(Error::unavailable("a server that is shutting down")))
    }
}

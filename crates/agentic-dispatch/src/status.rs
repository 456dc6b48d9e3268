//! The fleet at a glance.

use agentic_core::{error::Result, id::AgentId, status::StatusSummary};

use crate::fleet::Fleet;

impl Fleet {
    /// Agents with their loads, tasks by status, and tokens left today for each agent that has a daily limit.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn status(&self) -> Result<StatusSummary> {
        let agents = self.agents().list().await?;
        let ids: Vec<AgentId> = agents.iter().map(|agent| agent.id.clone()).collect();
        let allowance_remaining = self.allowances().remaining(&ids).await?;
        Ok(StatusSummary { agents, tasks: self.tasks().counts().await?, allowance_remaining })
    }
}

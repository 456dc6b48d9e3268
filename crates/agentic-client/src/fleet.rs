//! The fleet as a whole, over HTTP.

use agentic_core::{api::LaneBody, error::Result, status::StatusSummary};

use crate::Client;

impl Client {
    /// Reads the lanes that have a ready task, in the order of their heads.
    pub async fn lanes(&self) -> Result<Vec<LaneBody>> {
        self.get(&["api", "lanes"]).list().await
    }

    /// Reads the fleet at a glance.
    pub async fn status(&self) -> Result<StatusSummary> {
        self.get(&["api", "status"]).answer().await
    }

    /// Whether the server is there and well; needs no token.
    pub async fn health(&self) -> Result<()> {
        self.get(&["v1", "health"]).done().await
    }
}

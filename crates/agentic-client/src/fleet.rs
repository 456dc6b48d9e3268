//! The fleet as a whole, over HTTP.

use agentic_core::{
    api::LaneBody, error::Result, explain::LaneExplanation, lane::Lane, status::StatusSummary,
};

use crate::Client;

impl Client {
    /// Reads the lanes that have a ready task, in the order of their heads.
    pub async fn lanes(&self) -> Result<Vec<LaneBody>> {
        self.get(&["api", "lanes"]).list().await
    }

    /// Says why nothing moves in a lane, and what at most `agents` agents could do about its head.
    pub async fn explain_lane(&self, lane: &Lane, agents: usize) -> Result<LaneExplanation> {
        self.get(&["api", "lanes", "explain"]).query("lane", lane).query("agents", agents).answer().await
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

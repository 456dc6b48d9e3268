//! The port of agents.

use std::{fmt, time::Duration};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::{
    agent::{AgentInfo, AgentSpec},
    clock::Timestamp,
    error::Result,
    id::AgentId,
};

/// Registers one start of an agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Register {
    /// What it says of itself.
    pub agent: AgentSpec,
    /// When.
    pub now: Timestamp,
}

/// Says that an agent lives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// Which.
    pub agent_id: AgentId,
    /// Which start of it; `None` = whichever is current.
    pub incarnation: Option<u64>,
    /// When.
    pub now: Timestamp,
}

/// Stops or resumes giving work to an agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SetDraining {
    /// Which.
    pub agent_id: AgentId,
    /// Whether it is to get no more work.
    pub draining: bool,
    /// When.
    pub now: Timestamp,
}

/// Marks silent agents offline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reap {
    /// Silent for longer than this.
    pub ttl: Duration,
    /// At most so many in one step.
    pub limit: usize,
    /// When.
    pub now: Timestamp,
}

/// The registered agents. Every transition appends its events in its own transaction.
#[async_trait]
pub trait AgentRegistry: fmt::Debug + Send + Sync + 'static {
    /// Creates or replaces an agent, as available and not draining, under its next incarnation.
    ///
    /// # Atomicity
    /// One step; `registered_at` is that of the first (`register_is_an_upsert`). Incarnations never repeat, not
    /// even over a deregistration (`incarnations_never_repeat`).
    ///
    /// # Errors
    /// `Unavailable`.
    async fn register(&self, register: Register) -> Result<AgentInfo>;

    /// Removes an agent. Its running attempts end with their leases.
    ///
    /// # Errors
    /// `NotFound`.
    async fn deregister(&self, id: &AgentId, now: Timestamp) -> Result<()>;

    /// Reads an agent.
    ///
    /// # Errors
    /// `NotFound`.
    async fn get(&self, id: &AgentId) -> Result<AgentInfo>;

    /// Reads all agents, ascending by id.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn list(&self) -> Result<Vec<AgentInfo>>;

    /// Notes that an agent lives; an offline one is available again (`heartbeat_brings_back`).
    ///
    /// # Errors
    /// `NotFound`; `Conflict` `stale_incarnation` (`an_older_incarnation_is_refused`).
    async fn heartbeat(&self, heartbeat: Heartbeat) -> Result<AgentInfo>;

    /// Stops or resumes giving work to an agent. Idempotent.
    ///
    /// # Errors
    /// `NotFound`.
    async fn set_draining(&self, set: SetDraining) -> Result<AgentInfo>;

    /// Marks agents offline that were silent for longer than the TTL; answers their ids, ascending
    /// (`reap_marks_the_silent`). An agent silent for exactly the TTL is not.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn reap(&self, reap: Reap) -> Result<Vec<AgentId>>;
}

//! Agents over HTTP.

use std::time::Duration;

use agentic_core::{
    agent::AgentInfo,
    api::{HeartbeatAnswer, HeartbeatBody, RegisterAgent},
    error::Result,
    id::AgentId,
    task::{Task, whole_secs},
};
use reqwest::Method;

use crate::Client;

impl Client {
    /// Reads all agents, ascending by id.
    pub async fn agents(&self) -> Result<Vec<AgentInfo>> {
        self.get(&["api", "agents"]).list().await
    }

    /// Reads an agent.
    pub async fn agent(&self, id: &AgentId) -> Result<AgentInfo> {
        self.get(&["api", "agents", id.as_str()]).answer().await
    }

    /// Registers one start of an agent, under its next incarnation.
    pub async fn register_agent(&self, agent: &RegisterAgent) -> Result<AgentInfo> {
        self.post(&["api", "agents"]).body(agent)?.answer().await
    }

    /// Removes an agent.
    pub async fn deregister_agent(&self, id: &AgentId) -> Result<()> {
        self.call(Method::DELETE, &["api", "agents", id.as_str()]).done().await
    }

    /// Says that an agent lives, and what its attempts used so far; repeated, as figures are cumulative.
    pub async fn heartbeat(&self, id: &AgentId, beat: &HeartbeatBody) -> Result<HeartbeatAnswer> {
        self.post(&["api", "agents", id.as_str(), "heartbeat"]).repeat_if(true).body(beat)?.answer().await
    }

    /// Gives an agent no more work; repeated.
    pub async fn drain(&self, id: &AgentId) -> Result<()> {
        self.post(&["api", "agents", id.as_str(), "drain"]).repeat_if(true).done().await
    }

    /// Gives an agent work again; repeated.
    pub async fn resume(&self, id: &AgentId) -> Result<()> {
        self.post(&["api", "agents", id.as_str(), "resume"]).repeat_if(true).done().await
    }

    /// Reads the attempts assigned to one start of an agent and not started, waiting up to `wait` (in whole seconds,
    /// rounded up) for the first.
    pub async fn assignments(&self, id: &AgentId, incarnation: u64, wait: Duration) -> Result<Vec<Task>> {
        let wait = whole_secs(wait);
        let call = self.get(&["api", "agents", id.as_str(), "assignments"]);
        let call = call.query("incarnation", incarnation).query("wait", wait).wait(Duration::from_secs(wait));
        call.answer().await
    }
}

//! Agents: the JSON text that `scripts/lib/agents.lua` keeps.

use agentic_core::{
    agent::{AgentInfo, AgentSpec},
    engine::AgentRow,
    error::Result,
};
use serde::Deserialize;
use serde_json::json;

use crate::error::unreadable;

/// The part of the record that tells whether the agent was removed.
#[derive(Deserialize)]
struct Mark {
    deregistered: bool,
}

/// An agent from its record.
pub(crate) fn agent_row(json: &str) -> Result<AgentRow> {
    let info: AgentInfo = serde_json::from_str(json).map_err(unreadable)?;
    let Mark { deregistered } = serde_json::from_str(json).map_err(unreadable)?;
    Ok(AgentRow { info, deregistered })
}

/// The end of an agent's record: what it says of itself, and the closing brace.
pub(crate) fn record_rest(agent: &AgentSpec) -> String {
    let name = if agent.name.is_empty() { agent.id.as_str() } else { &agent.name };
    let rest = json!({
        "id": agent.id,
        "name": name,
        "capabilities": agent.capabilities,
        "models": agent.models,
        "current_load": 0,
        "max_load": agent.max_load,
    });
    rest.to_string().trim_start_matches('{').to_owned()
}

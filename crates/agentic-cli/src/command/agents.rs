//! `agentic agents`.

use agentic_core::{agent::AgentInfo, id::AgentId};
use serde_json::json;

use crate::{
    args::AgentCommand,
    failure::Failure,
    output::{Table, ago, list_or_dash},
    session::Session,
};

/// Shows and manages agents.
pub(crate) async fn agents(session: &Session, command: Option<AgentCommand>) -> Result<(), Failure> {
    let client = session.client()?;
    match command.unwrap_or(AgentCommand::List) {
        AgentCommand::List => {
            let agents = client.agents().await?;
            if agents.is_empty() {
                session.printer.note("no agent is registered: start one with `agentic worker`");
            }
            print(session, &agents)
        }
        AgentCommand::Show { agent } => {
            let agent = client.agent(&agent).await?;
            if session.printer.is_json { session.printer.json(&agent) } else { print(session, &[agent]) }
        }
        AgentCommand::Drain { agent } => {
            client.drain(&agent).await?;
            told(session, &agent, "draining", "gets no more work; what it runs goes on")
        }
        AgentCommand::Resume { agent } => {
            client.resume(&agent).await?;
            told(session, &agent, "resumed", "gets work again")
        }
        AgentCommand::Remove { agent } => {
            client.deregister_agent(&agent).await?;
            told(session, &agent, "removed", "is forgotten; what it runs ends with its leases")
        }
    }
}

fn told(session: &Session, agent: &AgentId, done: &str, text: &str) -> Result<(), Failure> {
    if session.printer.is_json {
        return session.printer.json(&json!({ "agent_id": agent, "done": done }));
    }
    session.printer.line(&format!("{agent} {text}"))
}

fn print(session: &Session, agents: &[AgentInfo]) -> Result<(), Failure> {
    if session.printer.is_json {
        return session.printer.json(agents);
    }
    let now = session.now();
    let mut table =
        Table::new(&["AGENT", "STATUS", "LOAD", "CAPABILITIES", "MODELS", "HEARD", "START", "NAME"]);
    for agent in agents {
        let max = if agent.max_load == 0 { "unlimited".to_owned() } else { agent.max_load.to_string() };
        table.row([
            agent.id.to_string(),
            if agent.draining { format!("{} (draining)", agent.status) } else { agent.status.to_string() },
            format!("{}/{max}", agent.current_load),
            list_or_dash(&agent.capabilities),
            if agent.models.is_empty() { "any".to_owned() } else { list_or_dash(&agent.models) },
            format!("{} ago", ago(agent.last_heartbeat, now)),
            agent.incarnation.to_string(),
            agent.name.clone(),
        ]);
    }
    if table.is_empty() { Ok(()) } else { session.printer.table(table) }
}

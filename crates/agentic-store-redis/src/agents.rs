//! The port of agents.

use agentic_core::{
    agent::AgentInfo,
    clock::Timestamp,
    error::{Error, Kind, Result},
    id::AgentId,
    port::{AgentRegistry, Heartbeat, Reap, Register, SetDraining},
};
use async_trait::async_trait;

use crate::{
    args::Args,
    heartbeats::{self, sign_of_life},
    reply::Reply,
    rows::{agent_row, record_rest},
    script,
    store::{Answer, RedisStore},
};

/// How many agents one step of a listing reads.
const PAGE: usize = 250;

/// How many agents one step marks offline.
const STEP: usize = 50;

fn missing(id: &AgentId) -> Error {
    Error::not_found(Kind::Agent, id)
}

fn info(mut reply: Reply) -> Result<AgentInfo> {
    Ok(agent_row(&reply.text()?)?.info)
}

#[async_trait]
impl AgentRegistry for RedisStore {
    async fn register(&self, register: Register) -> Result<AgentInfo> {
        let Register { agent, now } = &register;
        agent.validate()?;
        let args =
            Args::at(*now).value(&agent.id).value(now).value(sign_of_life(self)).value(record_rest(agent));
        info(self.ask(&script::REGISTER, args).await?)
    }

    async fn deregister(&self, id: &AgentId, now: Timestamp) -> Result<()> {
        match self.run(&script::DEREGISTER, Args::at(now).value(id)).await? {
            Answer::NotFound => Err(missing(id)),
            other => other.ok().map(drop),
        }
    }

    async fn get(&self, id: &AgentId) -> Result<AgentInfo> {
        let json = self.command("GET", &format!("agent:{id}"), &[]).await?.into_string();
        let row = json.map(|json| agent_row(&json)).transpose()?.filter(|row| !row.deregistered);
        row.map(|row| row.info).ok_or_else(|| missing(id))
    }

    async fn list(&self) -> Result<Vec<AgentInfo>> {
        let mut agents: Vec<AgentInfo> = Vec::new();
        loop {
            let args = Args::timeless().maybe(agents.last().map(|agent| &agent.id)).value(PAGE);
            let page = self.ask(&script::AGENTS, args).await?.list()?.into_texts()?;
            let full = page.len() == PAGE;
            for json in page {
                agents.push(agent_row(&json)?.info);
            }
            if !full {
                return Ok(agents);
            }
        }
    }

    async fn heartbeat(&self, heartbeat: Heartbeat) -> Result<AgentInfo> {
        Ok(heartbeats::hear(self, heartbeat).await?.0)
    }

    async fn set_draining(&self, set: SetDraining) -> Result<AgentInfo> {
        let args = Args::at(set.now).value(&set.agent_id).value(set.draining);
        match self.run(&script::SET_DRAINING, args).await? {
            Answer::NotFound => Err(missing(&set.agent_id)),
            other => info(other.ok()?),
        }
    }

    async fn reap(&self, reap: Reap) -> Result<Vec<AgentId>> {
        let mut ids: Vec<AgentId> = Vec::new();
        loop {
            let step = STEP.min(reap.limit - ids.len());
            let args = Args::at(reap.now).time(reap.now.minus(reap.ttl)).value(step);
            let found = self.ask(&script::REAP, args).await?.list()?.into_texts()?;
            for id in &found {
                ids.push(id.parse()?);
            }
            if found.len() < step || ids.len() == reap.limit {
                ids.sort_unstable();
                return Ok(ids);
            }
        }
    }
}

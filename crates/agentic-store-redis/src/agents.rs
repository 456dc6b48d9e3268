//! The port of agents.

use agentic_core::{
    agent::AgentInfo,
    clock::Timestamp,
    engine::agents,
    error::{Error, Kind, Result},
    id::AgentId,
    port::{AgentRegistry, Heartbeat, Reap, Register, SetDraining},
};
use async_trait::async_trait;

use crate::{
    args::Args,
    reply::Reply,
    rows::{Snapshot, agent_row, record_rest, refused},
    script,
    store::{Answer, RedisStore},
};

/// How many agents one step of a listing reads.
const PAGE: usize = 500;

/// How many agents one step marks offline.
const STEP: usize = 100;

/// Three heartbeats, in milliseconds: what a sign of life lasts.
fn sign_of_life(store: &RedisStore) -> u128 {
    (store.inner.options.heartbeat * 3).as_millis().max(1)
}

fn missing(id: &AgentId) -> Error {
    Error::not_found(Kind::Agent, id)
}

fn info(mut reply: Reply) -> Result<AgentInfo> {
    Ok(agent_row(&reply.text()?)?.info)
}

/// What `heartbeat.lua` takes, and `beat.lua` before its attempts.
pub(crate) fn heartbeat_args(store: &RedisStore, heartbeat: &Heartbeat) -> Args {
    let Heartbeat { agent_id, incarnation, now } = heartbeat;
    Args::at(*now).value(agent_id).maybe(*incarnation).value(now).value(sign_of_life(store))
}

/// The agent of which one of the two heard, and the rest of the answer: its load, and that of the attempts.
pub(crate) fn heard(answer: Answer, heartbeat: &Heartbeat) -> Result<(AgentInfo, Reply)> {
    match answer {
        Answer::NotFound => Err(missing(&heartbeat.agent_id)),
        Answer::Refused(mut reply) => {
            let mut rows = Snapshot::of_one(&mut reply, None)?;
            Err(refused(agents::heartbeat(&mut rows, heartbeat)))
        }
        other => {
            let mut reply = other.ok()?;
            Ok((agent_row(&reply.text()?)?.info, reply))
        }
    }
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
        let answer = self.run(&script::HEARTBEAT, heartbeat_args(self, &heartbeat)).await?;
        Ok(heard(answer, &heartbeat)?.0)
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

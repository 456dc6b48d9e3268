//! The port of agents.

use agentic_core::{
    agent::AgentInfo,
    clock::Timestamp,
    engine::{Rows, agents},
    error::{Error, Kind, Result},
    id::AgentId,
    port::{AgentRegistry, Heartbeat, Reap, Register, SetDraining},
};
use async_trait::async_trait;

use crate::{rows::agent, store::SqliteStore};

#[async_trait]
impl AgentRegistry for SqliteStore {
    async fn register(&self, register: Register) -> Result<AgentInfo> {
        self.write(move |rows| agents::register(rows, &register)).await
    }

    async fn deregister(&self, id: &AgentId, now: Timestamp) -> Result<()> {
        let id = id.clone();
        self.write(move |rows| agents::deregister(rows, &id, now)).await
    }

    async fn get(&self, id: &AgentId) -> Result<AgentInfo> {
        let id = id.clone();
        self.read(move |rows| {
            let row = rows.agent(&id)?.filter(|row| !row.deregistered);
            row.map(|row| row.info).ok_or_else(|| Error::not_found(Kind::Agent, &id))
        })
        .await
    }

    async fn list(&self) -> Result<Vec<AgentInfo>> {
        self.read(|rows| rows.sql.all(agent::AGENTS, [], |columns| Ok(agent::read(columns)?.info))).await
    }

    async fn heartbeat(&self, heartbeat: Heartbeat) -> Result<AgentInfo> {
        self.write(move |rows| agents::heartbeat(rows, &heartbeat)).await
    }

    async fn set_draining(&self, set: SetDraining) -> Result<AgentInfo> {
        self.write(move |rows| agents::set_draining(rows, &set)).await
    }

    async fn reap(&self, reap: Reap) -> Result<Vec<AgentId>> {
        self.write(move |rows| agents::reap(rows, &reap)).await
    }
}

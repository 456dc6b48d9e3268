//! The service of agents.

use std::time::Duration;

use agentic_core::{
    agent::AgentInfo,
    api::{AttemptDirective, HeartbeatAnswer, HeartbeatBody},
    clock::Timestamp,
    error::Result,
    id::{AgentId, JobId},
    port::{Beat, BeatAttempt, Heard, Ports, Register, SetDraining},
    task::Task,
};

use crate::fleet::Fleet;

/// The longest long poll.
pub const MAX_WAIT: Duration = Duration::from_mins(1);
/// The most assignments of one answer.
const MAX_ASSIGNMENTS: usize = 100;

/// What is done with agents.
#[derive(Debug, Clone)]
pub struct AgentService {
    fleet: Fleet,
}

impl AgentService {
    pub(crate) fn new(fleet: Fleet) -> Self {
        Self { fleet }
    }

    /// Registers one start of an agent, and forgets that an earlier start did not take its work.
    ///
    /// # Errors
    /// `Invalid`, `Unavailable`.
    pub async fn register(&self, agent: agentic_core::agent::AgentSpec) -> Result<AgentInfo> {
        let now = self.fleet.now();
        let info = self.fleet.ports().agents.register(Register { agent, now }).await?;
        self.fleet.unskip(&info.id).await?;
        with_load(self.fleet.ports(), info, self.fleet.now()).await
    }

    /// Removes an agent.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn deregister(&self, id: &AgentId) -> Result<()> {
        self.fleet.ports().agents.deregister(id, self.fleet.now()).await
    }

    /// Reads an agent with its load.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn get(&self, id: &AgentId) -> Result<AgentInfo> {
        let info = self.fleet.ports().agents.get(id).await?;
        with_load(self.fleet.ports(), info, self.fleet.now()).await
    }

    /// Reads all agents with their loads, ascending by id.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn list(&self) -> Result<Vec<AgentInfo>> {
        let mut agents = self.fleet.ports().agents.list().await?;
        let ids: Vec<AgentId> = agents.iter().map(|agent| agent.id.clone()).collect();
        let loads = self.fleet.ports().allowances.active_jobs(&ids, self.fleet.now()).await?;
        for (agent, load) in agents.iter_mut().zip(loads) {
            agent.set_load(load);
        }
        Ok(agents)
    }

    /// Notes that an agent lives, renews and charges what it runs, and says what each attempt is to do.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` `stale_incarnation`; `Invalid` for more than 1,000 attempts.
    pub async fn heartbeat(&self, id: &AgentId, body: HeartbeatBody) -> Result<HeartbeatAnswer> {
        let now = self.fleet.now();
        let attempts = body.attempts.into_iter().map(|running| BeatAttempt {
            job: JobId::new(running.task_id, running.attempt),
            figures: running.usage,
        });
        let beat =
            Beat { agent_id: id.clone(), incarnation: body.incarnation, attempts: attempts.collect(), now };
        let Heard { agent, answers } = self.fleet.ports().ledger.heartbeat(beat).await?;
        let directives = answers
            .into_iter()
            .map(|answer| AttemptDirective {
                task_id: answer.job.task,
                attempt: answer.job.attempt,
                directive: answer.directive,
                reason: answer.reason,
                // Rounded down: a worker must never believe in a lease that has ended.
                lease_secs: answer.lease_expires_at.map(|at| at.since(now).as_secs()),
                remaining_tokens: answer.remaining_tokens,
                cost_micros: answer.cost_micros,
                cost_source: answer.cost_source,
            })
            .collect();
        Ok(HeartbeatAnswer { agent, directives })
    }

    /// Stops or resumes giving work to an agent.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn set_draining(&self, id: &AgentId, draining: bool) -> Result<AgentInfo> {
        let set = SetDraining { agent_id: id.clone(), draining, now: self.fleet.now() };
        let info = self.fleet.ports().agents.set_draining(set).await?;
        with_load(self.fleet.ports(), info, self.fleet.now()).await
    }

    /// The attempts assigned to this start of an agent and not started; waits at most `wait` (cut at 60 s) for one.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` `stale_incarnation`.
    pub async fn assignments(&self, id: &AgentId, incarnation: u64, wait: Duration) -> Result<Vec<Task>> {
        let ports = self.fleet.ports();
        let info = ports.agents.get(id).await?;
        agentic_core::engine::agents::check_incarnation(&info, Some(incarnation))?;
        // It waits before it reads, so that what is assigned in between is noticed.
        let mut bell = self.fleet.desk().wait_at(&ports.events, id).await?;
        let deadline = tokio::time::Instant::now() + wait.min(MAX_WAIT);
        loop {
            let assigned = ports.tasks.assigned(id, incarnation, MAX_ASSIGNMENTS).await?;
            if !assigned.is_empty() || tokio::time::timeout_at(deadline, bell.changed()).await.is_err() {
                return Ok(assigned);
            }
        }
    }
}

/// Fills in how many attempts an agent has under way.
pub(crate) async fn with_load(ports: &Ports, mut info: AgentInfo, now: Timestamp) -> Result<AgentInfo> {
    let loads = ports.allowances.active_jobs(std::slice::from_ref(&info.id), now).await?;
    info.set_load(loads.first().copied().unwrap_or(0));
    Ok(info)
}

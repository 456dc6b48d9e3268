//! The rows that a script refused on: core's own transition says in its words why.

use std::collections::HashMap;

use agentic_core::{
    allowance::{AgentAllowance, ModelQuota},
    attempt::Attempt,
    budget::Budget,
    clock::Timestamp,
    engine::{AgentRow, Rows},
    error::{Error, Result},
    event::NewEvent,
    id::{AgentId, JobId, ModelName, TaskId},
    job::{Entry, Job, Move},
    lane::{Lane, Park},
    limit::{Held, MeterKey, Scope},
    machine::TaskRow,
    port::Wake,
};

use super::{agent_row, attempt, job, task_row};
use crate::reply::Reply;

/// What was read; what is put is dropped.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    tasks: HashMap<TaskId, TaskRow>,
    keys: HashMap<String, TaskId>,
    waiting: HashMap<TaskId, usize>,
    attempt: Option<Attempt>,
    job: Option<Job>,
    agent: Option<AgentRow>,
}

/// The error that core's transition ends with on the rows that a script refused on.
pub(crate) fn refused<T>(result: Result<T>) -> Error {
    match result {
        Err(error) => error,
        Ok(_) => Error::backend("a script refused what core allows; the step"),
    }
}

impl Snapshot {
    /// The rows of one task, one attempt, one job and one agent, as `no` of `scripts/lib/base.lua` answers them.
    pub(crate) fn of_one(reply: &mut Reply, about: Option<&JobId>) -> Result<Self> {
        let mut rows = Self::default();
        let cells = reply.cells()?;
        let mut latest = 0;
        if !cells.is_empty() {
            let row = task_row(&cells)?;
            latest = row.task.attempt;
            rows.tasks.insert(row.task.id.clone(), row);
        }
        let cells = reply.cells()?;
        if !cells.is_empty() {
            let id = match (about, rows.tasks.keys().next()) {
                (Some(id), _) => Some(id.clone()),
                (None, Some(task)) => Some(JobId::new(task.clone(), latest)),
                (None, None) => None,
            };
            rows.attempt = id.map(|id| attempt(id, &cells)).transpose()?;
        }
        let cells = reply.cells()?;
        if !cells.is_empty() {
            rows.job = Some(job(&cells)?);
        }
        rows.agent = reply.maybe()?.map(|json| agent_row(&json)).transpose()?;
        Ok(rows)
    }

    /// The rows that a batch was refused on.
    pub(crate) fn of_batch(reply: &mut Reply) -> Result<Self> {
        let mut rows = Self::default();
        for cells in reply.lists()? {
            let row = task_row(&cells.into_cells()?)?;
            rows.tasks.insert(row.task.id.clone(), row);
        }
        let mut keys = reply.list()?;
        while !keys.is_empty() {
            rows.keys.insert(keys.text()?, keys.parse()?);
        }
        let mut waiting = reply.list()?;
        while !waiting.is_empty() {
            rows.waiting.insert(waiting.parse()?, waiting.parse()?);
        }
        Ok(rows)
    }
}

impl Rows for Snapshot {
    fn task(&mut self, id: &TaskId) -> Result<Option<TaskRow>> {
        Ok(self.tasks.get(id).cloned())
    }

    fn put_task(&mut self, _: TaskRow) -> Result<()> {
        Ok(())
    }

    fn task_by_key(&mut self, key: &str) -> Result<Option<TaskId>> {
        Ok(self.keys.get(key).cloned())
    }

    /// As many as wait; their names are not asked for by what refuses.
    fn dependents(&mut self, id: &TaskId) -> Result<Vec<TaskId>> {
        Ok(vec![id.clone(); self.waiting.get(id).copied().unwrap_or_default()])
    }

    fn due(&mut self, _: Timestamp, _: usize) -> Result<Vec<TaskId>> {
        Ok(Vec::new())
    }

    fn attempt(&mut self, id: &JobId) -> Result<Option<Attempt>> {
        Ok(self.attempt.clone().filter(|attempt| attempt.id == *id))
    }

    fn put_attempt(&mut self, _: Attempt) -> Result<()> {
        Ok(())
    }

    fn park(&mut self, _: &Lane) -> Result<Option<Park>> {
        Ok(None)
    }

    fn put_park(&mut self, _: &Lane, _: Option<Park>) -> Result<()> {
        Ok(())
    }

    fn parked(&mut self, _: &Wake, _: usize) -> Result<Vec<Lane>> {
        Ok(Vec::new())
    }

    fn deferred(&mut self, _: usize) -> Result<Vec<TaskId>> {
        Ok(Vec::new())
    }

    fn wake(&mut self) -> Result<u64> {
        Ok(0)
    }

    fn bump_wake(&mut self) -> Result<()> {
        Ok(())
    }

    fn agent(&mut self, id: &AgentId) -> Result<Option<AgentRow>> {
        Ok(self.agent.clone().filter(|row| row.info.id == *id))
    }

    fn put_agent(&mut self, _: AgentRow) -> Result<()> {
        Ok(())
    }

    fn silent(&mut self, _: Timestamp, _: usize) -> Result<Vec<AgentId>> {
        Ok(Vec::new())
    }

    fn allowance(&mut self, _: &AgentId) -> Result<Option<AgentAllowance>> {
        Ok(None)
    }

    fn put_allowance(&mut self, _: &AgentId, _: Option<AgentAllowance>) -> Result<()> {
        Ok(())
    }

    fn quota(&mut self, _: &ModelName) -> Result<Option<ModelQuota>> {
        Ok(None)
    }

    fn put_quota(&mut self, _: &ModelName, _: Option<ModelQuota>) -> Result<()> {
        Ok(())
    }

    fn budget(&mut self, _: &Scope) -> Result<Option<Budget>> {
        Ok(None)
    }

    fn put_budget(&mut self, _: &Scope, _: Option<Budget>) -> Result<u64> {
        Ok(0)
    }

    fn job(&mut self, id: &JobId) -> Result<Option<Job>> {
        Ok(self.job.clone().filter(|job| job.id == *id))
    }

    fn put_job(&mut self, _: Job) -> Result<()> {
        Ok(())
    }

    fn reset_at(&mut self, _: &AgentId) -> Result<Option<Timestamp>> {
        Ok(None)
    }

    fn put_reset(&mut self, _: &AgentId, _: Timestamp) -> Result<()> {
        Ok(())
    }

    fn held(&mut self, _: &Scope, _: Timestamp) -> Result<Held> {
        Ok(Held::default())
    }

    fn buckets(&mut self, _: &MeterKey, _: i64, _: i64) -> Result<Vec<(i64, i64)>> {
        Ok(Vec::new())
    }

    fn add(&mut self, _: &Move) -> Result<()> {
        Ok(())
    }

    fn append_entry(&mut self, _: Entry) -> Result<()> {
        Ok(())
    }

    fn append_event(&mut self, _: NewEvent) -> Result<()> {
        Ok(())
    }
}

//! Every transition, written once over the rows that it touches.
//!
//! A back end that can read and write rows inside one transaction implements [`Rows`] and gets the transitions of
//! all ports from here: the memory back end over its maps, SQLite over its one writer. Each function validates
//! everything before it writes anything, so that a refusal leaves the rows as they were.

pub mod agents;
pub mod ledger;
pub mod tasks;

use crate::{
    agent::AgentInfo,
    allowance::{AgentAllowance, ModelQuota},
    attempt::Attempt,
    budget::Budget,
    clock::Timestamp,
    error::Result,
    event::NewEvent,
    id::{AgentId, JobId, ModelName, TaskId},
    job::{Entry, Job, Move},
    lane::{Lane, Park},
    limit::{Held, MeterKey, Scope},
    machine::TaskRow,
    port::Wake,
};

/// An agent with what only stores need to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentRow {
    /// The agent.
    pub info: AgentInfo,
    /// It was removed; the row stays, so that its incarnations never repeat.
    pub deregistered: bool,
}

/// The rows of one fleet inside one transaction: what is put is seen by the next read.
pub trait Rows {
    /// Reads a task.
    fn task(&mut self, id: &TaskId) -> Result<Option<TaskRow>>;
    /// Writes a task, new or changed, with its dependencies if it is new.
    fn put_task(&mut self, row: TaskRow) -> Result<()>;
    /// The task that an idempotency key created.
    fn task_by_key(&mut self, key: &str) -> Result<Option<TaskId>>;
    /// The tasks that wait or waited for this one, ascending by id.
    fn dependents(&mut self, id: &TaskId) -> Result<Vec<TaskId>>;
    /// The pending tasks whose time has come and that do not stand in their lane, earliest first, at most `limit`.
    fn due(&mut self, now: Timestamp, limit: usize) -> Result<Vec<TaskId>>;
    /// Reads an attempt.
    fn attempt(&mut self, id: &JobId) -> Result<Option<Attempt>>;
    /// Writes an attempt.
    fn put_attempt(&mut self, attempt: Attempt) -> Result<()>;
    /// Reads why a lane is parked.
    fn park(&mut self, lane: &Lane) -> Result<Option<Park>>;
    /// Parks or, with `None`, wakes a lane.
    fn put_park(&mut self, lane: &Lane, park: Option<Park>) -> Result<()>;
    /// The parked lanes that `wake` means, at most `limit`.
    fn parked(&mut self, wake: &Wake, limit: usize) -> Result<Vec<Lane>>;
    /// Tasks that are put off for themselves, at most `limit`.
    fn deferred(&mut self, limit: usize) -> Result<Vec<TaskId>>;
    /// The number of wake-ups so far.
    fn wake(&mut self) -> Result<u64>;
    /// Counts one more wake-up.
    fn bump_wake(&mut self) -> Result<()>;

    /// Reads an agent, removed ones too.
    fn agent(&mut self, id: &AgentId) -> Result<Option<AgentRow>>;
    /// Writes an agent.
    fn put_agent(&mut self, row: AgentRow) -> Result<()>;
    /// The agents that are not offline and were last heard of before `before`, ascending by id, at most `limit`.
    fn silent(&mut self, before: Timestamp, limit: usize) -> Result<Vec<AgentId>>;

    /// Reads an allowance.
    fn allowance(&mut self, agent: &AgentId) -> Result<Option<AgentAllowance>>;
    /// Writes or, with `None`, removes an allowance, and moves the revision of the limits on.
    fn put_allowance(&mut self, agent: &AgentId, allowance: Option<AgentAllowance>) -> Result<()>;
    /// Reads a quota.
    fn quota(&mut self, model: &ModelName) -> Result<Option<ModelQuota>>;
    /// Writes or, with `None`, removes a quota, and moves the revision of the limits on.
    fn put_quota(&mut self, model: &ModelName, quota: Option<ModelQuota>) -> Result<()>;

    /// Reads a budget.
    fn budget(&mut self, scope: &Scope) -> Result<Option<Budget>>;
    /// Writes or, with `None`, removes a budget, and moves the revision of the limits on; answers with the revision,
    /// which is the budget's version.
    fn put_budget(&mut self, scope: &Scope, budget: Option<Budget>) -> Result<u64>;

    /// Reads a job.
    fn job(&mut self, id: &JobId) -> Result<Option<Job>>;
    /// Writes a job.
    fn put_job(&mut self, job: Job) -> Result<()>;
    /// When an agent's day was last reset.
    fn reset_at(&mut self, agent: &AgentId) -> Result<Option<Timestamp>>;
    /// Notes when an agent's day was reset.
    fn put_reset(&mut self, agent: &AgentId, at: Timestamp) -> Result<()>;
    /// What the jobs live at `now` hold under a scope.
    fn held(&mut self, scope: &Scope, now: Timestamp) -> Result<Held>;
    /// The filled buckets of a meter from `from` to `to`, both included, ascending.
    fn buckets(&mut self, key: &MeterKey, from: i64, to: i64) -> Result<Vec<(i64, i64)>>;
    /// Moves a meter.
    fn add(&mut self, movement: &Move) -> Result<()>;
    /// Appends to the ledger what moved the meters.
    fn append_entry(&mut self, entry: Entry) -> Result<()>;

    /// Appends to the event log; the number is given in commit order.
    fn append_event(&mut self, event: NewEvent) -> Result<()>;
}

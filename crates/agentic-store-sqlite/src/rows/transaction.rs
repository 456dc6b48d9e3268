//! The engine's [`Rows`] inside one SQLite transaction.

use std::collections::BTreeMap;

use agentic_core::{
    allowance::{AgentAllowance, ModelQuota},
    attempt::Attempt,
    clock::Timestamp,
    engine::{AgentRow, Rows},
    error::Result,
    event::{EventId, NewEvent},
    id::{AgentId, JobId, ModelName, TaskId},
    job::{Entry, Job, Move},
    lane::{Lane, Park},
    limit::{Held, MeterKey, Scope},
    machine::TaskRow,
    port::Wake,
};

use super::{
    agent, attempt,
    held::HeldSpan,
    job, limits, log,
    meter::Meters,
    park,
    task::{self, Change, StoredTask},
};
use crate::sql::{Sql, column, count};

pub(crate) const COUNTER: &str = "SELECT value FROM counters WHERE name = ?1";
const COUNT: &str = "UPDATE counters SET value = value + 1 WHERE name = ?1";

/// The rows of one transaction. Nothing of it outlives the transaction, so that other processes may write the file.
///
/// What is put is kept here, and written by [`SqliteRows::flush`]: a row that several commands of a batch change is
/// written once, and rows of one table by few statements. A query over a table writes first what it must see.
#[derive(Debug)]
pub(crate) struct SqliteRows<'c> {
    pub(crate) sql: Sql<'c>,
    tasks: BTreeMap<TaskId, TaskSlot>,
    fresh_tasks: bool,
    next_seq: Option<i64>,
    attempts: BTreeMap<JobId, Slot<Attempt>>,
    jobs: BTreeMap<JobId, Slot<Job>>,
    agents: BTreeMap<AgentId, Slot<AgentRow>>,
    held: BTreeMap<Scope, HeldSpan>,
    meters: Meters,
    entries: Vec<Entry>,
    events: Vec<NewEvent>,
    last_event: Option<EventId>,
    writes: usize,
}

/// A row that was read or put; `None` where there is none.
#[derive(Debug)]
struct Slot<T> {
    row: Option<T>,
    dirty: bool,
}

/// A task that was read or put, and how it stands in the table.
#[derive(Debug, Default)]
struct TaskSlot {
    stored: Option<StoredTask>,
    put: Option<TaskRow>,
}

impl TaskSlot {
    fn row(&self) -> Option<&TaskRow> {
        self.put.as_ref().or(self.stored.as_ref().map(|stored| &stored.row))
    }
}

impl<'c> SqliteRows<'c> {
    /// The rows that `sql`'s present transaction sees.
    pub(crate) fn new(sql: Sql<'c>) -> Self {
        Self {
            sql,
            tasks: BTreeMap::new(),
            fresh_tasks: false,
            next_seq: None,
            attempts: BTreeMap::new(),
            jobs: BTreeMap::new(),
            agents: BTreeMap::new(),
            held: BTreeMap::new(),
            meters: Meters::default(),
            entries: Vec::new(),
            events: Vec::new(),
            last_event: None,
            writes: 0,
        }
    }

    /// How much was put so far; a command after which it stands still has changed nothing.
    pub(crate) const fn writes(&self) -> usize {
        self.writes
    }

    /// The number of the newest event that was written, if any was.
    pub(crate) const fn last_event(&self) -> Option<EventId> {
        self.last_event
    }

    /// Notes a write that does not go through a put.
    pub(crate) const fn wrote(&mut self) {
        self.writes += 1;
    }

    /// Writes everything that was put.
    pub(crate) fn flush(&mut self) -> Result<()> {
        self.flush_tasks()?;
        attempt::write(self.sql, dirty(&self.attempts))?;
        clean(&mut self.attempts);
        self.flush_jobs()?;
        self.flush_agents()?;
        self.meters.write(self.sql)?;
        if !self.entries.is_empty() {
            log::write_entries(self.sql, &std::mem::take(&mut self.entries))?;
        }
        if !self.events.is_empty() {
            self.last_event = Some(log::write_events(self.sql, &std::mem::take(&mut self.events))?);
        }
        Ok(())
    }

    /// Forgets the rows that were read, after a statement that changed them underneath.
    pub(crate) fn forget(&mut self) -> Result<()> {
        self.flush()?;
        self.tasks.clear();
        self.attempts.clear();
        Ok(())
    }

    /// Reads one of the counters.
    pub(crate) fn counter(&self, name: &str) -> Result<u64> {
        Ok(self.sql.one(COUNTER, [name], column::unsigned)?.unwrap_or_default())
    }

    fn bump(&mut self, name: &str) -> Result<()> {
        self.wrote();
        self.sql.execute(COUNT, [name]).map(drop)
    }

    fn flush_tasks(&mut self) -> Result<()> {
        let mut changes = Vec::new();
        for slot in self.tasks.values() {
            let Some(after) = &slot.put else { continue };
            let seq = match (&slot.stored, self.next_seq) {
                (Some(stored), _) => stored.seq,
                (None, Some(seq)) => seq,
                (None, None) => 1 + self.sql.one(task::LAST_SEQ, [], column::get)?.unwrap_or(0),
            };
            if slot.stored.is_none() {
                self.next_seq = Some(seq + 1);
            }
            changes.push(Change { seq, before: slot.stored.as_ref().map(|stored| &stored.row), after });
        }
        task::write(self.sql, &changes)?;
        let seqs: Vec<i64> = changes.iter().map(|change| change.seq).collect();
        let written = self.tasks.values_mut().filter(|slot| slot.put.is_some());
        for (slot, seq) in written.zip(seqs) {
            slot.stored = slot.put.take().map(|row| StoredTask { seq, row });
        }
        self.fresh_tasks = false;
        Ok(())
    }

    /// Writes new tasks, before a query that must find them by what they name.
    fn flush_fresh_tasks(&mut self) -> Result<()> {
        if self.fresh_tasks { self.flush_tasks() } else { Ok(()) }
    }

    fn flush_jobs(&mut self) -> Result<()> {
        job::write(self.sql, dirty(&self.jobs))?;
        clean(&mut self.jobs);
        Ok(())
    }

    fn flush_agents(&mut self) -> Result<()> {
        agent::write(self.sql, dirty(&self.agents))?;
        clean(&mut self.agents);
        Ok(())
    }
}

/// The rows that were put and not written.
fn dirty<K, T>(slots: &BTreeMap<K, Slot<T>>) -> impl Iterator<Item = &T> {
    slots.values().filter(|slot| slot.dirty).filter_map(|slot| slot.row.as_ref())
}

fn clean<K, T>(slots: &mut BTreeMap<K, Slot<T>>) {
    for slot in slots.values_mut() {
        slot.dirty = false;
    }
}

/// A row as it stands, read at its first use.
fn load<K: Ord + Clone, T: Clone>(
    slots: &mut BTreeMap<K, Slot<T>>,
    key: &K,
    read: impl FnOnce() -> Result<Option<T>>,
) -> Result<Option<T>> {
    if let Some(slot) = slots.get(key) {
        return Ok(slot.row.clone());
    }
    let row = read()?;
    slots.insert(key.clone(), Slot { row: row.clone(), dirty: false });
    Ok(row)
}

fn put<K: Ord, T>(slots: &mut BTreeMap<K, Slot<T>>, key: K, row: T) {
    slots.insert(key, Slot { row: Some(row), dirty: true });
}

impl Rows for SqliteRows<'_> {
    fn task(&mut self, id: &TaskId) -> Result<Option<TaskRow>> {
        if let Some(slot) = self.tasks.get(id) {
            return Ok(slot.row().cloned());
        }
        let stored = self.sql.one(task::TASK, [id.as_str()], StoredTask::read)?;
        let row = stored.as_ref().map(|stored| stored.row.clone());
        self.tasks.insert(id.clone(), TaskSlot { stored, put: None });
        Ok(row)
    }

    fn put_task(&mut self, row: TaskRow) -> Result<()> {
        self.wrote();
        let id = row.task.id.clone();
        if !self.tasks.contains_key(&id) {
            self.task(&id)?;
        }
        let slot = self.tasks.entry(id).or_default();
        self.fresh_tasks |= slot.stored.is_none();
        slot.put = Some(row);
        Ok(())
    }

    fn task_by_key(&mut self, key: &str) -> Result<Option<TaskId>> {
        self.flush_fresh_tasks()?;
        self.sql.one(task::BY_KEY, [key], column::parse)
    }

    fn dependents(&mut self, id: &TaskId) -> Result<Vec<TaskId>> {
        self.flush_fresh_tasks()?;
        task::ids(self.sql, task::DEPENDENTS, [id.as_str()])
    }

    fn due(&mut self, now: Timestamp, limit: usize) -> Result<Vec<TaskId>> {
        self.flush_tasks()?;
        task::ids(self.sql, task::DUE, (now.millis(), count(limit)))
    }

    fn attempt(&mut self, id: &JobId) -> Result<Option<Attempt>> {
        let key = (id.task.as_str(), id.attempt);
        load(&mut self.attempts, id, || self.sql.one(attempt::ATTEMPT, key, attempt::read))
    }

    fn put_attempt(&mut self, attempt: Attempt) -> Result<()> {
        self.wrote();
        put(&mut self.attempts, attempt.id.clone(), attempt);
        Ok(())
    }

    fn park(&mut self, lane: &Lane) -> Result<Option<Park>> {
        park::read(self.sql, lane)
    }

    fn put_park(&mut self, lane: &Lane, park: Option<Park>) -> Result<()> {
        self.wrote();
        park::put(self.sql, lane, park.as_ref())
    }

    fn parked(&mut self, wake: &Wake, limit: usize) -> Result<Vec<Lane>> {
        park::parked(self.sql, wake, count(limit))
    }

    fn wake(&mut self) -> Result<u64> {
        self.counter("wake")
    }

    fn bump_wake(&mut self) -> Result<()> {
        self.bump("wake")
    }

    fn agent(&mut self, id: &AgentId) -> Result<Option<AgentRow>> {
        load(&mut self.agents, id, || self.sql.one(agent::AGENT, [id.as_str()], agent::read))
    }

    fn put_agent(&mut self, row: AgentRow) -> Result<()> {
        self.wrote();
        put(&mut self.agents, row.info.id.clone(), row);
        Ok(())
    }

    fn silent(&mut self, before: Timestamp, limit: usize) -> Result<Vec<AgentId>> {
        self.flush_agents()?;
        self.sql.all(agent::SILENT, (before.millis(), count(limit)), column::parse)
    }

    fn allowance(&mut self, agent: &AgentId) -> Result<Option<AgentAllowance>> {
        self.sql.one(limits::ALLOWANCE, [agent.as_str()], limits::read_allowance)
    }

    fn put_allowance(&mut self, agent: &AgentId, allowance: Option<AgentAllowance>) -> Result<()> {
        self.bump("limits")?;
        limits::put_allowance(self.sql, agent, allowance.as_ref())
    }

    fn quota(&mut self, model: &ModelName) -> Result<Option<ModelQuota>> {
        self.sql.one(limits::QUOTA, [model.as_str()], limits::read_quota)
    }

    fn put_quota(&mut self, model: &ModelName, quota: Option<ModelQuota>) -> Result<()> {
        self.bump("limits")?;
        limits::put_quota(self.sql, model, quota.as_ref())
    }

    fn job(&mut self, id: &JobId) -> Result<Option<Job>> {
        let key = (id.task.as_str(), id.attempt);
        load(&mut self.jobs, id, || self.sql.one(job::JOB, key, job::read))
    }

    fn put_job(&mut self, job: Job) -> Result<()> {
        self.wrote();
        if let Some(before) = self.job(&job.id)? {
            for scope in before.scopes() {
                self.held.get_mut(&scope).into_iter().for_each(|span| span.remove(&before));
            }
        }
        for scope in job.scopes() {
            self.held.get_mut(&scope).into_iter().for_each(|span| span.add(&job));
        }
        put(&mut self.jobs, job.id.clone(), job);
        Ok(())
    }

    fn held(&mut self, scope: &Scope, now: Timestamp) -> Result<Held> {
        if let Some(held) = self.held.get(scope).and_then(|span| span.at(now)) {
            return Ok(held);
        }
        self.flush_jobs()?;
        let span = HeldSpan::read(self.sql, scope, now)?;
        self.held.insert(scope.clone(), span);
        Ok(span.sum())
    }

    fn buckets(&mut self, key: &MeterKey, from: i64, to: i64) -> Result<Vec<(i64, i64)>> {
        self.meters.buckets(self.sql, key, from, to)
    }

    fn add(&mut self, movement: &Move) -> Result<()> {
        self.wrote();
        self.meters.add(movement);
        Ok(())
    }

    fn append_entry(&mut self, entry: Entry) -> Result<()> {
        self.wrote();
        self.entries.push(entry);
        Ok(())
    }

    fn append_event(&mut self, event: NewEvent) -> Result<()> {
        self.wrote();
        self.events.push(event);
        Ok(())
    }
}

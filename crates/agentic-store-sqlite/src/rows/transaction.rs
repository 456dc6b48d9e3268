//! The engine's [`Rows`] inside one SQLite transaction.

use std::collections::{BTreeMap, BTreeSet, btree_map::Entry as Place};

use agentic_core::{
    allowance::{AgentAllowance, ModelQuota},
    attempt::Attempt,
    budget::Budget,
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
    meter::{self, Meters},
    park,
    task::{self, StoredTask},
};
use crate::sql::{Cells, Sql, column, count};

pub(crate) const COUNTER: &str = "SELECT value FROM counters WHERE name = ?1";
const COUNT: &str = "UPDATE counters SET value = value + 1 WHERE name = ?1";

/// The rows of one transaction. Nothing of it outlives the transaction, so that other processes may write the file.
///
/// What is put is kept here, and written by [`SqliteRows::flush`]: a row that several commands of a batch change is
/// written once, and rows of one table by few statements. A query over a table writes first what it must see.
#[derive(Debug)]
pub(crate) struct SqliteRows<'c> {
    pub(crate) sql: Sql<'c>,
    tasks: BTreeMap<TaskId, Slot<StoredTask>>,
    fresh_tasks: bool,
    last_seq: Option<i64>,
    attempts: BTreeMap<JobId, Slot<Attempt>>,
    jobs: BTreeMap<JobId, Slot<Job>>,
    agents: BTreeMap<AgentId, Slot<AgentRow>>,
    resets: BTreeMap<AgentId, Option<Timestamp>>,
    held: BTreeMap<Scope, HeldSpan>,
    meters: Meters,
    entries: Vec<Entry>,
    events: Vec<NewEvent>,
    last_event: Option<EventId>,
    writes: usize,
}

/// A row as it stands in its table, and as it was put since; `None` where there is none.
#[derive(Debug)]
struct Slot<T> {
    stored: Option<T>,
    put: Option<T>,
}

impl<T> Slot<T> {
    const fn of(stored: Option<T>) -> Self {
        Self { stored, put: None }
    }

    fn row(&self) -> Option<&T> {
        self.put.as_ref().or(self.stored.as_ref())
    }
}

impl<'c> SqliteRows<'c> {
    /// The rows that `sql`'s present transaction sees.
    pub(crate) fn new(sql: Sql<'c>) -> Self {
        Self {
            sql,
            tasks: BTreeMap::new(),
            fresh_tasks: false,
            last_seq: None,
            attempts: BTreeMap::new(),
            jobs: BTreeMap::new(),
            agents: BTreeMap::new(),
            resets: BTreeMap::new(),
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

    /// Reads the rows of many attempts at once: their tasks, and their jobs.
    pub(crate) fn fetch(&mut self, jobs: &BTreeSet<&JobId>) -> Result<()> {
        let (mut tasks, mut keys) = (Cells::default(), Cells::default());
        let mut last = None;
        for id in jobs {
            if last.replace(&id.task) != Some(&id.task) && !self.tasks.contains_key(&id.task) {
                tasks.text(id.task.as_str());
                self.tasks.insert(id.task.clone(), Slot::of(None));
            }
            if !self.jobs.contains_key(*id) && !self.attempts.contains_key(*id) {
                keys.text(id.task.as_str()).int(id.attempt);
                self.jobs.insert((*id).clone(), Slot::of(None));
                self.attempts.insert((*id).clone(), Slot::of(None));
            }
        }
        for task in self.sql.look_up(&task::TASKS_OF, &tasks, StoredTask::read)? {
            self.tasks.insert(task.row.task.id.clone(), Slot::of(Some(task)));
        }
        for attempt in self.sql.look_up(&attempt::ATTEMPTS_OF, &keys, attempt::read)? {
            self.attempts.insert(attempt.id.clone(), Slot::of(Some(attempt)));
        }
        for job in self.sql.look_up(&job::JOBS_OF, &keys, job::read)? {
            self.jobs.insert(job.id.clone(), Slot::of(Some(job)));
        }
        Ok(())
    }

    /// Writes everything that was put.
    pub(crate) fn flush(&mut self) -> Result<()> {
        self.flush_tasks()?;
        attempt::write(self.sql, changes(&self.attempts))?;
        settle(&mut self.attempts);
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

    /// Writes everything that was put and forgets what was read, before statements that change rows underneath.
    pub(crate) fn forget(&mut self) -> Result<()> {
        self.flush()?;
        self.tasks.clear();
        self.attempts.clear();
        self.jobs.clear();
        self.meters = Meters::default();
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
        task::write(self.sql, changes(&self.tasks))?;
        settle(&mut self.tasks);
        self.fresh_tasks = false;
        Ok(())
    }

    /// The place of a new task; nobody else gives one while this transaction lasts.
    fn next_seq(&mut self) -> Result<i64> {
        let last = match self.last_seq {
            Some(last) => last,
            None => self.sql.one(task::LAST_SEQ, [], column::get)?.unwrap_or(0),
        };
        self.last_seq = Some(last + 1);
        Ok(last + 1)
    }

    /// Writes new tasks, before a query that must find them by what they name.
    fn flush_fresh_tasks(&mut self) -> Result<()> {
        if self.fresh_tasks { self.flush_tasks() } else { Ok(()) }
    }

    fn task_slot(&mut self, id: &TaskId) -> Result<&mut Slot<StoredTask>> {
        load(&mut self.tasks, id, || self.sql.one(task::TASK, [id.as_str()], StoredTask::read))
    }

    fn attempt_slot(&mut self, id: &JobId) -> Result<&mut Slot<Attempt>> {
        let key = (id.task.as_str(), id.attempt);
        load(&mut self.attempts, id, || self.sql.one(attempt::ATTEMPT, key, attempt::read))
    }

    fn job_slot(&mut self, id: &JobId) -> Result<&mut Slot<Job>> {
        let key = (id.task.as_str(), id.attempt);
        load(&mut self.jobs, id, || self.sql.one(job::JOB, key, job::read))
    }

    fn agent_slot(&mut self, id: &AgentId) -> Result<&mut Slot<AgentRow>> {
        load(&mut self.agents, id, || self.sql.one(agent::AGENT, [id.as_str()], agent::read))
    }

    fn flush_jobs(&mut self) -> Result<()> {
        job::write(self.sql, changes(&self.jobs))?;
        settle(&mut self.jobs);
        Ok(())
    }

    fn flush_agents(&mut self) -> Result<()> {
        agent::write(self.sql, changes(&self.agents))?;
        settle(&mut self.agents);
        Ok(())
    }
}

/// The rows that were put and are not written, each with what stands there.
fn changes<K, T>(slots: &BTreeMap<K, Slot<T>>) -> impl Iterator<Item = (Option<&T>, &T)> {
    slots.values().filter_map(|slot| Some((slot.stored.as_ref(), slot.put.as_ref()?)))
}

/// Notes that what was put stands in the table.
fn settle<K, T>(slots: &mut BTreeMap<K, Slot<T>>) {
    for slot in slots.values_mut() {
        slot.stored = slot.put.take().or(slot.stored.take());
    }
}

/// A row as it stands, read at its first use.
fn load<'a, K: Ord + Clone, T>(
    slots: &'a mut BTreeMap<K, Slot<T>>,
    key: &K,
    read: impl FnOnce() -> Result<Option<T>>,
) -> Result<&'a mut Slot<T>> {
    match slots.entry(key.clone()) {
        Place::Occupied(slot) => Ok(slot.into_mut()),
        Place::Vacant(slot) => Ok(slot.insert(Slot::of(read()?))),
    }
}

impl Rows for SqliteRows<'_> {
    fn task(&mut self, id: &TaskId) -> Result<Option<TaskRow>> {
        Ok(self.task_slot(id)?.row().map(|stored| stored.row.clone()))
    }

    fn put_task(&mut self, row: TaskRow) -> Result<()> {
        self.wrote();
        let id = row.task.id.clone();
        let seq = match self.task_slot(&id)?.row() {
            Some(stored) => stored.seq,
            None => self.next_seq()?,
        };
        let slot = self.task_slot(&id)?;
        let fresh = slot.stored.is_none();
        slot.put = Some(StoredTask { seq, row });
        self.fresh_tasks |= fresh;
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
        Ok(self.attempt_slot(id)?.row().cloned())
    }

    fn put_attempt(&mut self, attempt: Attempt) -> Result<()> {
        self.wrote();
        let id = attempt.id.clone();
        self.attempt_slot(&id)?.put = Some(attempt);
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

    fn deferred(&mut self, limit: usize) -> Result<Vec<TaskId>> {
        self.flush_tasks()?;
        task::ids(self.sql, task::DEFERRED, [count(limit)])
    }

    fn wake(&mut self) -> Result<u64> {
        self.counter("wake")
    }

    fn bump_wake(&mut self) -> Result<()> {
        self.bump("wake")
    }

    fn agent(&mut self, id: &AgentId) -> Result<Option<AgentRow>> {
        Ok(self.agent_slot(id)?.row().cloned())
    }

    fn put_agent(&mut self, row: AgentRow) -> Result<()> {
        self.wrote();
        let id = row.info.id.clone();
        self.agent_slot(&id)?.put = Some(row);
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

    fn budget(&mut self, scope: &Scope) -> Result<Option<Budget>> {
        self.sql.one(limits::BUDGET, [scope.to_string()], limits::read_budget)
    }

    fn put_budget(&mut self, scope: &Scope, budget: Option<Budget>) -> Result<u64> {
        self.bump("limits")?;
        let version = self.counter("limits")?;
        limits::put_budget(self.sql, scope, version, budget.as_ref())?;
        Ok(version)
    }

    fn job(&mut self, id: &JobId) -> Result<Option<Job>> {
        Ok(self.job_slot(id)?.row().cloned())
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
        let id = job.id.clone();
        self.job_slot(&id)?.put = Some(job);
        Ok(())
    }

    fn reset_at(&mut self, agent: &AgentId) -> Result<Option<Timestamp>> {
        if let Some(known) = self.resets.get(agent) {
            return Ok(*known);
        }
        let at = self.sql.one(meter::RESET_AT, [agent.as_str()], column::at)?;
        self.resets.insert(agent.clone(), at);
        Ok(at)
    }

    fn put_reset(&mut self, agent: &AgentId, at: Timestamp) -> Result<()> {
        self.wrote();
        self.resets.remove(agent);
        self.sql.execute(meter::PUT_RESET, (agent.as_str(), at.millis())).map(drop)
    }

    fn held(&mut self, scope: &Scope, now: Timestamp) -> Result<Held> {
        if let Some(held) = self.held.get(scope).and_then(|span| span.at(now)) {
            return Ok(held);
        }
        let mut span = HeldSpan::read(self.sql, scope, now)?;
        for (before, after) in changes(&self.jobs) {
            before.filter(|job| job.is_under(scope)).into_iter().for_each(|job| span.remove(job));
            Some(after).filter(|job| job.is_under(scope)).into_iter().for_each(|job| span.see(job, now));
        }
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

//! The ports of the memory back end.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use tokio::sync::watch;

use super::state::State;
use crate::{
    agent::AgentInfo,
    allowance::{AgentAllowance, ModelQuota, UsageAnswer},
    attempt::Attempt,
    budget::Budget,
    clock::Timestamp,
    engine::{Rows, agents, ledger, tasks},
    error::{ConflictCode, Error, Kind, Result},
    event::{Event, EventId},
    id::{AgentId, JobId, ModelName, TaskId},
    job::Job,
    lane::{Head, Lane},
    limit::{MeterKey, Reading, Scope},
    port::{
        Admission, AgentRegistry, AllowanceStore, Append, Assign, Assigned, Beat, BeatAnswer, Block,
        CancelTask, Claim, CreateMany, Created, Defer, Difference, Edit, EndAttempt, EntryPage, EventLog,
        EventPage, ExpiredJobs, Extend, Finish, Finished, Heard, Heartbeat, Lanes, Ledger, ParkLane, Ports,
        Progress, ReadEntries, Reap, Register, Renew, Replan, Report, ResetUsage, SetBudget, SetDraining,
        Settings, Settle, StartAttempt, StartJob, TaskStore, Unpark, VoidJob,
    },
    task::{Page, Task, TaskCursor, TaskFilter, TaskStatus},
};

/// All ports in memory; clones share them.
#[derive(Debug, Clone)]
pub struct Memory {
    state: Arc<Mutex<State>>,
    newest: Arc<watch::Sender<EventId>>,
}

impl Default for Memory {
    fn default() -> Self {
        Self { state: Arc::default(), newest: Arc::new(watch::Sender::new(0)) }
    }
}

impl Memory {
    /// An empty fleet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The ports onto it.
    pub fn ports(&self) -> Ports {
        let port = Arc::new(self.clone());
        Ports {
            tasks: Arc::clone(&port) as _,
            agents: Arc::clone(&port) as _,
            allowances: Arc::clone(&port) as _,
            events: Arc::clone(&port) as _,
            settings: Arc::clone(&port) as _,
            ledger: port,
        }
    }

    /// Does one step, and tells who waits for events.
    fn step<T>(&self, step: impl FnOnce(&mut State) -> Result<T>) -> Result<T> {
        // A panic inside a step is a bug of ours; the rows are as consistent as the step left them.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = step(&mut state);
        let newest = state.last_event;
        drop(state);
        // Two steps may come here in the other order; the newest stays known.
        self.newest.send_if_modified(|known| std::mem::replace(known, newest.max(*known)) < newest);
        answer
    }
}

#[async_trait]
impl TaskStore for Memory {
    async fn create_many(&self, create: CreateMany) -> Result<Vec<Created>> {
        self.step(|state| tasks::create_many(state, &create))
    }

    async fn get(&self, id: &TaskId, now: Timestamp) -> Result<Task> {
        self.step(|state| {
            let row = state.tasks.get(id).ok_or_else(|| Error::not_found(Kind::Task, id))?;
            Ok(state.view(row, now))
        })
    }

    async fn list(&self, filter: &TaskFilter, page: &Page, now: Timestamp) -> Result<Vec<Task>> {
        self.step(|state| {
            let after = page.cursor.clone().map(|TaskCursor { created_at, id }| (created_at, id));
            let from = after.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
            let rows = state.by_age.range((from, std::ops::Bound::Unbounded));
            let rows = rows.filter_map(|(_, id)| state.tasks.get(id)).filter(|row| filter.matches(&row.task));
            Ok(rows.take(page.limit).map(|row| state.view(row, now)).collect())
        })
    }

    async fn counts(&self) -> Result<BTreeMap<TaskStatus, u64>> {
        self.step(|state| Ok(state.counts.clone()))
    }

    async fn attempt(&self, job: &JobId) -> Result<Option<Attempt>> {
        self.step(|state| state.attempt(job))
    }

    async fn assigned(&self, agent: &AgentId, incarnation: u64, limit: usize) -> Result<Vec<Task>> {
        self.step(|state| {
            let unstarted = |task: &&Task| {
                let attempt = state.attempts.get(&JobId::new(task.id.clone(), task.attempt));
                attempt.is_some_and(|a| a.started_at.is_none() && a.incarnation == incarnation)
            };
            let running = state.running.get(agent).into_iter().flatten();
            let running = running.filter_map(|id| state.tasks.get(id)).map(|row| &row.task);
            let mut assigned: Vec<Task> = running.filter(unstarted).cloned().collect();
            assigned.sort_by(|a, b| (a.claimed_at, &a.id).cmp(&(b.claimed_at, &b.id)));
            assigned.truncate(limit);
            Ok(assigned)
        })
    }

    async fn lanes(&self, limit: usize) -> Result<Lanes> {
        self.step(|state| Ok(state.lanes(limit)))
    }

    async fn ready(&self, lane: &Lane, limit: usize) -> Result<Vec<Head>> {
        self.step(|state| {
            let places = state.ready.get(lane).into_iter().flatten();
            let rows = places.filter_map(|(_, _, id)| state.tasks.get(id));
            Ok(rows.take(limit).map(|row| Head::of(&row.task)).collect())
        })
    }

    async fn promote_due(&self, now: Timestamp, limit: usize) -> Result<usize> {
        self.step(|state| tasks::promote_due(state, now, limit))
    }

    async fn next_due(&self) -> Result<Option<Timestamp>> {
        self.step(|state| Ok(state.due.first().map(|(at, _)| *at)))
    }

    async fn park(&self, park: ParkLane) -> Result<()> {
        self.step(|state| tasks::park(state, &park))
    }

    async fn unpark(&self, unpark: Unpark) -> Result<usize> {
        self.step(|state| tasks::unpark(state, &unpark))
    }

    async fn claim(&self, claim: Claim) -> Result<Task> {
        self.step(|state| tasks::claim(state, &claim))
    }

    async fn start(&self, start: StartAttempt) -> Result<Task> {
        self.step(|state| tasks::start(state, &start).map(|(task, _)| task))
    }

    async fn renew(&self, renew: Renew) -> Result<Task> {
        self.step(|state| tasks::renew(state, &renew))
    }

    async fn progress(&self, progress: Progress) -> Result<Task> {
        self.step(|state| tasks::progress(state, &progress))
    }

    async fn end_attempt(&self, end: EndAttempt) -> Result<Finished> {
        self.step(|state| tasks::end_attempt(state, &end))
    }

    async fn edit(&self, edit: Edit) -> Result<Task> {
        self.step(|state| tasks::edit(state, &edit))
    }

    async fn defer(&self, defer: Defer) -> Result<Task> {
        self.step(|state| tasks::defer(state, &defer))
    }

    async fn block(&self, block: Block) -> Result<Task> {
        self.step(|state| tasks::block(state, &block))
    }

    async fn cancel(&self, cancel: CancelTask) -> Result<Task> {
        self.step(|state| tasks::cancel(state, &cancel))
    }

    async fn requeue(&self, id: &TaskId, now: Timestamp) -> Result<Task> {
        self.step(|state| tasks::requeue(state, id, now))
    }

    async fn expired(&self, now: Timestamp, limit: usize) -> Result<Vec<(Task, Attempt)>> {
        self.step(|state| {
            let expired = state.leases.iter().take_while(|(at, _)| *at <= now).take(limit);
            let pair = |(_, id): &(Timestamp, TaskId)| {
                let task = state.tasks.get(id)?.task.clone();
                let attempt = state.attempts.get(&JobId::new(id.clone(), task.attempt))?.clone();
                Some((task, attempt))
            };
            Ok(expired.filter_map(pair).collect())
        })
    }

    async fn history(&self, id: &TaskId, after: EventId, limit: usize) -> Result<Vec<Event>> {
        self.step(|state| {
            if !state.tasks.contains_key(id) {
                return Err(Error::not_found(Kind::Task, id));
            }
            let ids = state
                .history
                .get(id)
                .into_iter()
                .flatten()
                .filter(|event| **event > after.max(state.trimmed));
            let event = |id: &EventId| {
                let index = usize::try_from(id - state.trimmed - 1).ok()?;
                state.events.get(index).cloned()
            };
            Ok(ids.take(limit).filter_map(event).collect())
        })
    }

    async fn prune(&self, before: Timestamp, limit: usize, _: Timestamp) -> Result<usize> {
        self.step(|state| {
            let open = |id: &TaskId| state.tasks.get(id).is_some_and(|row| !row.task.status.is_final());
            let prunable = |row: &&crate::machine::TaskRow| {
                let task = &row.task;
                let needed = state.dependents.get(&task.id).is_some_and(|ids| ids.iter().any(open));
                task.status.is_final() && task.updated_at < before && !needed
            };
            let ids: Vec<TaskId> = state
                .by_age
                .iter()
                .filter_map(|(_, id)| state.tasks.get(id))
                .filter(prunable)
                .take(limit)
                .map(|row| row.task.id.clone())
                .collect();
            for id in &ids {
                state.delete(id);
            }
            Ok(ids.len())
        })
    }
}

#[async_trait]
impl AgentRegistry for Memory {
    async fn register(&self, register: Register) -> Result<AgentInfo> {
        self.step(|state| agents::register(state, &register))
    }

    async fn deregister(&self, id: &AgentId, now: Timestamp) -> Result<()> {
        self.step(|state| agents::deregister(state, id, now))
    }

    async fn get(&self, id: &AgentId) -> Result<AgentInfo> {
        self.step(|state| {
            let row = state.agents.get(id).filter(|row| !row.deregistered);
            row.map(|row| row.info.clone()).ok_or_else(|| Error::not_found(Kind::Agent, id))
        })
    }

    async fn list(&self) -> Result<Vec<AgentInfo>> {
        self.step(|state| {
            Ok(state.agents.values().filter(|row| !row.deregistered).map(|row| row.info.clone()).collect())
        })
    }

    async fn heartbeat(&self, heartbeat: Heartbeat) -> Result<AgentInfo> {
        self.step(|state| agents::heartbeat(state, &heartbeat))
    }

    async fn set_draining(&self, set: SetDraining) -> Result<AgentInfo> {
        self.step(|state| agents::set_draining(state, &set))
    }

    async fn reap(&self, reap: Reap) -> Result<Vec<AgentId>> {
        self.step(|state| agents::reap(state, &reap))
    }
}

#[async_trait]
impl AllowanceStore for Memory {
    async fn allowance(&self, agent: &AgentId) -> Result<Option<AgentAllowance>> {
        self.step(|state| state.allowance(agent))
    }

    async fn set_allowance(&self, allowance: AgentAllowance, now: Timestamp) -> Result<()> {
        self.step(|state| agents::set_allowance(state, allowance, now))
    }

    async fn delete_allowance(&self, agent: &AgentId, now: Timestamp) -> Result<()> {
        self.step(|state| agents::delete_allowance(state, agent, now))
    }

    async fn allowances(&self) -> Result<Vec<AgentAllowance>> {
        self.step(|state| Ok(state.allowances.values().cloned().collect()))
    }

    async fn model_quota(&self, model: &ModelName) -> Result<Option<ModelQuota>> {
        self.step(|state| state.quota(model))
    }

    async fn set_model_quota(&self, quota: ModelQuota, now: Timestamp) -> Result<()> {
        self.step(|state| agents::set_model_quota(state, quota, now))
    }

    async fn delete_model_quota(&self, model: &ModelName, now: Timestamp) -> Result<()> {
        self.step(|state| agents::delete_model_quota(state, model, now))
    }

    async fn model_quotas(&self) -> Result<Vec<ModelQuota>> {
        self.step(|state| Ok(state.quotas.values().cloned().collect()))
    }

    async fn budgets(&self) -> Result<Vec<Budget>> {
        self.step(|state| Ok(state.budgets.values().cloned().collect()))
    }

    async fn set_budget(&self, set: SetBudget) -> Result<Budget> {
        self.step(|state| agents::set_budget(state, &set))
    }

    async fn delete_budget(&self, scope: &Scope, now: Timestamp) -> Result<()> {
        self.step(|state| agents::delete_budget(state, scope, now))
    }

    async fn limits_revision(&self) -> Result<u64> {
        self.step(|state| Ok(state.limits_revision))
    }

    async fn readings(&self, keys: &[MeterKey], now: Timestamp) -> Result<Vec<Reading>> {
        self.step(|state| keys.iter().map(|key| ledger::reading(state, key, now)).collect())
    }

    async fn active_jobs(&self, agents: &[AgentId], now: Timestamp) -> Result<Vec<u32>> {
        self.step(|state| agents.iter().map(|agent| ledger::load(state, agent, now)).collect())
    }

    async fn job(&self, job: &JobId) -> Result<Option<Job>> {
        self.step(|state| state.job(job))
    }

    async fn admit(&self, admission: Admission) -> Result<Job> {
        self.step(|state| ledger::admit(state, &admission))
    }

    async fn start(&self, start: StartJob) -> Result<Job> {
        self.step(|state| ledger::start_job(state, &start))
    }

    async fn extend(&self, extend: Extend) -> Result<Job> {
        self.step(|state| ledger::extend(state, &extend))
    }

    async fn replan(&self, replan: Replan) -> Result<Job> {
        self.step(|state| ledger::replan(state, &replan))
    }

    async fn report(&self, report: Report) -> Result<UsageAnswer> {
        self.step(|state| ledger::report(state, &report))
    }

    async fn settle(&self, settle: Settle) -> Result<Job> {
        self.step(|state| ledger::settle(state, &settle))
    }

    async fn void(&self, void: VoidJob) -> Result<()> {
        self.step(|state| ledger::void(state, &void))
    }

    async fn expired(&self, expired: ExpiredJobs) -> Result<Vec<Job>> {
        self.step(|state| {
            let jobs = state.expiries.iter().take_while(|(at, _)| *at <= expired.now).take(expired.limit);
            Ok(jobs.filter_map(|(_, id)| state.jobs.get(id)).cloned().collect())
        })
    }

    async fn reset_usage(&self, reset: ResetUsage) -> Result<()> {
        self.step(|state| ledger::reset_usage(state, &reset))
    }

    async fn entries(&self, read: ReadEntries) -> Result<EntryPage> {
        self.step(|state| state.page_of(&read))
    }

    async fn verify(&self) -> Result<Vec<Difference>> {
        self.step(|state| Ok(state.differences()))
    }
}

#[async_trait]
impl EventLog for Memory {
    async fn append(&self, append: Append) -> Result<()> {
        self.step(|state| {
            if let Some(mark) = append.mark {
                mark.check(state.settings.get(&mark.key).map(String::as_str))?;
                state.settings.insert(mark.key, mark.to);
            }
            append.events.into_iter().try_for_each(|event| state.append_event(event))
        })
    }

    async fn after(&self, cursor: EventId, limit: usize) -> Result<EventPage> {
        self.step(|state| {
            if cursor < state.trimmed {
                let detail = format!("events up to {} were trimmed; start again from there", state.trimmed);
                return Err(Error::conflict(ConflictCode::CursorTrimmed, detail));
            }
            let skip = usize::try_from(cursor - state.trimmed).unwrap_or(usize::MAX);
            let events: Vec<Event> = state.events.iter().skip(skip).take(limit).cloned().collect();
            Ok(EventPage { cursor: events.last().map_or(cursor, |event| event.id), events })
        })
    }

    async fn last(&self) -> Result<EventId> {
        self.step(|state| Ok(state.last_event))
    }

    async fn wait(&self, cursor: EventId, timeout: Duration) -> Result<bool> {
        let mut newest = self.newest.subscribe();
        Ok(tokio::time::timeout(timeout, newest.wait_for(|id| *id > cursor)).await.is_ok())
    }

    async fn trim(&self, before: Timestamp, limit: usize) -> Result<usize> {
        self.step(|state| {
            let old = state.events.iter().take(limit).take_while(|event| event.timestamp < before).count();
            if let Some(last) = old.checked_sub(1).and_then(|last| state.events.get(last)) {
                state.trimmed = last.id;
            }
            state.events.drain(..old);
            let folded = state.fold(before, limit);
            let forgotten = state.forget_jobs(before, limit);
            Ok(old.max(folded).max(forgotten))
        })
    }
}

#[async_trait]
impl Settings for Memory {
    async fn get(&self, key: &str) -> Result<Option<String>> {
        self.step(|state| Ok(state.settings.get(key).cloned()))
    }

    async fn put(&self, key: &str, value: Option<String>) -> Result<()> {
        self.step(|state| {
            match value {
                Some(value) => state.settings.insert(key.to_owned(), value),
                None => state.settings.remove(key),
            };
            Ok(())
        })
    }
}

#[async_trait]
impl Ledger for Memory {
    async fn assign(&self, assign: Assign) -> Result<Assigned> {
        self.step(|state| ledger::assign(state, &assign))
    }

    async fn start(&self, start: StartAttempt) -> Result<Task> {
        self.step(|state| ledger::start(state, &start))
    }

    async fn beat(&self, beat: Beat) -> Result<Vec<BeatAnswer>> {
        self.step(|state| ledger::beat(state, &beat))
    }

    async fn heartbeat(&self, beat: Beat) -> Result<Heard> {
        self.step(|state| ledger::heartbeat(state, &beat))
    }

    async fn finish(&self, finish: Finish) -> Result<Finished> {
        self.step(|state| ledger::finish(state, &finish))
    }
}

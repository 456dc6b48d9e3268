//! The rows of the memory back end.

use super::state::State;
use crate::{
    agent::AgentStatus,
    allowance::{AgentAllowance, ModelQuota},
    attempt::Attempt,
    budget::Budget,
    clock::Timestamp,
    engine::{AgentRow, Rows},
    error::Result,
    event::NewEvent,
    id::{AgentId, JobId, ModelName, TaskId},
    job::{Entry, Job, Move},
    lane::{Lane, Park},
    limit::{Held, MeterKey, Scope},
    machine::TaskRow,
    port::Wake,
};

impl Rows for State {
    fn task(&mut self, id: &TaskId) -> Result<Option<TaskRow>> {
        Ok(self.tasks.get(id).cloned())
    }

    fn put_task(&mut self, row: TaskRow) -> Result<()> {
        let id = row.task.id.clone();
        if let Some(before) = self.tasks.remove(&id) {
            self.index(&before, false);
        } else {
            self.by_age.insert((row.task.created_at, id.clone()));
            if let Some(key) = &row.task.idempotency_key {
                self.keys.insert(key.clone(), id.clone());
            }
            for dependency in &row.task.dependencies {
                self.dependents.entry(dependency.clone()).or_default().insert(id.clone());
            }
        }
        self.index(&row, true);
        self.tasks.insert(id, row);
        Ok(())
    }

    fn task_by_key(&mut self, key: &str) -> Result<Option<TaskId>> {
        Ok(self.keys.get(key).cloned())
    }

    fn dependents(&mut self, id: &TaskId) -> Result<Vec<TaskId>> {
        Ok(self.dependents.get(id).into_iter().flatten().cloned().collect())
    }

    fn due(&mut self, now: Timestamp, limit: usize) -> Result<Vec<TaskId>> {
        Ok(self.due.iter().take_while(|(at, _)| *at <= now).take(limit).map(|(_, id)| id.clone()).collect())
    }

    fn attempt(&mut self, id: &JobId) -> Result<Option<Attempt>> {
        Ok(self.attempts.get(id).cloned())
    }

    fn put_attempt(&mut self, attempt: Attempt) -> Result<()> {
        self.attempts.insert(attempt.id.clone(), attempt);
        Ok(())
    }

    fn park(&mut self, lane: &Lane) -> Result<Option<Park>> {
        Ok(self.parks.get(lane).cloned())
    }

    fn put_park(&mut self, lane: &Lane, park: Option<Park>) -> Result<()> {
        match park {
            Some(park) => self.parks.insert(lane.clone(), park),
            None => self.parks.remove(lane),
        };
        Ok(())
    }

    fn parked(&mut self, wake: &Wake, limit: usize) -> Result<Vec<Lane>> {
        let meant = |lane: &Lane, park: &Park| match wake {
            Wake::Lane(wanted) => lane == wanted,
            Wake::Scope(scope) => park.scope.as_ref() == Some(scope),
            Wake::All => true,
        };
        Ok(self
            .parks
            .iter()
            .filter(|(lane, park)| meant(lane, park))
            .take(limit)
            .map(|(lane, _)| lane.clone())
            .collect())
    }

    fn deferred(&mut self, limit: usize) -> Result<Vec<TaskId>> {
        Ok(self.deferred.iter().take(limit).cloned().collect())
    }

    fn wake(&mut self) -> Result<u64> {
        Ok(self.wake)
    }

    fn bump_wake(&mut self) -> Result<()> {
        self.wake += 1;
        Ok(())
    }

    fn agent(&mut self, id: &AgentId) -> Result<Option<AgentRow>> {
        Ok(self.agents.get(id).cloned())
    }

    fn put_agent(&mut self, row: AgentRow) -> Result<()> {
        self.agents.insert(row.info.id.clone(), row);
        Ok(())
    }

    fn silent(&mut self, before: Timestamp, limit: usize) -> Result<Vec<AgentId>> {
        let silent = |row: &&AgentRow| {
            !row.deregistered && row.info.status != AgentStatus::Offline && row.info.last_heartbeat < before
        };
        Ok(self.agents.values().filter(silent).take(limit).map(|row| row.info.id.clone()).collect())
    }

    fn allowance(&mut self, agent: &AgentId) -> Result<Option<AgentAllowance>> {
        Ok(self.allowances.get(agent).cloned())
    }

    fn put_allowance(&mut self, agent: &AgentId, allowance: Option<AgentAllowance>) -> Result<()> {
        self.limits_revision += 1;
        match allowance {
            Some(allowance) => self.allowances.insert(agent.clone(), allowance),
            None => self.allowances.remove(agent),
        };
        Ok(())
    }

    fn quota(&mut self, model: &ModelName) -> Result<Option<ModelQuota>> {
        Ok(self.quotas.get(model).cloned())
    }

    fn put_quota(&mut self, model: &ModelName, quota: Option<ModelQuota>) -> Result<()> {
        self.limits_revision += 1;
        match quota {
            Some(quota) => self.quotas.insert(model.clone(), quota),
            None => self.quotas.remove(model),
        };
        Ok(())
    }

    fn budget(&mut self, scope: &Scope) -> Result<Option<Budget>> {
        Ok(self.budgets.get(&scope.to_string()).cloned())
    }

    fn put_budget(&mut self, scope: &Scope, budget: Option<Budget>) -> Result<u64> {
        self.limits_revision += 1;
        let version = self.limits_revision;
        match budget {
            Some(budget) => self.budgets.insert(scope.to_string(), Budget { version, ..budget }),
            None => self.budgets.remove(&scope.to_string()),
        };
        Ok(version)
    }

    fn job(&mut self, id: &JobId) -> Result<Option<Job>> {
        Ok(self.jobs.get(id).cloned())
    }

    fn put_job(&mut self, job: Job) -> Result<()> {
        let before = self.jobs.remove(&job.id);
        if let Some(before) = &before {
            self.index_job(before, false);
        }
        let had_ended = before.and_then(|before| before.ended_at);
        let stood = had_ended.is_some_and(|at| self.ended.remove(&(at, job.id.clone())));
        // What retention has looked at is not looked at again.
        if let Some(ended_at) = job.ended_at.filter(|_| stood || had_ended.is_none()) {
            self.ended.insert((ended_at, job.id.clone()));
        }
        self.index_job(&job, true);
        self.jobs.insert(job.id.clone(), job);
        Ok(())
    }

    fn reset_at(&mut self, agent: &AgentId) -> Result<Option<Timestamp>> {
        Ok(self.resets.get(agent).copied())
    }

    fn put_reset(&mut self, agent: &AgentId, at: Timestamp) -> Result<()> {
        let last = self.resets.entry(agent.clone()).or_insert(at);
        *last = at.max(*last);
        Ok(())
    }

    fn held(&mut self, scope: &Scope, now: Timestamp) -> Result<Held> {
        let jobs = self.open_jobs.get(scope).into_iter().flatten();
        let live = jobs.filter_map(|id| self.jobs.get(id)).filter(|job| job.is_live(now));
        Ok(live.fold(Held::default(), |held, job| held.plus(job.held())))
    }

    fn buckets(&mut self, key: &MeterKey, from: i64, to: i64) -> Result<Vec<(i64, i64)>> {
        let range = (key.clone(), from)..=(key.clone(), to);
        Ok(self.meters.range(range).map(|((_, bucket), value)| (*bucket, *value)).collect())
    }

    fn add(&mut self, movement: &Move) -> Result<()> {
        let meter = self.meters.entry((movement.key.clone(), movement.bucket)).or_default();
        *meter = meter.saturating_add(movement.delta);
        Ok(())
    }

    fn append_entry(&mut self, entry: Entry) -> Result<()> {
        self.last_entry += 1;
        self.entries_of.entry(entry.agent_id.clone()).or_default().insert(self.last_entry);
        self.entries.insert(self.last_entry, entry);
        Ok(())
    }

    fn append_event(&mut self, event: NewEvent) -> Result<()> {
        self.last_event += 1;
        if let Some(task) = &event.task_id {
            self.history.entry(task.clone()).or_default().push(self.last_event);
        }
        self.events.push_back(event.numbered(self.last_event));
        Ok(())
    }
}

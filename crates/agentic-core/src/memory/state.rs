//! What the memory back end holds: the rows, and the indexes that follow from them.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use crate::{
    allowance::{AgentAllowance, ModelQuota},
    attempt::Attempt,
    budget::Budget,
    clock::Timestamp,
    engine::{AgentRow, ledger},
    error::{Error, Result},
    event::{Event, EventId},
    id::{AgentId, JobId, ModelName, TaskId},
    job::{Entry, Job, Move},
    lane::{Head, Lane, LaneView, Park},
    limit::{MeterKey, Scope},
    machine::{TaskRow, pending_reason},
    port::{Difference, EntryPage, Lanes, ReadEntries},
    task::{Priority, Task, TaskStatus},
};

/// The order of tasks in their lane.
type Place = (Priority, Timestamp, TaskId);

/// Rows, and indexes that [`State::index`] keeps.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) tasks: HashMap<TaskId, TaskRow>,
    pub(super) keys: HashMap<String, TaskId>,
    pub(super) dependents: HashMap<TaskId, BTreeSet<TaskId>>,
    pub(super) by_age: BTreeSet<(Timestamp, TaskId)>,
    pub(super) ready: BTreeMap<Lane, BTreeSet<Place>>,
    pub(super) due: BTreeSet<(Timestamp, TaskId)>,
    pub(super) deferred: BTreeSet<TaskId>,
    pub(super) leases: BTreeSet<(Timestamp, TaskId)>,
    pub(super) running: HashMap<AgentId, BTreeSet<TaskId>>,
    pub(super) counts: BTreeMap<TaskStatus, u64>,
    pub(super) attempts: HashMap<JobId, Attempt>,
    pub(super) parks: BTreeMap<Lane, Park>,
    pub(super) wake: u64,
    pub(super) agents: BTreeMap<AgentId, AgentRow>,
    pub(super) allowances: BTreeMap<AgentId, AgentAllowance>,
    pub(super) quotas: BTreeMap<ModelName, ModelQuota>,
    /// By the text of their scope.
    pub(super) budgets: BTreeMap<String, Budget>,
    pub(super) limits_revision: u64,
    pub(super) jobs: HashMap<JobId, Job>,
    pub(super) open_jobs: HashMap<Scope, BTreeSet<JobId>>,
    pub(super) expiries: BTreeSet<(Timestamp, JobId)>,
    /// Ended jobs that may have no task.
    pub(super) ended: BTreeSet<(Timestamp, JobId)>,
    pub(super) meters: BTreeMap<(MeterKey, i64), i64>,
    pub(super) entries: BTreeMap<u64, Entry>,
    pub(super) entries_of: HashMap<AgentId, BTreeSet<u64>>,
    pub(super) resets: HashMap<AgentId, Timestamp>,
    pub(super) last_entry: u64,
    pub(super) opening: BTreeMap<(MeterKey, i64), i64>,
    pub(super) events: VecDeque<Event>,
    pub(super) history: HashMap<TaskId, Vec<EventId>>,
    pub(super) last_event: EventId,
    pub(super) trimmed: EventId,
    pub(super) settings: HashMap<String, String>,
}

impl State {
    /// Adds a task to the indexes, or takes it out.
    pub(super) fn index(&mut self, row: &TaskRow, add: bool) {
        fn set<T: Ord>(index: &mut BTreeSet<T>, value: T, add: bool) {
            if add {
                index.insert(value);
            } else {
                index.remove(&value);
            }
        }
        let task = &row.task;
        let count = self.counts.entry(task.status).or_default();
        *count = if add { *count + 1 } else { count.saturating_sub(1) };
        if *count == 0 {
            self.counts.remove(&task.status);
        }
        if task.status == TaskStatus::Pending && row.ready {
            let lane = task.lane();
            let places = self.ready.entry(lane.clone()).or_default();
            set(places, (task.priority, task.created_at, task.id.clone()), add);
            if places.is_empty() {
                self.ready.remove(&lane);
            }
        } else if task.status == TaskStatus::Pending {
            set(&mut self.due, (task.ready_at(), task.id.clone()), add);
        }
        if row.deferred.is_some() {
            set(&mut self.deferred, task.id.clone(), add);
        }
        if let (Some(at), Some(agent)) = (task.lease_expires_at, &task.claimed_by) {
            set(&mut self.leases, (at, task.id.clone()), add);
            set(self.running.entry(agent.clone()).or_default(), task.id.clone(), add);
        }
    }

    /// Adds an open job to the indexes, or takes it out.
    pub(super) fn index_job(&mut self, job: &Job, add: bool) {
        if !job.state.is_open() {
            return;
        }
        for scope in job.scopes() {
            let jobs = self.open_jobs.entry(scope).or_default();
            if add {
                jobs.insert(job.id.clone());
            } else {
                jobs.remove(&job.id);
            }
        }
        let expiry = (job.expires_at, job.id.clone());
        if add {
            self.expiries.insert(expiry);
        } else {
            self.expiries.remove(&expiry);
        }
    }

    /// Deletes the jobs that ended before `before` and have no task here, and looks at `limit` at most; one that has a task
    /// goes with that, and is not looked at again. Answers at how many it looked.
    pub(super) fn forget_jobs(&mut self, before: Timestamp, limit: usize) -> usize {
        for seen in 0..limit {
            let Some((_, id)) = self.ended.first().filter(|(at, _)| *at < before) else { return seen };
            let task = self.tasks.get(&id.task).map(|row| row.task.attempt);
            if !task.is_some_and(|latest| (1..=latest).contains(&id.attempt)) {
                self.jobs.remove(id);
            }
            self.ended.pop_first();
        }
        limit
    }

    /// Folds at most `limit` of the oldest entries from before `before` into the opening balance, so that the meters
    /// still are the sum of both. What stands in buckets that stopped counting before it is taken out of both instead:
    /// nobody reads it any more. Answers how many.
    pub(super) fn fold(&mut self, before: Timestamp, limit: usize) -> usize {
        let mut folded = 0;
        while folded < limit {
            let Some(oldest) = self.entries.first_entry().filter(|entry| entry.get().at < before) else {
                break;
            };
            let (number, entry) = oldest.remove_entry();
            folded += 1;
            if let Some(own) = self.entries_of.get_mut(&entry.agent_id) {
                own.remove(&number);
            }
            for Move { key, bucket, delta } in entry.moves {
                let sum = self.opening.entry((key, bucket)).or_default();
                *sum = sum.saturating_add(delta);
            }
        }
        let is_over =
            |(key, bucket): &(MeterKey, i64)| key.window.frees_at(*bucket).is_some_and(|at| at <= before);
        for (at, sum) in self.opening.extract_if(.., |at, _| is_over(at)) {
            // It may pass zero on the way: the entries that balance may lie in another step.
            let meter = self.meters.entry(at.clone()).or_default();
            *meter = meter.saturating_sub(sum);
            if *meter == 0 {
                self.meters.remove(&at);
            }
        }
        folded
    }

    /// A page of an agent's entries, newest first.
    pub(super) fn page_of(&self, read: &ReadEntries) -> Result<EntryPage> {
        let before = match &read.cursor {
            Some(cursor) => {
                cursor.parse().map_err(|_| Error::invalid("cursor", "must be one of this ledger"))?
            }
            None => u64::MAX,
        };
        let own = self.entries_of.get(&read.agent_id);
        let mut numbers = own.into_iter().flat_map(|own| own.range(..before).rev().copied());
        let page: Vec<u64> = numbers.by_ref().take(read.limit).collect();
        let next = page.last().filter(|_| numbers.next().is_some()).map(ToString::to_string);
        let entries = page.iter().filter_map(|number| self.entries.get(number)).cloned().collect();
        let opening = self.opening.iter().filter(|((key, _), delta)| {
            next.is_none() && **delta != 0 && key.scope.agent() == Some(&read.agent_id)
        });
        let opening = opening
            .map(|((key, bucket), delta)| Move { key: key.clone(), bucket: *bucket, delta: *delta })
            .collect();
        Ok(EntryPage { entries, next, opening })
    }

    /// Recomputes every meter; answers with what differs, ascending by meter and bucket.
    pub(super) fn differences(&self) -> Vec<Difference> {
        let mut sums = self.opening.clone();
        for Move { key, bucket, delta } in self.entries.values().flat_map(|entry| &entry.moves) {
            let sum = sums.entry((key.clone(), *bucket)).or_default();
            *sum = sum.saturating_add(*delta);
        }
        ledger::differences(&self.meters, &sums)
    }

    /// A task as it is read: with what waits for it, and why it waits itself.
    pub(super) fn view(&self, row: &TaskRow, now: Timestamp) -> Task {
        let mut task = row.task.clone();
        task.blockers = self.dependents.get(&task.id).into_iter().flatten().cloned().collect();
        let status = |id: &TaskId| self.tasks.get(id).map(|row| (id.clone(), row.task.status));
        let open: Vec<_> = task
            .dependencies
            .iter()
            .filter_map(status)
            .filter(|(_, status)| *status != TaskStatus::Completed)
            .collect();
        task.pending_reason = pending_reason(row, now, &open, self.parks.get(&task.lane()));
        task
    }

    /// The lanes that have a ready task.
    pub(super) fn lanes(&self, limit: usize) -> Lanes {
        let view = |(lane, places): (&Lane, &BTreeSet<Place>)| {
            let (_, _, id) = places.first()?;
            let head = Head::of(&self.tasks.get(id)?.task);
            Some(LaneView { lane: lane.clone(), head, park: self.parks.get(lane).cloned() })
        };
        let mut views: Vec<LaneView> = self.ready.iter().filter_map(view).collect();
        views.sort_by(|a, b| {
            let order = |view: &LaneView| (view.head.priority, view.head.created_at, view.head.id.clone());
            order(a).cmp(&order(b))
        });
        views.truncate(limit);
        Lanes { views, wake: self.wake }
    }

    /// Deletes a task, its attempts with their ended jobs, and what points to it.
    pub(super) fn delete(&mut self, id: &TaskId) {
        let Some(row) = self.tasks.remove(id) else { return };
        self.index(&row, false);
        self.by_age.remove(&(row.task.created_at, id.clone()));
        self.dependents.remove(id);
        self.history.remove(id);
        for dependency in &row.task.dependencies {
            if let Some(dependents) = self.dependents.get_mut(dependency) {
                dependents.remove(id);
            }
        }
        if let Some(key) = &row.task.idempotency_key {
            self.keys.remove(key);
        }
        for attempt in 1..=row.task.attempt {
            let attempt = JobId::new(id.clone(), attempt);
            self.attempts.remove(&attempt);
            if let Some(ended_at) = self.jobs.get(&attempt).and_then(|job| job.ended_at) {
                self.jobs.remove(&attempt);
                self.ended.remove(&(ended_at, attempt));
            }
        }
    }
}

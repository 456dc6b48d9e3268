//! Calls that people and policy make about tasks.

use agentic_core::{
    clock::Timestamp,
    error::Result,
    event::{EventType, NewEvent},
    id::TaskId,
    lane::{Lane, Park},
    limit::Scope,
    port::{Block, CancelTask, CreateMany, Defer, Edit, ParkLane, Ports, Progress, Unpark, Wake},
    rpc::Call,
    task::{NewTask, PendingReason, Priority, TaskEdit, TaskStatus},
};

use crate::{
    given::{id, n},
    invariants::all_tasks,
};

use super::generate::{Aim, Generator, Kind, PENDING, PROJECT, TASKS};

impl Generator {
    pub(super) async fn create(&mut self, left: &Ports, now: Timestamp) -> Result<Call> {
        let taken: Vec<TaskId> = all_tasks(left).await?.into_iter().map(|task| task.id).collect();
        let mut free: Vec<TaskId> = TASKS.iter().map(|task| id(task)).collect();
        free.retain(|task| !taken.contains(task));
        self.rng.shuffle(&mut free);
        let mut tasks: Vec<NewTask> = Vec::new();
        for _ in 0..self.rng.usize(1..4) {
            let new = if self.chance(92) { free.pop() } else { None };
            let new = new.unwrap_or_else(|| self.any_task());
            let known = [taken.clone(), tasks.iter().map(|task| task.id.clone()).collect()].concat();
            let dependencies = match self.rng.u32(0..20) {
                0 => vec![self.any_task(), self.any_task()],
                1..5 if !known.is_empty() => vec![self.pick(&known)],
                _ => Vec::new(),
            };
            tasks.push(NewTask {
                priority: self.pick(&Priority::ALL),
                labels: if self.chance(40) { [id("rust")].into() } else { [].into() },
                project: self.chance(30).then(|| id(PROJECT)),
                model: if self.chance(40) { self.any_model() } else { None },
                dependencies,
                not_before: self.chance(15).then(|| self.later(now, 20)),
                max_retries: self.rng.u32(0..3),
                estimated_tokens: n(self.rng.u32(0..20)),
                idempotency_key: self.chance(15).then(|| format!("key {}", self.rng.u32(0..9))),
                ..NewTask::new(new, "do it")
            });
        }
        Ok(Call::TasksCreateMany { create: CreateMany::new(tasks, now) })
    }

    /// What people and policy do to one task.
    pub(super) fn by_hand(&mut self, kind: Kind, aim: Aim, now: Timestamp) -> Call {
        let task = aim.id;
        match kind {
            Kind::Progress => Call::TasksProgress {
                progress: Progress {
                    task,
                    attempt: self.chance(70).then_some(aim.job.attempt),
                    agent_id: self.chance(80).then_some(aim.agent),
                    progress: self.chance(70).then(|| self.rng.u8(0..=100)),
                    notes: self.chance(40).then(|| self.text()),
                    now,
                },
            },
            Kind::Edit => {
                let edit = TaskEdit {
                    priority: self.chance(40).then(|| self.pick(&Priority::ALL)),
                    labels: self.chance(30).then(|| [id("rust")].into()),
                    model: if self.chance(30) { self.any_model() } else { None },
                    not_before: self.chance(30).then(|| self.later(now, 40)),
                    description: self.chance(40).then(|| self.text()),
                };
                Call::TasksEdit { edit: Edit { task, edit, now } }
            }
            Kind::Defer => {
                let reason =
                    PendingReason { code: "deferred".to_owned(), detail: self.text(), retry_at: None };
                let until = self.later(now, 40);
                // Something was woken since, as a rule.
                let seen = self.chance(20).then_some(0);
                let attempt = aim.job.attempt;
                Call::TasksDefer { defer: Defer { task, attempt, reason, until, seen, now } }
            }
            Kind::Block => {
                Call::TasksBlock { block: Block { task, reason: self.chance(40).then(|| self.text()), now } }
            }
            Kind::Cancel => {
                let status = if self.chance(75) { TaskStatus::Cancelled } else { TaskStatus::Failed };
                Call::TasksCancel { cancel: CancelTask { task, status, reason: self.text(), now } }
            }
            _ => Call::TasksRequeue { id: task, now },
        }
    }

    pub(super) async fn park(&mut self, left: &Ports, now: Timestamp) -> Result<Call> {
        let task = self.aim(left, PENDING).await?.task;
        let lane = task.map_or_else(Lane::default, |task| task.lane());
        let scope = Scope::Agent(self.any_agent());
        if self.chance(40) {
            let wake = match self.rng.u32(0..3) {
                0 => Wake::All,
                1 => Wake::Scope(scope),
                _ => Wake::Lane(lane),
            };
            // Which lanes a bounded step wakes first is nobody's promise.
            return Ok(Call::TasksUnpark { unpark: Unpark { wake, limit: 1_000 } });
        }
        let wake = left.tasks.lanes(1).await?.wake;
        let seen = if self.chance(85) { wake } else { wake.saturating_sub(1) };
        let retry_at = self.chance(50).then(|| self.later(now, 60));
        let code = self.pick(&["quota", "no_agent"]).to_owned();
        let reason = PendingReason { code, detail: "nobody has room".to_owned(), retry_at };
        let park = Park { reason, scope: self.chance(60).then_some(scope), parked_at: now };
        let event = self.chance(80).then(|| NewEvent::new(EventType::DispatchFailedQuota, now));
        let events = event.into_iter().collect();
        Ok(Call::TasksPark { park: ParkLane { lane, park, seen, events } })
    }
}

//! A server by script.

use std::{collections::HashMap, sync::Arc, time::Duration};

use agentic_core::{
    agent::AgentInfo,
    allowance::{UsageAnswer, UsageReport},
    amount::Amount,
    api::{
        AttemptDirective, CompleteTask, HeartbeatAnswer, HeartbeatBody, PatchTask, RegisterAgent,
        ReleaseTask, TaskMessage,
    },
    clock::Timestamp,
    error::{ConflictCode, Error, Kind, Result},
    id::{AgentId, JobId, TaskId},
    task::{NewTask, Task, TaskStatus},
    usage::Directive,
};
use agentic_worker::Api;
use async_trait::async_trait;
use tokio::{sync::watch, time::timeout};

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the server knows, was told, and answers.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// Whether calls are answered at all.
    pub(crate) away: bool,
    /// The agent's current start; 0 = not registered.
    pub(crate) incarnation: u64,
    /// Assigned and not started, by task.
    pub(crate) assigned: HashMap<TaskId, Task>,
    /// Seconds of lease that a heartbeat brings; absent = none.
    pub(crate) lease_secs: Option<u64>,
    /// What heartbeats and reports say to a job.
    pub(crate) directives: HashMap<TaskId, (Directive, &'static str)>,
    /// Tokens left, as every answer says.
    pub(crate) remaining: Option<Amount>,
    /// Whether the fence refuses the ends of attempts.
    pub(crate) fenced: bool,
    pub(crate) registrations: Vec<RegisterAgent>,
    pub(crate) beats: Vec<HeartbeatBody>,
    pub(crate) patches: Vec<(TaskId, PatchTask)>,
    pub(crate) completions: Vec<(TaskId, CompleteTask)>,
    pub(crate) releases: Vec<(TaskId, ReleaseTask)>,
    pub(crate) reports: Vec<UsageReport>,
    pub(crate) drains: usize,
    /// Requests for assignments.
    pub(crate) polls: usize,
    /// Calls that were not answered.
    pub(crate) missed: usize,
}

impl State {
    /// The last completion of `task`.
    pub(crate) fn completion(&self, task: &str) -> Option<&CompleteTask> {
        self.completions.iter().rfind(|(id, _)| id.as_str() == task).map(|(_, complete)| complete)
    }

    /// Whether `task` was started.
    pub(crate) fn started(&self, task: &str) -> bool {
        self.patches.iter().any(|(id, patch)| id.as_str() == task && patch.status.is_some())
    }

    /// The progress that was told of any task, in order.
    pub(crate) fn progress(&self) -> Vec<u8> {
        self.patches.iter().filter_map(|(_, patch)| patch.progress).collect()
    }
}

/// A handle of the scripted server; clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Fake(Arc<watch::Sender<State>>);

impl Fake {
    /// A server that is there, with leases of a minute.
    pub(crate) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(State { lease_secs: Some(60), ..State::default() })))
    }

    /// Changes the script.
    pub(crate) fn set(&self, change: impl FnOnce(&mut State)) {
        self.0.send_modify(change);
    }

    /// Looks at what happened.
    pub(crate) fn see<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.0.borrow())
    }

    /// Waits until `holds`.
    pub(crate) async fn until(&self, what: &str, holds: impl Fn(&State) -> bool) {
        let mut states = self.0.subscribe();
        let waited = timeout(PATIENCE, states.wait_for(|state| holds(state))).await;
        assert!(waited.is_ok(), "{what}: never, but {:#?}", self.0.borrow());
    }

    /// Assigns attempt 1 of a task.
    pub(crate) fn assign(&self, id: &str) {
        self.set(|state| {
            state.assigned.insert(id.parse().unwrap(), task(id));
        });
    }

    fn answer<T>(&self, answer: impl FnOnce(&mut State) -> Result<T>) -> Result<T> {
        let mut result = Err(Error::unavailable("the fake server"));
        self.0.send_modify(|state| {
            if state.away {
                state.missed += 1;
            } else {
                result = answer(state);
            }
        });
        result
    }
}

/// Attempt 1 of a task, as the server sends it.
pub(crate) fn task(id: &str) -> Task {
    let task = NewTask::new(id.parse().unwrap(), format!("title of {id}")).into_task(Timestamp::EPOCH);
    Task { status: TaskStatus::InProgress, attempt: 1, ..task }
}

fn info(agent: &AgentId, incarnation: u64) -> AgentInfo {
    serde_json::from_value(serde_json::json!({
        "id": agent, "incarnation": incarnation,
        "last_heartbeat": Timestamp::EPOCH, "registered_at": Timestamp::EPOCH,
    }))
    .unwrap()
}

fn fence(state: &State, task: &TaskId) -> Result<TaskMessage> {
    if state.fenced {
        return Err(Error::conflict(ConflictCode::StaleAttempt, "attempt 1 is over"));
    }
    Ok(TaskMessage { task: self::task(task.as_str()), message: String::new() })
}

fn check(state: &State, agent: &AgentId, incarnation: Option<u64>) -> Result<()> {
    if state.incarnation == 0 {
        return Err(Error::not_found(Kind::Agent, agent));
    }
    if incarnation != Some(state.incarnation) {
        return Err(Error::conflict(ConflictCode::StaleIncarnation, "started anew"));
    }
    Ok(())
}

#[async_trait]
impl Api for Fake {
    async fn register_agent(&self, agent: &RegisterAgent) -> Result<AgentInfo> {
        self.answer(|state| {
            state.registrations.push(agent.clone());
            state.incarnation += 1;
            Ok(info(&agent.id, state.incarnation))
        })
    }

    async fn heartbeat(&self, agent: &AgentId, body: &HeartbeatBody) -> Result<HeartbeatAnswer> {
        self.answer(|state| {
            state.beats.push(body.clone());
            check(state, agent, body.incarnation)?;
            let directives = body.attempts.iter().map(|attempt| {
                let said = state.directives.get(&attempt.task_id);
                AttemptDirective {
                    task_id: attempt.task_id.clone(),
                    attempt: attempt.attempt,
                    directive: said.map_or(Directive::Continue, |said| said.0),
                    reason: said.map(|said| said.1.to_owned()),
                    lease_secs: state.lease_secs,
                    remaining_tokens: state.remaining,
                    cost_micros: Amount::ZERO,
                    cost_source: None,
                }
            });
            Ok(HeartbeatAnswer { agent: info(agent, state.incarnation), directives: directives.collect() })
        })
    }

    async fn assignments(&self, agent: &AgentId, incarnation: u64, wait: Duration) -> Result<Vec<Task>> {
        self.answer(|state| {
            state.polls += 1;
            check(state, agent, Some(incarnation))
        })?;
        let mut states = self.0.subscribe();
        let _ = timeout(wait, states.wait_for(|state| state.away || !state.assigned.is_empty())).await;
        self.answer(|state| {
            check(state, agent, Some(incarnation))?;
            Ok(state.assigned.values().cloned().collect())
        })
    }

    async fn patch_task(&self, task: &TaskId, patch: &PatchTask) -> Result<Task> {
        self.answer(|state| {
            state.patches.push((task.clone(), patch.clone()));
            state.assigned.remove(task);
            fence(state, task).map(|answer| answer.task)
        })
    }

    async fn complete_task(&self, task: &TaskId, complete: &CompleteTask) -> Result<TaskMessage> {
        self.answer(|state| {
            state.completions.push((task.clone(), complete.clone()));
            fence(state, task)
        })
    }

    async fn release_task(&self, task: &TaskId, release: &ReleaseTask) -> Result<TaskMessage> {
        self.answer(|state| {
            state.releases.push((task.clone(), release.clone()));
            state.assigned.remove(task);
            fence(state, task)
        })
    }

    async fn report_usage(&self, report: &UsageReport) -> Result<UsageAnswer> {
        self.answer(|state| {
            state.reports.push(report.clone());
            let JobId { task, .. } = &report.job_id;
            let said = state.directives.get(task);
            Ok(UsageAnswer {
                directive: said.map_or(Directive::Continue, |said| said.0),
                reason: said.map(|said| said.1.to_owned()),
                remaining_tokens: state.remaining,
                cost_micros: Amount::ZERO,
                cost_source: None,
                unadmitted: false,
                late: false,
            })
        })
    }

    async fn drain(&self, _agent: &AgentId) -> Result<()> {
        self.answer(|state| {
            state.drains += 1;
            Ok(())
        })
    }
}

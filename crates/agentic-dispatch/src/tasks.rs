//! The service of tasks.

use std::{collections::BTreeMap, time::Duration};

use agentic_core::{
    amount::Amount,
    api::{ClaimTask, CompleteTask, CreateTask, LaneBody, PatchTask, ReleaseTask},
    attempt::{Attempt, Ending},
    clock::Timestamp,
    error::{ConflictCode, Error, Result},
    event::{Event, EventId},
    id::{AgentId, JobId, ModelName, ProjectName, TaskId},
    limit::Refusal,
    machine::LEASE_BOUNDS,
    port::{
        Admission, Assign, Beat, BeatAttempt, Block, CancelTask, Claim, CreateMany, Created, Edit,
        EndAttempt, Finish, Progress, StartAttempt,
    },
    task::{NewTask, Page, PendingReason, Task, TaskFilter, TaskResult, TaskStatus, TaskUpdate},
    usage::Figures,
};
use uuid::Uuid;

use crate::{
    budgets::{USED_UP, usage_scope},
    fleet::Fleet,
    limits::{Plan, Subject},
};

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// A person or a program that runs the fleet: acts for everybody.
    Operator,
    /// One agent: acts for its own attempts.
    Agent(AgentId),
}

impl Caller {
    fn agent(&self) -> Option<AgentId> {
        match self {
            Self::Operator => None,
            Self::Agent(id) => Some(id.clone()),
        }
    }
}

/// How often an ending is decided anew when the task moved between the read and the step.
const TRIES: usize = 3;
/// The most lanes that are shown.
const MAX_LANES: usize = 1_000;

/// What is done with tasks.
#[derive(Debug, Clone)]
pub struct TaskService {
    fleet: Fleet,
}

impl TaskService {
    pub(crate) fn new(fleet: Fleet) -> Self {
        Self { fleet }
    }

    pub(crate) fn fleet(&self) -> &Fleet {
        &self.fleet
    }

    /// Creates tasks, all or none. `key` is the idempotency key of the whole call: it stands for the keys that the
    /// tasks do not bring themselves.
    ///
    /// # Errors
    /// As [`agentic_core::port::TaskStore::create_many`].
    pub async fn create(&self, tasks: Vec<CreateTask>, key: Option<&str>) -> Result<Vec<Created>> {
        let create = CreateMany::new(Self::prepared(tasks, key)?, self.fleet.now());
        self.fleet.ports().tasks.create_many(create).await
    }

    /// Tasks with their ids and idempotency keys.
    pub(crate) fn prepared(tasks: Vec<CreateTask>, key: Option<&str>) -> Result<Vec<NewTask>> {
        let single = tasks.len() == 1;
        let with_key = |(i, mut task): (usize, CreateTask)| {
            let own = || key.map(|key| if single { key.to_owned() } else { format!("{key}/{i}") });
            task.idempotency_key = task.idempotency_key.or_else(own);
            task.into_new(fresh_id)
        };
        tasks.into_iter().enumerate().map(with_key).collect()
    }

    /// Reads a task.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn get(&self, id: &TaskId) -> Result<Task> {
        self.fleet.ports().tasks.get(id, self.fleet.now()).await
    }

    /// Reads a page of tasks.
    ///
    /// # Errors
    /// `Invalid` for a page of none or more than 1,000.
    pub async fn list(&self, filter: &TaskFilter, page: &Page) -> Result<Vec<Task>> {
        if page.limit == 0 || page.limit > Page::MAX_LIMIT {
            return Err(Error::invalid("limit", "must be 1 to 1000"));
        }
        self.fleet.ports().tasks.list(filter, page, self.fleet.now()).await
    }

    /// Counts tasks by status.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn counts(&self) -> Result<BTreeMap<TaskStatus, u64>> {
        self.fleet.ports().tasks.counts().await
    }

    /// Reads what happened to a task.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` for a limit of none or more than 1,000.
    pub async fn history(&self, id: &TaskId, after: EventId, limit: usize) -> Result<Vec<Event>> {
        if limit == 0 || limit > Page::MAX_LIMIT {
            return Err(Error::invalid("limit", "must be 1 to 1000"));
        }
        self.fleet.ports().tasks.history(id, after, limit).await
    }

    /// The lanes that have a ready task, in the order of their heads.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn lanes(&self) -> Result<Vec<LaneBody>> {
        let lanes = self.fleet.ports().tasks.lanes(MAX_LANES).await?;
        let body = |view: agentic_core::lane::LaneView| LaneBody {
            labels: view.lane.labels,
            model: view.lane.model,
            project: view.lane.project,
            head: view.head.id,
            parked: view.park.map(|park| park.reason),
        };
        Ok(lanes.views.into_iter().map(body).collect())
    }

    /// An agent takes a task itself: claiming is always admitting too.
    ///
    /// # Errors
    /// `Conflict` as [`agentic_core::port::Ledger::assign`], before `Refused`; `Invalid` for a lease under a second or
    /// over a day.
    pub async fn claim(&self, id: &TaskId, body: &ClaimTask) -> Result<Task> {
        let lease = body.lease_secs.map_or(self.fleet.policy().claim_lease, Duration::from_secs);
        let (shortest, longest) = LEASE_BOUNDS;
        if lease < shortest || lease > longest {
            return Err(Error::invalid("lease_secs", "must be 1 to 86400"));
        }
        let task = self.get(id).await?;
        let agent = match self.fleet.ports().agents.get(&body.agent_id).await {
            Ok(agent) => Some(agent),
            Err(Error::NotFound { .. }) => None,
            Err(error) => return Err(error),
        };
        let model =
            task.model.clone().or_else(|| agent.as_ref().and_then(|agent| agent.default_model().cloned()));
        let max_load = agent.as_ref().map_or(0, |agent| agent.max_load);
        let incarnation = agent.as_ref().map(|agent| agent.incarnation);
        let now = self.fleet.now();
        let project = task.project.as_ref();
        let subject = Subject { agent: &body.agent_id, max_load, model: model.as_ref(), project };
        // A task that is not free is told first, as the store would (409 before 429), and begins nothing.
        let free = task.status == TaskStatus::Pending && task.ready_at() <= now;
        let mut book = self.fleet.limits().await?;
        let plan = if free {
            self.fleet.plan(&mut book, &subject, task.estimated_tokens, now).await?
        } else {
            book.plan(self.fleet.policy(), &subject, now)
        };
        let job = JobId::new(task.id.clone(), task.attempt.saturating_add(1));
        let request = Request {
            job,
            task_created_at: task.created_at,
            agent_id: body.agent_id.clone(),
            incarnation,
            lease,
            dispatched: false,
        };
        if let (Some(rule), true) = (plan.rule.clone(), free) {
            return Err(Error::Refused(Box::new(rule)));
        }
        let verdicts = self.fleet.evaluate(&plan.shadows, task.estimated_tokens, now).await;
        let assign = request.assign(plan, model, task.project.clone(), task.estimated_tokens, now);
        let assigned = self.fleet.ports().ledger.assign(assign).await?.task;
        self.fleet.note_shadows(&task.lane(), id, &body.agent_id, verdicts, now).await;
        Ok(assigned)
    }

    /// What a holder says of its attempt, or an edit of a task that waits; never both.
    ///
    /// # Errors
    /// `Invalid` for a mixture, or a status that has an endpoint of its own; `Conflict` where the task's state or the
    /// fence refuses.
    pub async fn patch(&self, caller: &Caller, id: &TaskId, patch: &PatchTask) -> Result<Task> {
        let (update, edit) = (patch.update(), patch.edit());
        update.validate()?;
        edit.validate()?;
        if !edit.is_empty() {
            if update != TaskUpdate::default() || patch.attempt.is_some() {
                let detail = "an edit of a waiting task and an update of a running one must be two requests";
                return Err(Error::invalid("request", detail));
            }
            let now = self.fleet.now();
            return self.fleet.ports().tasks.edit(Edit { task: id.clone(), edit, now }).await;
        }
        let attempt = patch.attempt;
        match update.status {
            None | Some(TaskStatus::InProgress) => self.progress(caller, id, attempt, update).await,
            Some(TaskStatus::Blocked) => self.block(caller, id, attempt, update.notes).await,
            Some(TaskStatus::Pending) => self.put_back(caller, id, attempt, update.notes).await,
            Some(TaskStatus::Failed) if *caller == Caller::Operator => {
                let reason = update.notes.unwrap_or_else(|| "given up by hand".to_owned());
                self.close(id, TaskStatus::Failed, reason).await
            }
            Some(TaskStatus::Cancelled) => {
                Err(Error::invalid("status", format!("use POST /api/tasks/{id}/cancel to cancel a task")))
            }
            Some(TaskStatus::Completed | TaskStatus::Failed) => {
                Err(Error::invalid("status", format!("use POST /api/tasks/{id}/complete to end an attempt")))
            }
        }
    }

    /// A holder's first act starts its attempt, and every act renews it.
    async fn progress(
        &self,
        caller: &Caller,
        id: &TaskId,
        attempt: Option<u32>,
        update: TaskUpdate,
    ) -> Result<Task> {
        let ports = self.fleet.ports();
        let task = self.get(id).await?;
        let now = self.fleet.now();
        let job = JobId::new(id.clone(), attempt.unwrap_or(task.attempt));
        let start = StartAttempt { job: job.clone(), agent_id: caller.agent(), incarnation: None, now };
        let started = ports.ledger.start(start).await?;
        self.renew(&started, job, now).await?;
        if update.progress.is_none() && update.notes.is_none() {
            return Ok(started);
        }
        let TaskUpdate { progress, notes, .. } = update;
        let attempt = Some(task.attempt);
        ports
            .tasks
            .progress(Progress { task: id.clone(), attempt, agent_id: caller.agent(), progress, notes, now })
            .await
    }

    /// Renews a lease by an act of its holder, unless it was renewed within its last tenth.
    async fn renew(&self, task: &Task, job: JobId, now: Timestamp) -> Result<()> {
        let ports = self.fleet.ports();
        let Some(attempt) = ports.tasks.attempt(&job).await? else { return Ok(()) };
        let fresh = task.lease_expires_at.is_some_and(|at| at.since(now) >= attempt.lease * 9 / 10);
        if !fresh {
            let attempts = vec![BeatAttempt { job, figures: None }];
            ports.ledger.beat(Beat { agent_id: attempt.agent_id, incarnation: None, attempts, now }).await?;
        }
        Ok(())
    }

    async fn block(
        &self,
        caller: &Caller,
        id: &TaskId,
        attempt: Option<u32>,
        why: Option<String>,
    ) -> Result<Task> {
        let reason = why.unwrap_or_else(|| "blocked by hand".to_owned());
        if self.get(id).await?.status == TaskStatus::InProgress {
            return self.end(caller, id, attempt, None, |_| Ending::Blocked { reason: reason.clone() }).await;
        }
        let block = Block { task: id.clone(), reason: Some(reason), now: self.fleet.now() };
        self.fleet.ports().tasks.block(block).await
    }

    async fn put_back(
        &self,
        caller: &Caller,
        id: &TaskId,
        attempt: Option<u32>,
        why: Option<String>,
    ) -> Result<Task> {
        if self.get(id).await?.status == TaskStatus::InProgress {
            let reason = why.unwrap_or_else(|| "given back".to_owned());
            return self
                .end(caller, id, attempt, None, |_| Ending::Released { reason: reason.clone() })
                .await;
        }
        self.fleet.ports().tasks.block(Block { task: id.clone(), reason: None, now: self.fleet.now() }).await
    }

    /// Ends an attempt with its result; `success: false` fails it under the retry policy.
    ///
    /// # Errors
    /// `Invalid` for texts over their bounds; `Conflict` where the fence refuses.
    pub async fn complete(&self, caller: &Caller, id: &TaskId, body: CompleteTask) -> Result<Task> {
        let CompleteTask { success, output, artifacts, error_message, attempt, usage, resets_at } = body;
        let result = TaskResult { success, output, artifacts, error_message };
        result.validate()?;
        let fleet = self.fleet.clone();
        let limited = self.hold(caller, id, attempt, resets_at.filter(|_| !result.success)).await?;
        let ending = move |task: &Task| {
            if result.success {
                return Ending::Completed(result.clone());
            }
            if let Some(until) = limited {
                return Ending::Released { reason: used_up(until) };
            }
            let said = result.error_message.clone().filter(|text| !text.is_empty());
            let error = said.or_else(|| Some(result.output.clone()).filter(|text| !text.is_empty()));
            let error = error.unwrap_or_else(|| "the agent did not say why".to_owned());
            Ending::Failed { error, next: fleet.after_failure(task, fleet.now()) }
        };
        self.end(caller, id, attempt, usage, ending).await
    }

    /// Notes a provider's usage limit before the attempt that met it is given back, so that nobody gives it back to its
    /// agent. Only the holder of the attempt is believed. Answers until when; a time that is past is no limit.
    async fn hold(
        &self,
        caller: &Caller,
        id: &TaskId,
        attempt: Option<u32>,
        resets_at: Option<Timestamp>,
    ) -> Result<Option<Timestamp>> {
        let Some(until) = resets_at.filter(|until| *until > self.fleet.now()) else { return Ok(None) };
        let task = self.get(id).await?;
        let current = attempt.is_none_or(|attempt| attempt == task.attempt);
        let agent = task.claimed_by.filter(|agent| caller.agent().is_none_or(|caller| caller == *agent));
        if let Some(agent) = agent.filter(|_| task.status == TaskStatus::InProgress && current) {
            let job = self.fleet.ports().allowances.job(&JobId::new(task.id, task.attempt)).await?;
            let model = job.and_then(|job| job.model().cloned());
            self.fleet.allowances().hold(&usage_scope(agent, model), until, USED_UP).await?;
        }
        Ok(Some(until))
    }

    /// Gives an attempt back; burns nothing.
    ///
    /// # Errors
    /// `Conflict` where the fence refuses.
    pub async fn release(&self, caller: &Caller, id: &TaskId, body: ReleaseTask) -> Result<Task> {
        let ReleaseTask { reason, attempt, usage, resets_at } = body;
        let resets_at = self.hold(caller, id, attempt, resets_at).await?;
        let why = || resets_at.map_or_else(|| "given back".to_owned(), used_up);
        let reason = if reason.is_empty() { why() } else { reason };
        self.end(caller, id, attempt, usage, |_| Ending::Released { reason: reason.clone() }).await
    }

    /// Ends an attempt. What follows a failure is decided on a read, so it is decided anew if the task moved since. One that a
    /// limit told to stop has failed, whoever gives it back for whatever reason (design §7).
    async fn end(
        &self,
        caller: &Caller,
        id: &TaskId,
        attempt: Option<u32>,
        figures: Option<Figures>,
        ending: impl Fn(&Task) -> Ending,
    ) -> Result<Task> {
        for last in (0..TRIES).rev() {
            let task = self.get(id).await?;
            let mut ending = ending(&task);
            if let Ending::Released { reason } = &ending {
                let job = JobId::new(id.clone(), attempt.unwrap_or(task.attempt));
                if self.fleet.ports().allowances.job(&job).await?.is_some_and(|job| job.stopped) {
                    let next = self.fleet.after_failure(&task, self.fleet.now());
                    ending = Ending::Failed { error: reason.clone(), next };
                }
            }
            let now = self.fleet.now();
            let end = EndAttempt { task: id.clone(), attempt, agent_id: caller.agent(), ending, now };
            match self.fleet.ports().ledger.finish(Finish { end, figures }).await {
                Err(Error::Invalid { field, .. }) if field == "next" && last > 0 => {}
                answer => return answer?.accepted(),
            }
        }
        Err(Error::conflict(ConflictCode::IllegalTransition, format!("task {id} keeps moving; try again")))
    }

    /// Calls a task off.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` when it is over.
    pub async fn cancel(&self, id: &TaskId, reason: String) -> Result<Task> {
        let reason = if reason.is_empty() { "cancelled by hand".to_owned() } else { reason };
        self.close(id, TaskStatus::Cancelled, reason).await
    }

    async fn close(&self, id: &TaskId, status: TaskStatus, reason: String) -> Result<Task> {
        let cancel = CancelTask { task: id.clone(), status, reason, now: self.fleet.now() };
        self.fleet.ports().tasks.cancel(cancel).await
    }

    /// Puts a failed or cancelled task back.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` otherwise.
    pub async fn requeue(&self, id: &TaskId) -> Result<Task> {
        self.fleet.ports().tasks.requeue(id, self.fleet.now()).await
    }

    /// Reads an attempt of a task.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn attempt(&self, job: &JobId) -> Result<Option<Attempt>> {
        self.fleet.ports().tasks.attempt(job).await
    }
}

/// Who is to get which attempt, for how long.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) job: JobId,
    pub(crate) task_created_at: Timestamp,
    pub(crate) agent_id: AgentId,
    pub(crate) incarnation: Option<u64>,
    pub(crate) lease: Duration,
    pub(crate) dispatched: bool,
}

impl Request {
    /// Both halves of the assignment, with one expiry.
    pub(crate) fn assign(
        self,
        plan: Plan,
        model: Option<ModelName>,
        project: Option<ProjectName>,
        ask: Amount,
        now: Timestamp,
    ) -> Assign {
        let Self { job, task_created_at, agent_id, incarnation, lease, dispatched } = self;
        let deadline = plan.max_duration.map(|most| now.plus(most));
        let expires_at = deadline.map_or(now.plus(lease), |deadline| deadline.min(now.plus(lease)));
        let claim = Claim {
            job: job.clone(),
            agent_id: agent_id.clone(),
            incarnation,
            lease,
            expires_at,
            deadline,
            dispatched,
            now,
        };
        let (price, limits) = (plan.price, plan.limits);
        let id = Uuid::now_v7().to_string();
        let admission = Admission {
            job,
            id,
            agent_id,
            model,
            project,
            task_created_at: Some(task_created_at),
            price,
            limits,
            ask,
            expires_at,
            now,
        };
        Assign { claim, admission }
    }
}

/// Why an attempt is given back that met its provider's usage limit.
fn used_up(until: Timestamp) -> String {
    format!("the provider's usage limit is used up until {until}")
}

/// A new id: a UUIDv7, so that ids sort by age.
fn fresh_id() -> TaskId {
    TaskId::try_new(Uuid::now_v7().to_string()).expect("a UUID keeps the rule of ids")
}

/// What a refusal says to a task that waits.
pub(crate) fn quota_reason(refusal: &Refusal) -> PendingReason {
    PendingReason { code: "quota".to_owned(), detail: refusal.to_string(), retry_at: refusal.retry_at }
}

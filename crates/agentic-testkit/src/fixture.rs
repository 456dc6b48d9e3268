//! The world of one case.
#![expect(clippy::missing_panics_doc, reason = "a case fails by panicking")]

use std::{any::Any, fmt, ops::Deref};

use agentic_core::{
    agent::AgentInfo,
    clock::Timestamp,
    error::Result,
    event::{Event, EventType},
    id::{AgentId, JobId},
    job::Job,
    limit::{Limit, MeterKey, Reading},
    port::{Assign, CreateMany, Ports, StartAttempt},
    task::{NewTask, Task},
};

use crate::{
    given::{self, id, t},
    invariants,
};

/// The ports of one back end in a world of their own, and what keeps that world alive.
///
/// It dereferences to its [`Ports`]; its methods are the steps that most cases share, at [`t`]`(0)` unless they
/// take a time. A step that a case takes for granted panics when it fails.
pub struct Fixture {
    ports: Ports,
    guard: Box<dyn Any + Send + Sync>,
}

impl Fixture {
    /// A world that ends with its ports.
    pub fn new(ports: Ports) -> Self {
        Self { ports, guard: Box::new(()) }
    }

    /// Keeps `guard` (a temporary directory, a server) until the case is over.
    #[must_use]
    pub fn holding(self, guard: impl Any + Send + Sync) -> Self {
        Self { guard: Box::new((self.guard, guard)), ..self }
    }

    /// Creates a task.
    pub async fn create(&self, task: NewTask) -> Task {
        self.create_all(vec![task], t(0)).await.remove(0)
    }

    /// Creates tasks in one step, in the order given.
    pub async fn create_all(&self, tasks: Vec<NewTask>, now: Timestamp) -> Vec<Task> {
        let created = self.tasks.create_many(CreateMany::new(tasks, now)).await;
        created.expect("the tasks are new and valid").into_iter().map(|created| created.task).collect()
    }

    /// Registers an agent without bounds.
    pub async fn agent(&self, agent: &str) -> AgentInfo {
        self.agents.register(given::register(agent, t(0))).await.expect("an agent can always register")
    }

    /// Reads a task.
    pub async fn task(&self, task: &str, now: Timestamp) -> Task {
        self.tasks.get(&id(task), now).await.expect("the task exists")
    }

    /// Reads a job.
    pub async fn job(&self, job: &JobId) -> Job {
        self.allowances.job(job).await.expect("jobs can be read").expect("the job was admitted or reported")
    }

    /// Reads one meter.
    pub async fn reading(&self, key: &MeterKey, now: Timestamp) -> Reading {
        let readings = self.allowances.readings(std::slice::from_ref(key), now).await;
        readings.expect("meters can be read").remove(0)
    }

    /// What one meter stands at, and what is held of it.
    pub async fn used(&self, limit: &Limit, now: Timestamp) -> (u64, u64) {
        let reading = self.reading(&limit.key, now).await;
        (reading.used.get(), reading.reserved.get())
    }

    /// Counts the live reservations of an agent.
    pub async fn load(&self, agent: &str, now: Timestamp) -> u32 {
        let agents: [AgentId; 1] = [id(agent)];
        self.allowances.active_jobs(&agents, now).await.expect("loads can be read")[0]
    }

    /// Admits and claims, as an agent that takes the task itself: the attempt starts at once.
    pub async fn take(&self, assign: Assign) -> Result<Task> {
        Ok(self.ledger.assign(assign).await?.task)
    }

    /// Creates a task without limits and has an agent that never registered run its first attempt.
    pub async fn running(&self, task: &str, agent: &str) -> JobId {
        self.create(given::task(task)).await;
        let job = given::job(task, 1);
        self.take(given::assign(&job, agent, t(0))).await.expect("a fresh task can be taken");
        job
    }

    /// Creates a task and has it assigned by a dispatcher to a registered agent, unstarted.
    pub async fn assigned(&self, task: &str, agent: &str) -> JobId {
        self.create(given::task(task)).await;
        let incarnation = self.agents.get(&id(agent)).await.expect("the agent is registered").incarnation;
        let job = given::job(task, 1);
        let assign = given::dispatched(given::assign(&job, agent, t(0)), incarnation);
        self.take(assign).await.expect("a fresh task can be assigned");
        job
    }

    /// Asks for a job's place, for agent `w` and model `m`.
    pub async fn admit(&self, job: &JobId, limits: &[Limit], ask: u32, now: Timestamp) -> Result<Job> {
        self.allowances.admit(given::asking(given::admission(job, "w", now), limits, ask)).await
    }

    /// Has a job of agent `w` and model `m` admitted, started, and charged so many tokens.
    pub async fn spent(&self, job: &JobId, limits: &[Limit], tokens: u32, now: Timestamp) {
        self.admit(job, limits, tokens, now).await.expect("there is room");
        self.allowances.start(given::start_job(job, now)).await.expect("it was admitted");
        let report = given::report(job, "w", given::figures(tokens, 0), now);
        self.allowances.report(report).await.expect("a report is always taken");
    }

    /// Starts an attempt as its holder.
    pub async fn start(&self, job: &JobId, agent: &str, now: Timestamp) -> Result<Task> {
        let (job, agent_id) = (job.clone(), Some(id(agent)));
        self.ledger.start(StartAttempt { job, agent_id, incarnation: None, now }).await
    }

    /// Reads the whole log.
    pub async fn log(&self) -> Vec<Event> {
        let mut events = Vec::new();
        let mut cursor = 0;
        loop {
            let page = self.events.after(cursor, 1_000).await.expect("nothing was trimmed");
            if page.events.is_empty() {
                return events;
            }
            cursor = page.cursor;
            events.extend(page.events);
        }
    }

    /// The types of a task's own events, oldest first; what its allowance tells may stand in another log, at another
    /// place, where the two live apart.
    pub async fn kinds(&self, task: &str) -> Vec<EventType> {
        let events = self.tasks.history(&id(task), 0, 1_000).await.expect("the task exists");
        let own = |kind: &EventType| !matches!(kind, EventType::UsageRecorded | EventType::QuotaWarning);
        events.into_iter().map(|event| event.kind).filter(own).collect()
    }

    /// Counts the events of a type in the whole log.
    pub async fn count(&self, kind: EventType) -> usize {
        self.log().await.iter().filter(|event| event.kind == kind).count()
    }

    /// Holds the world against [`invariants`], as every generated test does after its case.
    pub async fn check(&self) {
        let broken = invariants::broken(&self.ports).await.expect("everything can be read");
        assert!(broken.is_empty(), "invariants are broken:\n{}", broken.join("\n"));
    }
}

/// Runs `count` futures at once, as tasks of their own; answers in their order.
pub async fn at_once<T, F>(count: usize, make: impl Fn(usize) -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let running: Vec<_> = (0..count).map(|i| tokio::spawn(make(i))).collect();
    let ended = futures_util::future::join_all(running).await;
    ended.into_iter().map(|answer| answer.expect("no task of a case panics")).collect()
}

impl Deref for Fixture {
    type Target = Ports;
    fn deref(&self) -> &Ports {
        &self.ports
    }
}

impl fmt::Debug for Fixture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fixture").field("ports", &self.ports).finish_non_exhaustive()
    }
}

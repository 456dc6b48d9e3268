//! Making calls up: from a seed, and from what the left back end has.

use std::time::Duration;

use agentic_core::{
    agent::AgentSpec,
    clock::Timestamp,
    error::{Error, Result},
    event::{EventType, NewEvent},
    id::{AgentId, JobId, ModelName, TaskId},
    port::{Append, ExpiredJobs, Finish, Heartbeat, Mark, Ports, ReadEntries, Reap, Register, SetDraining},
    rpc::Call,
    task::{Page, Priority, Task, TaskFilter, TaskStatus},
};

use crate::{
    given::{id, t},
    invariants::all_tasks,
};

/// The tasks of a generated world.
pub(super) const TASKS: [&str; 24] = [
    "t00", "t01", "t02", "t03", "t04", "t05", "t06", "t07", "t08", "t09", "t10", "t11", "t12", "t13", "t14",
    "t15", "t16", "t17", "t18", "t19", "t20", "t21", "t22", "t23",
];
/// Its agents; the last never registers.
pub(super) const AGENTS: [&str; 4] = ["a0", "a1", "a2", "stranger"];
/// Its models.
pub(super) const MODELS: [&str; 2] = ["m0", "vendor/m1"];
/// Its project.
pub(super) const PROJECT: &str = "p";

/// Where a call of some kind does something.
pub(super) const RUNNING: &[TaskStatus] = &[TaskStatus::InProgress];
pub(super) const PENDING: &[TaskStatus] = &[TaskStatus::Pending];
const WAITING: &[TaskStatus] = &[TaskStatus::Pending, TaskStatus::Blocked];
pub(super) const OPEN: &[TaskStatus] = &[TaskStatus::Pending, TaskStatus::Blocked, TaskStatus::InProgress];
const OVER: &[TaskStatus] = &[TaskStatus::Failed, TaskStatus::Cancelled];

/// The kinds of calls, and how often each comes up.
const KINDS: &[(Kind, u32)] = &[
    (Kind::Create, 8),
    (Kind::Assign, 18),
    (Kind::Start, 8),
    (Kind::Beat, 14),
    (Kind::Finish, 16),
    (Kind::Sweep, 8),
    (Kind::Half, 10),
    (Kind::Job, 12),
    (Kind::Progress, 3),
    (Kind::Edit, 4),
    (Kind::Defer, 2),
    (Kind::Block, 5),
    (Kind::Cancel, 3),
    (Kind::Requeue, 3),
    (Kind::Promote, 6),
    (Kind::Park, 6),
    (Kind::Agent, 12),
    (Kind::Limit, 5),
    (Kind::Log, 2),
    (Kind::Prune, 2),
    (Kind::Read, 10),
];

#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Create,
    Assign,
    Start,
    Beat,
    Finish,
    Sweep,
    Half,
    Job,
    Progress,
    Edit,
    Defer,
    Block,
    Cancel,
    Requeue,
    Promote,
    Park,
    Agent,
    Limit,
    Log,
    Prune,
    Read,
}

/// Makes up one call after the other.
#[derive(Debug)]
pub(super) struct Generator {
    pub(super) rng: fastrand::Rng,
    now: Timestamp,
    pub(super) admissions: u32,
}

/// A task as the left back end has it, and an attempt of it that somebody might mean.
pub(super) struct Aim {
    pub(super) id: TaskId,
    pub(super) task: Option<Task>,
    pub(super) job: JobId,
    pub(super) agent: AgentId,
}

impl Generator {
    pub(super) fn new(seed: u64) -> Self {
        Self { rng: fastrand::Rng::with_seed(seed), now: t(0), admissions: 0 }
    }

    /// The next call.
    ///
    /// # Errors
    /// What the left back end answers to reads.
    pub(super) async fn next(&mut self, left: &Ports) -> Result<Call> {
        self.pass_time();
        let total = KINDS.iter().map(|(_, weight)| weight).sum();
        let mut dice = self.rng.u32(0..total);
        let mut kind = Kind::Read;
        for (candidate, weight) in KINDS {
            if dice < *weight {
                kind = *candidate;
                break;
            }
            dice -= weight;
        }
        // What nobody could do at the moment gives way, mostly, to what makes it possible.
        let tasks = all_tasks(left).await?;
        let any = |status| tasks.iter().any(|task| task.status == status);
        let needs_running = matches!(kind, Kind::Start | Kind::Beat | Kind::Finish | Kind::Progress);
        if needs_running && !any(TaskStatus::InProgress) && self.chance(90) {
            kind = Kind::Assign;
        }
        if matches!(kind, Kind::Assign) && !any(TaskStatus::Pending) && self.chance(90) {
            kind = Kind::Create;
        }
        if matches!(kind, Kind::Create) && tasks.len() == TASKS.len() && self.chance(80) {
            kind = Kind::Prune;
        }
        let now = self.moment();
        match kind {
            Kind::Create => self.create(left, now).await,
            Kind::Assign => self.assign(left, now).await,
            Kind::Start => self.start(left, now).await,
            Kind::Beat => self.beat(left, now).await,
            Kind::Finish => {
                let (end, figures) = (self.end(left, now).await?, self.maybe_figures());
                Ok(Call::LedgerFinish { finish: Finish { end, figures } })
            }
            Kind::Sweep => self.sweep(left, now).await,
            Kind::Half => self.half(left, now).await,
            Kind::Job => self.job(left, now).await,
            Kind::Agent => self.agent(left, now).await,
            Kind::Limit => Ok(self.limit_call(now)),
            Kind::Promote => Ok(Call::TasksPromoteDue { now, limit: self.rng.usize(1..5) }),
            Kind::Park => self.park(left, now).await,
            Kind::Log => Ok(self.log(now)),
            Kind::Prune => {
                let age = if self.chance(50) { 0 } else { self.rng.u64(0..5_000) };
                let before = now.minus(Duration::from_secs(age));
                Ok(Call::TasksPrune { before, limit: self.rng.usize(1..4), now })
            }
            Kind::Read => self.read(left, now).await,
            Kind::Progress | Kind::Edit | Kind::Defer | Kind::Block | Kind::Cancel | Kind::Requeue => {
                let fit = match kind {
                    Kind::Progress => RUNNING,
                    Kind::Edit | Kind::Block => WAITING,
                    Kind::Defer => PENDING,
                    Kind::Cancel => OPEN,
                    _ => OVER,
                };
                let aim = self.aim(left, fit).await?;
                Ok(self.by_hand(kind, aim, now))
            }
        }
    }

    /// Mostly nothing, sometimes seconds, seldom most of a day.
    fn pass_time(&mut self) {
        let millis = match self.rng.u32(0..100) {
            0..50 => 0,
            50..70 => self.rng.u64(1..2_000),
            70..92 => self.rng.u64(1..6_000),
            92..98 => self.rng.u64(1..40_000),
            98 => self.rng.u64(1..3_660_000),
            _ => self.rng.u64(1..50_000_000),
        };
        self.now = self.now.plus(Duration::from_millis(millis));
    }

    /// The present, as a caller sees it: clocks differ a little.
    fn moment(&mut self) -> Timestamp {
        let behind = if self.chance(10) { self.rng.u64(0..3_000) } else { 0 };
        self.now.minus(Duration::from_millis(behind))
    }

    pub(super) fn chance(&mut self, percent: u32) -> bool {
        self.rng.u32(0..100) < percent
    }

    pub(super) fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.rng.usize(0..of.len())].clone()
    }

    pub(super) fn any_task(&mut self) -> TaskId {
        id(self.pick(&TASKS))
    }

    pub(super) fn any_agent(&mut self) -> AgentId {
        id(self.pick(&AGENTS))
    }

    pub(super) fn any_model(&mut self) -> Option<ModelName> {
        self.chance(70).then(|| id(self.pick(&MODELS)))
    }

    pub(super) fn later(&mut self, now: Timestamp, secs: u64) -> Timestamp {
        now.plus(Duration::from_secs(self.rng.u64(0..=secs)))
    }

    pub(super) fn text(&mut self) -> String {
        self.pick(&["", "x", "new words", "<b>\u{1b}[1m'; --"]).to_owned()
    }

    /// Aims at a task, mostly at one in a status where the call does something, at its latest attempt and its holder.
    pub(super) async fn aim(&mut self, left: &Ports, fit: &[TaskStatus]) -> Result<Aim> {
        let tasks = all_tasks(left).await?;
        let fitting: Vec<&Task> = tasks.iter().filter(|task| fit.contains(&task.status)).collect();
        let task = match self.rng.u32(0..20) {
            0 => None,
            1..4 if !tasks.is_empty() => Some(self.pick(&tasks)),
            _ if !fitting.is_empty() => Some(self.pick(&fitting).clone()),
            _ => None,
        };
        let id = task.as_ref().map_or_else(|| self.any_task(), |task| task.id.clone());
        let latest = task.as_ref().map_or(0, |task| task.attempt);
        let attempt = match self.rng.u32(0..16) {
            0 | 1 => latest.saturating_sub(1),
            2 => latest + 1,
            _ => latest,
        };
        let job = JobId::new(id.clone(), attempt);
        let holder = left.tasks.attempt(&job).await?.map(|attempt| attempt.agent_id);
        let agent = if self.chance(92) { holder } else { None };
        let agent = agent.unwrap_or_else(|| self.any_agent());
        Ok(Aim { id, task, job, agent })
    }

    pub(super) async fn incarnation(&mut self, left: &Ports, agent: &AgentId) -> Result<Option<u64>> {
        let present = match left.agents.get(agent).await {
            Ok(agent) => agent.incarnation,
            Err(Error::NotFound { .. }) => 0,
            Err(error) => return Err(error),
        };
        Ok(match self.rng.u32(0..10) {
            0 => Some(present.saturating_sub(1)),
            1..4 => None,
            _ => (present > 0).then_some(present),
        })
    }

    async fn agent(&mut self, left: &Ports, now: Timestamp) -> Result<Call> {
        // The stranger never registers.
        let agent_id: AgentId = id(self.pick(&AGENTS[..3]));
        Ok(match self.rng.u32(0..12) {
            0..4 => {
                let models = self.any_model().into_iter().collect();
                let max_load = self.rng.u32(0..3);
                let agent = AgentSpec { models, max_load, ..AgentSpec::new(agent_id) };
                Call::AgentsRegister { register: Register { agent, now } }
            }
            4..8 => {
                let incarnation = self.incarnation(left, &agent_id).await?;
                Call::AgentsHeartbeat { heartbeat: Heartbeat { agent_id, incarnation, now } }
            }
            8 => Call::AgentsDeregister { id: agent_id, now },
            9 => {
                let draining = self.chance(40);
                Call::AgentsSetDraining { set: SetDraining { agent_id, draining, now } }
            }
            _ => {
                let ttl = Duration::from_secs(self.rng.u64(1..120));
                Call::AgentsReap { reap: Reap { ttl, limit: self.rng.usize(1..4), now } }
            }
        })
    }

    fn log(&mut self, now: Timestamp) -> Call {
        match self.rng.u32(0..4) {
            0 => Call::EventsTrim {
                before: now.minus(Duration::from_secs(self.rng.u64(0..500))),
                limit: self.rng.usize(1..20),
            },
            1 => {
                let value = self.chance(70).then(|| self.text());
                Call::SettingsPut { key: "paused".to_owned(), value }
            }
            _ => {
                let event = |kind| NewEvent::new(kind, now);
                let events = vec![event(EventType::QuotaExceeded), event(EventType::LimitsChanged)];
                let mark = self.chance(40).then(|| Mark {
                    key: "paused".to_owned(),
                    from: self.chance(50).then(|| self.text()),
                    to: self.text(),
                });
                Call::EventsAppend { append: Append { events, mark } }
            }
        }
    }

    async fn read(&mut self, left: &Ports, now: Timestamp) -> Result<Call> {
        let aim = self.aim(left, OPEN).await?;
        Ok(match self.rng.u32(0..8) {
            0 => Call::TasksGet { id: aim.id, now },
            1 => {
                let filter = TaskFilter {
                    status: self.chance(40).then(|| self.pick(&TaskStatus::ALL)),
                    labels: if self.chance(20) { [id("rust")].into() } else { [].into() },
                    priority: self.chance(20).then(|| self.pick(&Priority::ALL)),
                    project: self.chance(20).then(|| id(PROJECT)),
                    claimed_by: self.chance(20).then_some(aim.agent),
                };
                let cursor = aim.task.filter(|_| self.rng.bool());
                let cursor = cursor
                    .map(|task| agentic_core::task::TaskCursor { created_at: task.created_at, id: task.id });
                Call::TasksList { filter, page: Page { limit: self.rng.usize(1..6), cursor }, now }
            }
            2 => Call::TasksLanes { limit: self.rng.usize(1..4) },
            3 => {
                let after = self.rng.u64(0..left.events.last().await?.max(1));
                Call::TasksHistory { id: aim.id, after, limit: self.rng.usize(1..6) }
            }
            4 => {
                let cursor = self.rng.u64(0..left.events.last().await?.max(1));
                Call::EventsAfter { cursor, limit: self.rng.usize(1..20) }
            }
            5 => Call::AllowancesExpired { expired: ExpiredJobs { limit: self.rng.usize(1..6), now } },
            6 => {
                let read = ReadEntries { agent_id: aim.agent, cursor: None, limit: self.rng.usize(1..6) };
                Call::AllowancesEntries { read }
            }
            _ => {
                let agents = vec![aim.agent, self.any_agent()];
                Call::AllowancesActiveJobs { agents, now }
            }
        })
    }
}

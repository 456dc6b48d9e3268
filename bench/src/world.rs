//! A fleet to measure: a back end of its own, with agents, limits and tasks.

use std::{fmt, sync::Arc};

use agentic_core::{
    agent::AgentSpec,
    allowance::{ModelQuota, Price},
    amount::Amount,
    attempt::Ending,
    clock::{Clock, SystemClock, Timestamp},
    id::{AgentId, Label, ModelName, TaskId},
    limit::{Limit, Meter, Scope, Window},
    memory::Memory,
    port::{CreateMany, EndAttempt, Finish, Ports, Register},
    task::{NewTask, TaskResult},
    usage::Figures,
};
use agentic_dispatch::{DefaultAllowance, Fleet, Policy};
use agentic_store_sqlite::{SqliteOptions, SqliteStore};
use anyhow::{Context, Result};
use clap::ValueEnum;
use tempfile::TempDir;

use crate::{Args, redis::Redis};

/// The file of a fleet in its directory, as `agentic serve` names it.
pub(crate) const FILE: &str = "agentic.db";

/// A limit that is never reached.
pub(crate) const LARGE: Amount = Amount::saturating(1_000_000_000_000);

/// Which back end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Backend {
    Memory,
    Sqlite,
    Redis,
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Memory => "memory",
            Self::Sqlite => "SQLite FULL",
            Self::Redis => "Redis",
        })
    }
}

/// A back end, and what keeps it alive.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) ports: Ports,
    /// The store, where it is SQLite: it counts what it does.
    pub(crate) sqlite: Option<SqliteStore>,
    /// The server, where it is Redis: it counts too.
    pub(crate) redis: Option<Redis>,
    /// Where its [`FILE`] is; deleted with it.
    dir: TempDir,
}

impl World {
    /// An empty one, with its files under [`Args::dir`].
    pub(crate) async fn new(backend: Backend, args: &Args) -> Result<Self> {
        let dir = tempfile::tempdir_in(&args.dir).context("cannot make a directory to write in")?;
        let (mut sqlite, mut redis) = (None, None);
        let ports = match backend {
            Backend::Memory => Memory::new().ports(),
            Backend::Sqlite => {
                sqlite.insert(SqliteStore::open(dir.path().join(FILE), SqliteOptions::new())?).ports()
            }
            Backend::Redis => {
                let server = Redis::start(args.redis.as_deref(), dir.path()).await?;
                redis.insert(server).store().await?.ports()
            }
        };
        Ok(Self { ports, sqlite, redis, dir })
    }

    /// Registers agents `agent-00000` and so on, with room for `max_load` (0 = unlimited) each.
    pub(crate) async fn agents(&self, count: u32, max_load: u32) -> Result<Vec<AgentId>> {
        let mut ids = Vec::new();
        for number in 0..count {
            let id: AgentId = format!("agent-{number:05}").parse()?;
            let agent = AgentSpec { max_load, models: vec![model()?], ..AgentSpec::new(id.clone()) };
            self.ports.agents.register(Register { agent, now: now() }).await?;
            ids.push(id);
        }
        Ok(ids)
    }

    /// Creates `count` ready tasks in one lane, oldest first, numbered from `from`; agents have no label, so that
    /// nobody can take a task that has one.
    pub(crate) async fn tasks(&self, from: u32, count: u32, label: Option<&str>) -> Result<Vec<TaskId>> {
        let labels = label.map(str::parse::<Label>).transpose()?;
        let mut ids = Vec::new();
        for batch in (from..from + count).step_by(1_000) {
            let task = |number| {
                let new = NewTask::new(format!("task-{number:07}").parse()?, "measure me");
                let labels = labels.iter().cloned().collect();
                Ok(NewTask { model: Some(model()?), labels, estimated_tokens: 1_000_u32.into(), ..new })
            };
            let numbers = batch..(from + count).min(batch + 1_000);
            let tasks = numbers.map(task).collect::<Result<Vec<NewTask>>>()?;
            ids.extend(tasks.iter().map(|task| task.id.clone()));
            self.ports.tasks.create_many(CreateMany::new(tasks, now())).await?;
        }
        Ok(ids)
    }

    /// Ends it, and leaves its file.
    pub(crate) fn close(self) -> TempDir {
        self.dir
    }

    /// The services over it, with every kind of quota on and none ever reached.
    pub(crate) async fn fleet(&self) -> Result<Fleet> {
        self.limited_fleet(LARGE, LARGE).await
    }

    /// As [`World::fleet`], with so many tokens a day for each agent, and for the model.
    pub(crate) async fn limited_fleet(&self, each: Amount, all: Amount) -> Result<Fleet> {
        let quota = ModelQuota {
            daily_token_budget: all,
            hourly_rate_limit: LARGE,
            cost_ceiling: LARGE,
            price: Some(Price::flat(3_000_000_u32.into(), 15_000_000_u32.into())),
            ..ModelQuota::unlimited(model()?)
        };
        self.ports.allowances.set_model_quota(quota, now()).await?;
        let allowance = DefaultAllowance {
            daily_token_limit: each,
            daily_job_limit: LARGE,
            concurrent_jobs: LARGE,
            ..DefaultAllowance::default()
        };
        let policy = Policy { default_allowance: Some(allowance), ..Policy::default() };
        Ok(Fleet::new(self.ports.clone(), Arc::new(SystemClock), policy)?)
    }
}

/// Completes a first attempt, with what it used.
pub(crate) async fn finish(ports: &Ports, task: &TaskId, agent: &AgentId) -> Result<()> {
    let result = TaskResult { success: true, output: "done".to_owned(), ..TaskResult::default() };
    let end = EndAttempt {
        task: task.clone(),
        attempt: Some(1),
        agent_id: Some(agent.clone()),
        ending: Ending::Completed(result),
        now: now(),
    };
    let figures = Figures { tokens_in: 600_u32.into(), tokens_out: 300_u32.into(), ..Figures::default() };
    ports.ledger.finish(Finish { end, figures: Some(figures) }).await?.accepted()?;
    Ok(())
}

/// The one model.
pub(crate) fn model() -> Result<ModelName> {
    Ok("model".parse()?)
}

/// The instant now.
pub(crate) fn now() -> Timestamp {
    SystemClock.now()
}

/// Every kind of limit that a job can be held against, none of them ever reached.
pub(crate) fn limits(agent: &AgentId) -> Result<Vec<Limit>> {
    let by_agent = || Scope::Agent(agent.clone());
    let model = model()?;
    let by_model = || Scope::Model(model.clone());
    let large = Some(Amount::MAX);
    Ok(vec![
        Limit::new(by_model(), Meter::Requests, Window::HOUR, large),
        Limit::new(Scope::AgentModel(agent.clone(), model.clone()), Meter::Requests, Window::HOUR, None),
        Limit::new(by_agent(), Meter::Tokens, Window::Day, large),
        Limit::new(by_agent(), Meter::Jobs, Window::Day, large),
        Limit::new(by_agent(), Meter::ActiveJobs, Window::Live, large),
        Limit::new(by_model(), Meter::Tokens, Window::Day, large),
        Limit::new(by_model(), Meter::Cost, Window::Lifetime, large),
    ])
}

//! How many tasks a second go through assign, start and finish, with quotas on.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use agentic_core::{
    id::{AgentId, JobId, TaskId},
    port::{Admission, Assign, Claim, Ports, StartAttempt},
};
use agentic_store_sqlite::SqliteStore;
use anyhow::Result;

use crate::{
    Args, raw,
    report::{Report, Target},
    timer::Timer,
    world::{self, Backend, World},
};

/// How many cycles are under way at once.
const IN_FLIGHT: u32 = 16;
const LEASE: Duration = Duration::from_mins(1);

/// Measures with and without an explicit start: a finish proves that its attempt started.
pub(crate) async fn measure(backend: Backend, args: &Args, report: &mut Report) -> Result<()> {
    eprintln!("{backend}: cycles");
    let (count, target, limit) = match backend {
        Backend::Memory => (args.cycles, 150_000.0, raw::MAP),
        Backend::Sqlite => (args.cycles / 10, 12_000.0, raw::COMMITS),
    };
    for (explicit, what) in [(false, "assign, finish"), (true, "assign, start, finish")] {
        let Cycles { rate, statements } = cycles(backend, args, count, explicit).await?;
        let name = format!("{backend}: {what}, {IN_FLIGHT} in flight");
        report.figure(name, rate, "/s", Some(Target::AtLeast(target)), Some(limit));
        if let Some(statements) = statements {
            report.figure(format!("{backend}: {what}, statements"), statements, "a cycle", None, None);
        }
    }
    Ok(())
}

/// What some cycles came to.
#[derive(Debug)]
struct Cycles {
    /// So many a second.
    rate: f64,
    /// SQL statements for each, where there are any.
    statements: Option<f64>,
}

async fn cycles(backend: Backend, args: &Args, count: u32, explicit_start: bool) -> Result<Cycles> {
    let world = World::new(backend, &args.dir)?;
    let agents = world.agents(IN_FLIGHT, 0).await?;
    let tasks = Arc::new(world.tasks(0, count, None).await?);
    let next = Arc::new(AtomicU32::new(0));
    let so_far = || world.sqlite.as_ref().map(SqliteStore::statements);
    let before = so_far();
    let timer = Timer::start();
    let mut lines = Vec::new();
    for agent in agents {
        let (ports, tasks, next) = (world.ports.clone(), Arc::clone(&tasks), Arc::clone(&next));
        lines.push(tokio::spawn(async move {
            while let Some(task) = tasks.get(next.fetch_add(1, Ordering::Relaxed) as usize) {
                cycle(&ports, &agent, task, explicit_start).await?;
            }
            anyhow::Ok(())
        }));
    }
    for line in lines {
        line.await??;
    }
    let rate = timer.rate(count);
    let used = so_far().zip(before).map(|(after, before)| u32::try_from(after - before)).transpose()?;
    Ok(Cycles { rate, statements: used.map(|used| f64::from(used) / f64::from(count)) })
}

async fn cycle(ports: &Ports, agent: &AgentId, task: &TaskId, explicit_start: bool) -> Result<()> {
    let job = JobId::new(task.clone(), 1);
    ports.ledger.assign(assignment(&job, agent)?).await?;
    if explicit_start {
        let (job, agent_id) = (job.clone(), Some(agent.clone()));
        ports.ledger.start(StartAttempt { job, agent_id, incarnation: Some(1), now: world::now() }).await?;
    }
    world::finish(ports, task, agent).await
}

/// Gives a first attempt to the first start of an agent, under every kind of limit.
fn assignment(job: &JobId, agent: &AgentId) -> Result<Assign> {
    let now = world::now();
    let expires_at = now.plus(LEASE);
    Ok(Assign {
        claim: Claim {
            job: job.clone(),
            agent_id: agent.clone(),
            incarnation: Some(1),
            lease: LEASE,
            expires_at,
            deadline: None,
            dispatched: true,
            now,
        },
        admission: Admission {
            job: job.clone(),
            id: job.to_string(),
            agent_id: agent.clone(),
            model: Some(world::model()?),
            project: None,
            price: None,
            limits: world::limits(agent)?,
            ask: 1_000_u32.into(),
            expires_at,
            now,
        },
    })
}

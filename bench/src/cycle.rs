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
    redis::Counts,
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
    let (count, target) = match backend {
        Backend::Memory => (args.cycles, 150_000.0),
        Backend::Sqlite => (args.cycles / 10, 12_000.0),
        Backend::Redis => (args.cycles / 10, 18_000.0),
    };
    for (explicit, what) in [(false, "assign, finish"), (true, "assign, start, finish")] {
        let Cycles { rate, work } = cycles(backend, args, count, explicit).await?;
        let mut told = Vec::new();
        let limit = match work {
            Work::Unknown => raw::MAP.to_owned(),
            Work::Statements(statements) => {
                told.push(("statements", statements, "a cycle", None));
                raw::COMMITS.to_owned()
            }
            Work::Scripts { counts, bare } => {
                let (trips, commands) = (whole(counts.scripts), whole(counts.commands));
                let name = format!("Redis, {trips} bare EVALSHA with {commands} commands");
                let (rate, cost) = bare;
                report.limit(&name, rate, "/s");
                let time = format!("{name}, CPU of the server");
                report.limit(&time, cost.micros, "µs");
                told.extend([
                    ("round trips", counts.scripts, "a cycle", None),
                    ("commands", counts.commands, "a cycle", None),
                    ("CPU of the server", counts.micros, "µs", Some(time)),
                ]);
                name
            }
        };
        let name = format!("{backend}: {what}, {IN_FLIGHT} in flight");
        report.figure(name, rate, "/s", Some(Target::AtLeast(target)), Some(&limit));
        for (of, value, unit, limit) in told {
            report.figure(format!("{backend}: {what}, {of}"), value, unit, None, limit.as_deref());
        }
    }
    Ok(())
}

/// What some cycles came to.
#[derive(Debug)]
struct Cycles {
    /// So many a second.
    rate: f64,
    work: Work,
}

/// What a cycle asks of a store.
#[derive(Debug)]
enum Work {
    /// It does not count.
    Unknown,
    /// SQL statements.
    Statements(f64),
    /// What the server counted; beside it, how many cycles a second it does of as many bare scripts with as many
    /// commands, and what these cost it.
    Scripts { counts: Counts, bare: (f64, Counts) },
}

async fn cycles(backend: Backend, args: &Args, count: u32, explicit_start: bool) -> Result<Cycles> {
    let world = World::new(backend, args).await?;
    let agents = world.agents(IN_FLIGHT, 0).await?;
    let warm = world.tasks(0, IN_FLIGHT, None).await?;
    let tasks = Arc::new(world.tasks(IN_FLIGHT, count, None).await?);
    // Whatever is done once, such as the loading of a script, is done before.
    for (agent, task) in agents.iter().zip(&warm) {
        cycle(&world.ports, agent, task, explicit_start).await?;
    }
    let next = Arc::new(AtomicU32::new(0));
    let statements = || world.sqlite.as_ref().map(SqliteStore::statements);
    let before = (statements(), scripts(&world).await?);
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
    let work = match (&world.redis, before, statements(), scripts(&world).await?) {
        (None, (Some(before), _), Some(after), _) => {
            Work::Statements(f64::from(u32::try_from(after - before)?) / f64::from(count))
        }
        (Some(redis), (_, before), _, after) => {
            let counts = after.since(before, count);
            let bare = redis.bare(whole(counts.scripts), whole(counts.commands), count, IN_FLIGHT).await?;
            Work::Scripts { counts, bare }
        }
        _ => Work::Unknown,
    };
    Ok(Cycles { rate, work })
}

/// What the server counted, where there is one.
async fn scripts(world: &World) -> Result<Counts> {
    match &world.redis {
        Some(redis) => redis.counts().await,
        None => Ok(Counts::default()),
    }
}

/// A small number of things, rounded; at least one.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few dozen, and saturating")]
fn whole(number: f64) -> u32 {
    (number.round() as u32).max(1)
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
pub(crate) fn assignment(job: &JobId, agent: &AgentId) -> Result<Assign> {
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
            task_created_at: Some(now),
            price: None,
            limits: world::limits(agent)?,
            ask: 1_000_u32.into(),
            expires_at,
            now,
        },
    })
}

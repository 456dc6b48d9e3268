//! How long an idle fleet takes from a submission to the start of its attempt, through the dispatcher.

use std::{sync::Arc, time::Duration};

use agentic_core::{
    api::CreateTask,
    id::{AgentId, JobId, TaskId},
    port::StartAttempt,
};
use agentic_dispatch::{Fleet, LeastLoaded};
use anyhow::{Context, Result};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{
    Args, raw,
    report::{Report, Target},
    timer::{Timer, percentile},
    world::{self, Backend, World},
};

/// How long an agent's long poll lasts.
const POLL: Duration = Duration::from_secs(5);
/// How long the fleet rests between two submissions, so that it is idle.
const REST: Duration = Duration::from_millis(2);
/// After how long a submission counts as lost.
const LOST: Duration = Duration::from_secs(10);

/// Measures the median and the 99th percentile.
pub(crate) async fn measure(backend: Backend, args: &Args, report: &mut Report) -> Result<()> {
    eprintln!("{backend}: latency");
    let world = World::new(backend, args).await?;
    let agent = world.agents(1, 0).await?.remove(0);
    let fleet = world.fleet().await?;
    let stop = CancellationToken::new();
    let dispatcher = fleet.dispatcher(Arc::new(LeastLoaded));
    let dispatching = tokio::spawn({
        let stop = stop.clone();
        async move { dispatcher.run(stop).await }
    });
    let (started, mut starts) = mpsc::channel(16);
    let working = tokio::spawn(work(fleet.clone(), agent.clone(), started, stop.clone()));

    let mut measured = Vec::new();
    for _ in 0..args.submissions {
        tokio::time::sleep(REST).await;
        let task = CreateTask { model: Some(world::model()?), ..CreateTask::new("measure me") };
        let timer = Timer::start();
        fleet.tasks().create(vec![task], None).await?;
        let task = tokio::time::timeout(LOST, starts.recv()).await?.context("the agent is gone")?;
        measured.push(timer.elapsed());
        world::finish(&world.ports, &task, &agent).await?;
    }
    stop.cancel();
    dispatching.await?;
    working.await??;

    let name = |percent| format!("{backend}: submit to start on an idle fleet, p{percent}");
    let limit = Some(match backend {
        Backend::Memory => raw::HOP,
        Backend::Sqlite => raw::COMMIT,
        Backend::Redis => raw::PING,
    });
    if let Some(redis) = &world.redis {
        report.limit(raw::PING, raw::ping(redis).await?, "ms");
    }
    let (p50, p99) = (percentile(&mut measured, 50), percentile(&mut measured, 99));
    report.figure(name(50), p50, "ms", Some(Target::AtMost(0.7)), limit);
    report.figure(name(99), p99, "ms", Some(Target::AtMost(3.0)), limit);
    Ok(())
}

/// An agent that starts what it is given, and says so.
async fn work(
    fleet: Fleet,
    agent: AgentId,
    started: mpsc::Sender<TaskId>,
    stop: CancellationToken,
) -> Result<()> {
    let agents = fleet.agents();
    while let Some(assigned) = stop.run_until_cancelled(agents.assignments(&agent, 1, POLL)).await {
        for task in assigned? {
            let job = JobId::new(task.id.clone(), task.attempt);
            let agent_id = Some(agent.clone());
            let start = StartAttempt { job, agent_id, incarnation: Some(1), now: world::now() };
            fleet.ports().ledger.start(start).await?;
            started.send(task.id).await?;
        }
    }
    Ok(())
}

//! How long each script keeps a Redis from everybody else, in a large fleet.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use agentic_core::{
    agent::AgentSpec,
    id::{AgentId, JobId, TaskId},
    lane::Park,
    limit::{Meter, MeterKey, Scope, Window},
    port::{Beat, BeatAttempt, CreateMany, Defer, ParkLane, Ports, Reap, Register, Unpark, Wake},
    task::{NewTask, Page, PendingReason, TaskFilter, TaskStatus},
    usage::Figures,
};
use agentic_dispatch::LeastLoaded;
use anyhow::{Context, Result, ensure};
use futures_util::future::try_join_all;

use crate::{
    Args,
    redis::Redis,
    report::{Report, Target},
    world::{self, Backend, World},
};

/// The longest that the median of a script may be, in milliseconds.
const MOST: f64 = 5.0;
/// How many tasks wait, and how many come due at one moment.
const WAITING: u32 = 100_000;
const DUE: u32 = 10_000;
/// How many tasks wait for one.
const DEPENDENTS: u32 = 1_000;
/// How many lanes a tick reads at most.
const LANES: u32 = 10_000;
/// How many attempts one agent runs.
const RUNNING: u32 = 500;
/// How much a service wakes at once.
const WOKEN: usize = 200;
/// How often each call is made.
const TIMES: usize = 9;

/// The time of the longest script of each call, by what was called.
#[derive(Debug)]
struct Probe<'a> {
    redis: &'a Redis,
    times: BTreeMap<&'static str, Vec<f64>>,
}

impl Probe<'_> {
    /// Makes a call, and notes the time of the longest script that it ran.
    async fn call<T>(
        &mut self,
        name: &'static str,
        call: impl Future<Output = agentic_core::error::Result<T>>,
    ) -> Result<T> {
        self.redis.scripts().await?;
        let answer = call.await.with_context(|| format!("{name} failed"))?;
        let longest =
            self.redis.scripts().await?.into_iter().max().with_context(|| format!("{name} ran no script"))?;
        self.times.entry(name).or_default().push(longest.as_secs_f64() * 1_000.0);
        Ok(answer)
    }
}

/// Fills a fleet and calls everything whose work could grow with it.
///
/// # Errors
/// The median of a call's longest script is over the bound; `create_many` is told, and may be.
pub(crate) async fn measure(args: &Args, report: &mut Report) -> Result<()> {
    if args.redis.is_some() {
        eprintln!(
            "a Redis that is not our own: its bounds are not measured, as that takes its log of slow commands"
        );
        return Ok(());
    }
    eprintln!("Redis: bounds");
    let world = World::new(Backend::Redis, args).await?;
    let redis = world.redis.as_ref().context("no Redis")?;
    redis.log_scripts().await?;
    let mut probe = Probe { redis, times: BTreeMap::new() };
    let agents = world.agents(args.agents, 0).await?;
    let waiting = world.tasks(0, WAITING, None).await?;
    let parents = dependents(&world.ports, &mut probe).await?;
    due(&world.ports).await?;
    reads(&world.ports, &agents, &waiting, &parents, &mut probe).await?;
    steps(&world, &agents, &parents, &mut probe).await?;
    beats(&world, &mut probe).await?;
    lanes(&world.ports, &mut probe).await?;
    wakes(&world.ports, &waiting, &mut probe).await?;

    let mut slow = Vec::new();
    for (name, mut times) in probe.times {
        times.sort_by(f64::total_cmp);
        let median = times.get(times.len() / 2).copied().unwrap_or_default();
        let bounded = name != "create_many";
        report.figure(
            format!("Redis: {name}, a script's time"),
            median,
            "ms",
            bounded.then_some(Target::AtMost(MOST)),
            None,
        );
        if bounded && median > MOST {
            slow.push(name);
        }
    }
    ensure!(slow.is_empty(), "scripts with a median over {MOST} ms: {}", slow.join(", "));
    Ok(())
}

/// Creates tasks for each of which others wait.
async fn dependents(ports: &Ports, probe: &mut Probe<'_>) -> Result<Vec<TaskId>> {
    let create = |tasks| ports.tasks.create_many(CreateMany::new(tasks, world::now()));
    let mut parents = Vec::new();
    for parent in 0..TIMES {
        let id: TaskId = format!("parent-{parent}").parse()?;
        create(vec![NewTask::new(id.clone(), "measure me")]).await?;
        let child = |number: u32| -> Result<NewTask> {
            let new = NewTask::new(format!("child-{parent}-{number}").parse()?, "measure me");
            Ok(NewTask { dependencies: vec![id.clone()], ..new })
        };
        let children = (0..DEPENDENTS).map(child).collect::<Result<Vec<NewTask>>>()?;
        probe.call("create_many", create(children)).await?;
        parents.push(id);
    }
    Ok(parents)
}

/// Creates tasks that all come due at one moment, which is soon over.
async fn due(ports: &Ports) -> Result<()> {
    let now = world::now();
    let at = now.plus(Duration::from_secs(1));
    for batch in (0..DUE).step_by(1_000) {
        let task = |number: u32| -> Result<NewTask> {
            let new = NewTask::new(format!("due-{number:05}").parse()?, "measure me");
            Ok(NewTask { not_before: Some(at), ..new })
        };
        let tasks = (batch..batch + 1_000).map(task).collect::<Result<Vec<NewTask>>>()?;
        ports.tasks.create_many(CreateMany::new(tasks, now)).await?;
    }
    Ok(())
}

/// What only reads.
async fn reads(
    ports: &Ports,
    agents: &[AgentId],
    waiting: &[TaskId],
    parents: &[TaskId],
    probe: &mut Probe<'_>,
) -> Result<()> {
    let now = world::now();
    let page = Page::first(1_000);
    let nothing = TaskFilter {
        status: Some(TaskStatus::Pending),
        claimed_by: agents.first().cloned(),
        ..TaskFilter::default()
    };
    let heads = ports.tasks.lanes(1).await?;
    let lane = heads.views.into_iter().next().context("no lane")?.lane;
    let keys = |window| -> Vec<MeterKey> {
        let scopes = agents.iter().take(1_000).map(|agent| Scope::Agent(agent.clone()));
        scopes.map(|scope| MeterKey { scope, meter: Meter::Tokens, window }).collect()
    };
    let (hours, days) = (keys(Window::HOUR), keys(Window::Day));
    for parent in parents {
        probe.call("get, with 1,000 dependents", ports.tasks.get(parent, now)).await?;
        probe.call("list, a page", ports.tasks.list(&TaskFilter::default(), &page, now)).await?;
        probe.call("list, none of 100,000", ports.tasks.list(&nothing, &page, now)).await?;
        probe.call("counts", ports.tasks.counts()).await?;
        probe.call("ready", ports.tasks.ready(&lane, 64)).await?;
        probe.call("agents", ports.agents.list()).await?;
        probe.call("active_jobs", ports.allowances.active_jobs(agents, now)).await?;
        probe.call("readings, of hours", ports.allowances.readings(&hours, now)).await?;
        probe.call("readings, of days", ports.allowances.readings(&days, now)).await?;
        probe.call("after", ports.events.after(0, 1_000)).await?;
        if let Some(id) = waiting.first() {
            probe.call("history", ports.tasks.history(id, 0, 1_000)).await?;
        }
    }
    Ok(())
}

/// What moves something.
async fn steps(world: &World, agents: &[AgentId], parents: &[TaskId], probe: &mut Probe<'_>) -> Result<()> {
    let ports = &world.ports;
    let later = world::now().plus(Duration::from_secs(2));
    for _ in 0..TIMES {
        let moved = probe.call("promote_due, 1,000", ports.tasks.promote_due(later, 1_000)).await?;
        ensure!(moved == 1_000, "{moved} of 1,000 were due");
    }
    let fleet = world.fleet().await?;
    let dispatcher = fleet.dispatcher(Arc::new(LeastLoaded));
    let (mut given, mut ticks) = (0, 0);
    while given < 2_000 && ticks < 20 {
        given += probe.call("a tick, 1,000 given away", dispatcher.tick()).await?.dispatched;
        ticks += 1;
    }
    for (task, agent) in running(ports).await? {
        world::finish(ports, &task, &agent).await?;
    }
    for _ in 0..TIMES {
        probe.call("verify", ports.allowances.verify()).await?;
    }
    let agent = agents.first().context("no agents")?;
    let now = world::now();
    let beat = |agent: &AgentId| {
        let beat = Beat { agent_id: agent.clone(), incarnation: Some(1), attempts: Vec::new(), now };
        ports.ledger.heartbeat(beat)
    };
    for parent in parents {
        let many = agents.iter().take(200).map(beat);
        probe.call("heartbeat, of 200 agents at once", try_join_all(many)).await?;
        let job = JobId::new(parent.clone(), 1);
        ports.ledger.assign(crate::cycle::assignment(&job, agent)?).await?;
        let finish = async {
            let finished = world::finish(ports, parent, agent).await;
            finished.map_err(|error| agentic_core::error::Error::backend(error.to_string()))
        };
        probe.call("finish, with 1,000 dependents", finish).await?;
    }
    let silent = later.plus(Duration::from_hours(1));
    for _ in 0..TIMES {
        let reap = Reap { ttl: Duration::from_secs(30), limit: 500, now: silent };
        probe.call("reap, of 10,000", ports.agents.reap(reap)).await?;
        probe.call("expired", ports.tasks.expired(silent, 500)).await?;
        probe.call("trim", ports.events.trim(silent, 500)).await?;
        probe.call("prune", ports.tasks.prune(silent, 500, silent)).await?;
    }
    Ok(())
}

/// What an agent that runs much sends.
async fn beats(world: &World, probe: &mut Probe<'_>) -> Result<()> {
    let ports = &world.ports;
    let agent = AgentSpec::new("busy".parse()?);
    ports.agents.register(Register { agent: agent.clone(), now: world::now() }).await?;
    let mut attempts = Vec::new();
    for task in world.tasks(WAITING, RUNNING, None).await? {
        let job = JobId::new(task, 1);
        ports.ledger.assign(crate::cycle::assignment(&job, &agent.id)?).await?;
        let figures = Figures { tokens_in: 600_u32.into(), tokens_out: 300_u32.into(), ..Figures::default() };
        attempts.push(BeatAttempt { job, figures: Some(figures) });
    }
    for _ in 0..TIMES {
        let (agent_id, attempts) = (agent.id.clone(), attempts.clone());
        let beat = Beat { agent_id, incarnation: Some(1), attempts, now: world::now() };
        probe.call("heartbeat, of 500 attempts", ports.ledger.heartbeat(beat)).await?;
    }
    let assigned = ports.tasks.assigned(&agent.id, 2, 1_000);
    probe.call("assigned, none of 500", assigned).await?;
    let key = MeterKey { scope: Scope::Agent(agent.id), meter: Meter::ActiveJobs, window: Window::Live };
    let now = world::now();
    for _ in 0..TIMES {
        // Who looks from later sees all of them run out; who looks from now brings them back.
        for (seen, held) in [(now.plus(Duration::from_hours(1)), 0), (now, RUNNING)] {
            let readings = ports.allowances.readings(std::slice::from_ref(&key), seen);
            let found = probe.call("readings, as reservations run out", readings).await?;
            let found = found.first().map_or(0, |reading| reading.reserved.get());
            ensure!(found == u64::from(held), "{found} of {held} are held");
        }
    }
    Ok(())
}

/// Tasks of which each needs something else.
async fn lanes(ports: &Ports, probe: &mut Probe<'_>) -> Result<()> {
    for batch in (0..LANES).step_by(1_000) {
        let task = |number: u32| -> Result<NewTask> {
            let new = NewTask::new(format!("lane-{number:05}").parse()?, "measure me");
            Ok(NewTask { labels: [format!("l-{number:05}").parse()?].into(), ..new })
        };
        let tasks = (batch..batch + 1_000).map(task).collect::<Result<Vec<NewTask>>>()?;
        ports.tasks.create_many(CreateMany::new(tasks, world::now())).await?;
    }
    for _ in 0..TIMES {
        let found = probe.call("lanes, of 10,000", ports.tasks.lanes(LANES as usize)).await?;
        ensure!(found.views.len() == LANES as usize, "{} lanes", found.views.len());
    }
    Ok(())
}

/// What a raised limit wakes: parked lanes, and tasks that are put off for themselves.
async fn wakes(ports: &Ports, waiting: &[TaskId], probe: &mut Probe<'_>) -> Result<()> {
    let now = world::now();
    let lanes = ports.tasks.lanes(TIMES * WOKEN).await?;
    let reason = PendingReason { code: "measured".to_owned(), detail: String::new(), retry_at: None };
    for view in lanes.views {
        let park = Park { reason: reason.clone(), scope: Some(Scope::Fleet), parked_at: now };
        let park = ParkLane { lane: view.lane, park, seen: lanes.wake, events: Vec::new() };
        ports.tasks.park(park).await?;
    }
    let wake = async |name, probe: &mut Probe<'_>| {
        for _ in 0..TIMES {
            let unpark = Unpark { wake: Wake::All, limit: WOKEN };
            let woken = probe.call(name, ports.tasks.unpark(unpark)).await?;
            ensure!(woken == WOKEN, "{woken} of {WOKEN} were woken");
        }
        anyhow::Ok(())
    };
    wake("unpark, 200 lanes", probe).await?;
    let until = now.plus(Duration::from_hours(1));
    for task in waiting.iter().rev().take(TIMES * WOKEN).cloned() {
        let defer = Defer { task, attempt: 0, reason: reason.clone(), until, seen: None, now };
        ports.tasks.defer(defer).await?;
    }
    wake("unpark, 200 tasks", probe).await
}

/// Some of what runs, and who runs it.
async fn running(ports: &Ports) -> Result<Vec<(TaskId, AgentId)>> {
    let filter = TaskFilter { status: Some(TaskStatus::InProgress), ..TaskFilter::default() };
    let page = Page::first(100);
    let tasks = ports.tasks.list(&filter, &page, world::now()).await?;
    Ok(tasks.into_iter().filter_map(|task| Some((task.id, task.claimed_by?))).collect())
}

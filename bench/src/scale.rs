//! What one dispatch costs as the backlog and the fleet grow.

use std::sync::Arc;

use agentic_core::{
    amount::Amount,
    event::EventType,
    id::{AgentId, TaskId},
};
use agentic_dispatch::{Fleet, LeastLoaded};
use anyhow::{Result, ensure};

use crate::{
    Args,
    report::{Report, Target},
    timer::{Timer, percentile},
    world::{Backend, LARGE, World},
};

/// How many tasks each tick of the dispatcher can give away.
const EACH: u32 = 100;
/// How many ticks are measured.
const TICKS: u32 = 31;
/// Which of them is told, in percent from the fastest: what else the machine does only ever adds.
const PERCENTILE: usize = 20;
/// How many ticks are measured that give nothing away.
const REFUSALS: u32 = 9;
/// How many lanes of tasks stand beside the one that agents can take.
const LANES: u32 = 10;

/// Measures the cost at a large size and at the small one, and tells the ratio of the two.
pub(crate) async fn measure(backend: Backend, args: &Args, report: &mut Report) -> Result<()> {
    eprintln!("{backend}: scale");
    // Redis has it in memory.
    let waiting = if backend == Backend::Redis { (args.waiting / 10).max(1_000) } else { args.waiting };
    let backlog = |waiting| Size { agents: 10, waiting, open: waiting / 2 };
    let fleet = |agents| Size { agents, waiting: 1_000, open: EACH };
    for (small, large, what, most) in [
        (backlog(1_000), backlog(waiting), format!("{waiting} waiting"), 1.5),
        (fleet(10), fleet(args.agents), format!("{} agents", args.agents), 3.0),
    ] {
        let (small, large) = (cost(backend, args, small).await?, cost(backend, args, large).await?);
        report.figure(format!("{backend}: a dispatch, {what}"), large, "ms", None, None);
        let name = format!("{backend}: as a multiple of that at {}", if most < 2.0 { "1000" } else { "10" });
        report.figure(name, large / small, "×", Some(Target::AtMost(most)), None);
    }
    // A task of the bench asks for 1,000 tokens.
    for (each, all, what) in [(999_u32.into(), LARGE, "each"), (LARGE, 999_u32.into(), "all as one")] {
        let took = refused(backend, args, each, all).await?;
        let name = format!("{backend}: a tick of {} agents whose limits refuse {what}", args.agents);
        report.figure(name, took, "ms", None, None);
    }
    Ok(())
}

/// Milliseconds of a tick in which nobody has room for a task.
async fn refused(backend: Backend, args: &Args, each: Amount, all: Amount) -> Result<f64> {
    let world = World::new(backend, args).await?;
    world.agents(args.agents, 1).await?;
    let dispatcher = world.limited_fleet(each, all).await?.dispatcher(Arc::new(LeastLoaded));
    let mut measured = Vec::new();
    for number in 0..REFUSALS {
        world.tasks(number, 1, None).await?;
        let timer = Timer::start();
        let tick = dispatcher.tick().await?;
        measured.push(timer.elapsed());
        ensure!(tick.dispatched == 0 && tick.deferred > 0, "it was not refused for itself: {tick:?}");
    }
    Ok(percentile(&mut measured, PERCENTILE))
}

/// What stands in a fleet.
#[derive(Debug, Clone, Copy)]
struct Size {
    agents: u32,
    /// How many tasks wait.
    waiting: u32,
    /// How many of them agents can take; the others are of lanes that nobody can take.
    open: u32,
}

/// Milliseconds that a dispatch costs, from some ticks that each give away [`EACH`] tasks.
async fn cost(backend: Backend, args: &Args, size: Size) -> Result<f64> {
    let Size { agents, waiting, open } = size;
    let world = World::new(backend, args).await?;
    world.agents(agents, EACH.div_ceil(agents)).await?;
    let fleet = world.fleet().await?;
    let dispatcher = fleet.dispatcher(Arc::new(LeastLoaded));
    let stuck = (waiting - open) / LANES;
    for lane in 0..LANES {
        world.tasks(lane * stuck, stuck, Some(&format!("nobody-{lane}"))).await?;
    }
    let mut next = LANES * stuck;
    world.tasks(next, open, None).await?;
    next += open;
    let mut measured = Vec::new();
    for _ in 0..TICKS {
        let cursor = world.ports.events.last().await?;
        let timer = Timer::start();
        let tick = dispatcher.tick().await?;
        let given = u32::try_from(tick.dispatched)?;
        ensure!(given > 0, "a tick gave nothing away");
        measured.push(timer.elapsed() / given);
        for (task, agent) in given_since(&fleet, cursor).await? {
            crate::world::finish(&world.ports, &task, &agent).await?;
        }
        world.tasks(next, given, None).await?;
        next += given;
    }
    Ok(percentile(&mut measured, PERCENTILE))
}

/// What was dispatched after a cursor, and to whom.
async fn given_since(fleet: &Fleet, mut cursor: u64) -> Result<Vec<(TaskId, AgentId)>> {
    let mut given = Vec::new();
    loop {
        let page = fleet.ports().events.after(cursor, 1_000).await?;
        if page.events.is_empty() {
            return Ok(given);
        }
        cursor = page.cursor;
        let dispatched = page.events.into_iter().filter(|event| event.kind == EventType::TaskDispatched);
        given.extend(dispatched.filter_map(|event| event.task_id.zip(event.agent_id)));
    }
}

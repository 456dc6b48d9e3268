//! Tasks on one store, agents and allowances on another, and a server that dies between any two steps.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use agentic_core::{
    agent::AgentInfo,
    api::{CompleteTask, HeartbeatBody, RunningAttempt},
    clock::ManualClock,
    error::{Error, Result},
    id::JobId,
    memory::Memory,
    port::{ExpiredJobs, Ports},
    rpc::{Call, Transport, remote, serve},
    task::{Page, TaskFilter, TaskStatus},
};
use agentic_dispatch::{LeastLoaded, Saga};
use agentic_testkit::given::figures;
use async_trait::async_trait;
use serde_json::Value;

use crate::world::{NOON, World, by, policy, titled};

/// The ports of two stores, with the ledger of neither.
pub(crate) fn apart(tasks: &Ports, allowances: &Ports) -> Ports {
    let (agents, allowances) = (allowances.agents.clone(), allowances.allowances.clone());
    let apart = Ports { agents, allowances, ..tasks.clone() };
    Ports { ledger: Arc::new(Saga::new(apart.clone())), ..apart }
}

/// Lets so many calls through; with the next one the process dies, before it is done or after.
#[derive(Debug)]
struct Dying {
    inner: Ports,
    calls: AtomicUsize,
    last: usize,
    after: bool,
}

#[async_trait]
impl Transport for Dying {
    async fn call(&self, call: Call) -> Result<Value> {
        let n = self.calls.fetch_add(1, Ordering::SeqCst);
        if n < self.last {
            return serve(&self.inner, call).await;
        }
        if n == self.last && self.after {
            drop(serve(&self.inner, call).await);
        }
        Err(Error::unavailable("the store"))
    }
}

/// One attempt from its dispatch to its end, as far as its server lives.
async fn life(world: &World, agent: &AgentInfo) -> Result<()> {
    world.fleet.dispatcher(Arc::new(LeastLoaded)).tick().await?;
    let services = (world.fleet.agents(), world.fleet.tasks());
    let assigned = services.0.assignments(&agent.id, 1, std::time::Duration::ZERO).await?;
    for task in assigned {
        let usage = Some(figures(30, 10));
        let running = RunningAttempt { task_id: task.id.clone(), attempt: task.attempt, usage };
        let beat = HeartbeatBody { incarnation: Some(1), attempts: vec![running] };
        services.0.heartbeat(&agent.id, beat).await?;
        let usage = Some(figures(60, 10));
        let done =
            CompleteTask { success: true, attempt: Some(task.attempt), usage, ..CompleteTask::default() };
        services.1.complete(&by(&agent.id), &task.id, done).await?;
    }
    Ok(())
}

/// What must hold a while after the server died, and that the task is done in the end.
async fn recovers(world: &World, agent: &AgentInfo, cut: &str) {
    let (ports, reaper) = (world.fleet.ports().clone(), world.fleet.reaper());
    for _ in 0..40 {
        // A lease, and the time for which nothing expires after an outage.
        world.pass(5);
        world.fleet.agents().heartbeat(&agent.id, HeartbeatBody::default()).await.unwrap();
        reaper.sweep().await.unwrap();
    }
    let tasks = world.fleet.tasks().list(&TaskFilter::default(), &Page::first(10)).await.unwrap();
    let [task] = tasks.as_slice() else { panic!("{cut}: {tasks:?}") };
    assert!(matches!(task.status, TaskStatus::Pending | TaskStatus::Completed), "{cut}: {task:?}");
    let left = ports.allowances.expired(ExpiredJobs { limit: 10, now: world.now() }).await.unwrap();
    assert_eq!((left, world.fleet.agents().get(&agent.id).await.unwrap().current_load), (vec![], 0), "{cut}");
    let mut started = 0;
    for attempt in 1..=task.attempt {
        let attempt = ports.tasks.attempt(&JobId::new(task.id.clone(), attempt)).await.unwrap().unwrap();
        started += u64::from(attempt.started_at.is_some());
    }
    let used = world.fleet.allowances().usage(&agent.id).await.unwrap();
    assert_eq!(used.jobs_started.get(), started, "{cut}: a started attempt is a used job");
    assert!(used.tokens_used.get() <= 70, "{cut}: {used:?}");
    life(world, agent).await.unwrap();
    assert_eq!(world.task(&task.id).await.status, TaskStatus::Completed, "{cut}");
    let used = world.fleet.allowances().usage(&agent.id).await.unwrap();
    assert_eq!(used.active_jobs.get(), 0, "{cut}");
    assert_eq!(ports.allowances.verify().await.unwrap(), [], "{cut}");
}

#[tokio::test]
async fn a_server_may_die_between_any_two_steps() {
    let mut whole = false;
    let mut last = 0;
    while !whole {
        for after in [false, true] {
            let ports = apart(&Memory::new().ports(), &Memory::new().ports());
            let clock = ManualClock::at(NOON.parse().unwrap());
            let world = World::at(ports.clone(), policy(), clock.clone());
            let agent = world.agent("a", &[], 0).await;
            world.submit(titled("x")).await;
            let bare = Ports { ledger: Memory::new().ports().ledger, ..ports };
            let dying = Arc::new(Dying { inner: bare, calls: AtomicUsize::new(0), last, after });
            let cut = remote(dying.clone());
            let cut = Ports { ledger: Arc::new(Saga::new(cut.clone())), ..cut };
            whole = life(&World::at(cut, policy(), clock), &agent).await.is_ok();
            recovers(&world, &agent, &format!("cut at call {last}, after it: {after}")).await;
        }
        last += 1;
    }
    assert!(last > 20, "only {last} calls were made");
}

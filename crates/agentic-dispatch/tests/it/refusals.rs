//! A refusal drops all agents under the limit, and many are asked at once: a look at a large fleet stays short.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use agentic_core::{
    agent::{AgentInfo, AgentSpec},
    allowance::ModelQuota,
    api::CreateTask,
    limit::Meter,
    memory::Memory,
    task::{Priority, TaskStatus},
};
use agentic_dispatch::{DefaultAllowance, LeastLoaded, Need, Policy, Router, Tick};
use agentic_testkit::counting::Counting;

use crate::{
    budgets::{capped, set},
    world::{World, labelled, policy, titled},
};

/// So many agents as a fleet must not be looked at one by one.
const AGENTS: usize = 600;
/// How many are refused before all who are left are asked at once.
const ONE_BY_ONE: usize = 50;

/// The default router, which counts how often it looks at the agents.
#[derive(Debug, Default)]
struct Looks(AtomicUsize);

impl Router for Looks {
    fn choose<'a>(
        &self,
        need: &Need<'_>,
        agents: &mut dyn Iterator<Item = &'a AgentInfo>,
    ) -> Option<&'a AgentInfo> {
        self.0.fetch_add(1, Ordering::Relaxed);
        LeastLoaded.choose(need, agents)
    }
}

/// A fleet of [`AGENTS`] agents, and what counts its calls and the looks at its agents.
async fn crowd(policy: Policy) -> (World, Arc<Counting>, Arc<Looks>) {
    let (ports, counting) = Counting::new(Memory::new().ports());
    let mut world = World::over(ports, policy);
    let looks = Arc::new(Looks::default());
    world.dispatcher = world.fleet.dispatcher(Arc::clone(&looks) as _);
    for number in 0..AGENTS {
        world.agent(&format!("a{number:03}"), &[], 2).await;
    }
    (world, counting, looks)
}

fn each(daily_token_limit: u32) -> Policy {
    let each =
        DefaultAllowance { daily_token_limit: daily_token_limit.into(), ..DefaultAllowance::default() };
    Policy { default_allowance: Some(each), ..policy() }
}

fn asking(title: &str, tokens: u32) -> CreateTask {
    CreateTask { estimated_tokens: tokens.into(), ..titled(title) }
}

#[tokio::test]
async fn who_shares_a_limit_is_refused_once() {
    let (world, counting, looks) = crowd(policy()).await;
    set(&world, "fleet", vec![capped(Meter::Jobs, "day", 1)]).await;
    world.submit(titled("takes the place")).await;
    assert_eq!(world.dispatcher.tick().await.unwrap().dispatched, 1);
    let before = counting.calls("ledger.assign");
    looks.0.store(0, Ordering::Relaxed);
    let waits = world.submit(titled("waits")).await;
    // Of its own lane, and of one that only learns of it.
    let other = world.submit(labelled("waits too", &["go"])).await;
    world.agent("go", &["go"], 2).await;
    assert_eq!(world.dispatcher.tick().await.unwrap().parked, 2);
    assert_eq!(counting.calls("ledger.assign") - before, 1);
    assert_eq!(looks.0.load(Ordering::Relaxed), 3, "two that find nobody, and the one who is asked");
    for task in [waits, other] {
        let reason = world.task(&task.id).await.pending_reason.unwrap();
        assert!(reason.detail.contains("fleet"), "{reason:?}");
    }
}

#[tokio::test]
async fn a_large_fleet_without_room_is_asked_at_once() {
    let (world, counting, looks) = crowd(each(100)).await;
    let big = world.submit(asking("big", 101)).await;
    let small = world.submit(asking("small", 100)).await;
    assert_eq!(world.dispatcher.tick().await.unwrap().dispatched, 1);
    assert_eq!(counting.calls("ledger.assign"), ONE_BY_ONE + 1);
    assert_eq!(counting.calls("allowances.readings"), 3, "250 agents a read");
    assert_eq!(looks.0.load(Ordering::Relaxed), ONE_BY_ONE + 2);
    assert_eq!(world.task(&big.id).await.pending_reason.unwrap().code, "deferred");
    assert_eq!(world.task(&small.id).await.status, TaskStatus::InProgress);
}

#[tokio::test]
async fn the_one_with_room_among_many_is_found() {
    let (world, counting, _) = crowd(each(100)).await;
    let last = format!("a{:03}", AGENTS - 1);
    world.allow(&last, |limit| limit.daily_token_limit = 1_000u32.into()).await;
    for number in 0..2 {
        world.submit(asking(&format!("{number}"), 101)).await;
    }
    assert_eq!(world.dispatcher.tick().await.unwrap().dispatched, 2);
    assert_eq!(counting.calls("ledger.assign"), ONE_BY_ONE + 2, "what was found holds for the tick");
    let agent = world.fleet.agents().get(&last.parse().unwrap()).await.unwrap();
    assert_eq!(agent.current_load, 2);
}

#[tokio::test]
async fn a_rule_that_refuses_many_holds_up_nobody() {
    let (world, counting, looks) = crowd(Policy { default_allowance: None, ..policy() }).await;
    let task = world.submit(titled("x")).await;
    assert_eq!(world.dispatcher.tick().await.unwrap().parked, 1);
    assert_eq!((counting.calls("ledger.assign"), looks.0.load(Ordering::Relaxed)), (0, ONE_BY_ONE + 1));
    let reason = world.task(&task.id).await.pending_reason.unwrap();
    assert!(reason.detail.contains("default_allowance"), "{reason:?}");
}

#[tokio::test]
async fn a_model_without_room_drops_those_who_would_use_it() {
    let (ports, counting) = Counting::new(Memory::new().ports());
    let world = World::over(ports, policy());
    for (agent, model) in [("a", "full"), ("b", "full"), ("c", "free")] {
        let models = vec![model.parse().unwrap()];
        let spec = AgentSpec { models, ..AgentSpec::new(agent.parse().unwrap()) };
        world.fleet.agents().register(spec).await.unwrap();
    }
    let quota =
        ModelQuota { hourly_rate_limit: 1u32.into(), ..ModelQuota::unlimited("full".parse().unwrap()) };
    world.fleet.allowances().set_model(quota).await.unwrap();
    for number in 0..4 {
        world.submit(titled(&format!("{number}"))).await;
    }
    assert_eq!(world.dispatcher.tick().await.unwrap().dispatched, 4, "c takes what the others cannot");
    assert_eq!(counting.calls("ledger.assign"), 5, "b is not asked");
}

#[tokio::test]
async fn a_project_without_room_keeps_no_other_waiting() {
    let world = World::new();
    world.agent("a", &[], 0).await;
    set(&world, "project:p", vec![capped(Meter::Jobs, "day", 1)]).await;
    let of = |project: &str| CreateTask { project: Some(project.parse().unwrap()), ..titled(project) };
    let mut tasks = Vec::new();
    for project in ["p", "p", "q"] {
        tasks.push(world.submit(of(project)).await);
    }
    assert_eq!(world.dispatcher.tick().await.unwrap(), Tick { dispatched: 2, parked: 1, ..Tick::default() });
    assert_eq!(world.task(&tasks[1].id).await.status, TaskStatus::Pending);
}

#[tokio::test]
async fn an_agent_without_room_for_one_model_takes_tasks_of_another() {
    let world = World::new();
    world.agent("a", &[], 0).await;
    set(&world, "agent:a model:m", vec![capped(Meter::Jobs, "day", 1)]).await;
    let of = |model: &str| CreateTask { model: Some(model.parse().unwrap()), ..titled(model) };
    let mut tasks = Vec::new();
    for model in ["m", "m", "n"] {
        tasks.push(world.submit(of(model)).await);
    }
    assert_eq!(world.dispatcher.tick().await.unwrap(), Tick { dispatched: 2, parked: 1, ..Tick::default() });
    assert_eq!(world.task(&tasks[1].id).await.status, TaskStatus::Pending);
}

/// A limit that has no room says nothing of lanes that nobody could take anyway.
#[tokio::test]
async fn who_was_not_asked_is_not_refused() {
    let world = World::new();
    set(&world, "fleet", vec![capped(Meter::Jobs, "day", 1)]).await;
    world.agent("busy", &["sql"], 1).await;
    world.submit(labelled("occupies", &["sql"])).await;
    world.dispatcher.tick().await.unwrap();
    world.agent("free", &["go"], 1).await;
    let asked = labelled("asked", &["go"]);
    let asked = world.submit(CreateTask { priority: Priority::High, ..asked }).await;
    let full = world.submit(labelled("full", &["sql"])).await;
    let unfit = world.submit(labelled("unfit", &["rust"])).await;
    assert_eq!(world.dispatcher.tick().await.unwrap().parked, 3);
    for (task, code) in [(asked, "quota"), (full, "at_capacity"), (unfit, "no_agent")] {
        assert_eq!(world.task(&task.id).await.pending_reason.unwrap().code, code, "{}", task.title);
    }
}

/// `a`, and `b` that has had its only job of the day.
async fn with_one_that_is_done() -> World {
    let world = World::new();
    let done = world.agent("b", &[], 0).await;
    world.allow("b", |limit| limit.daily_job_limit = 1u32.into()).await;
    world.submit(titled("the job of the day")).await;
    world.dispatcher.tick().await.unwrap();
    world.start_assigned(&done).await;
    world.agent("a", &[], 0).await;
    world
}

#[tokio::test]
async fn too_big_for_one_and_too_late_for_the_other_is_looked_at_soon() {
    let world = with_one_that_is_done().await;
    world.allow("a", |limit| limit.daily_token_limit = 100u32.into()).await;
    let big = world.submit(asking("big", 101)).await;
    assert_eq!(world.dispatcher.tick().await.unwrap().deferred, 1);
    assert_eq!(world.task(&big.id).await.retry_at, Some(world.now().plus(policy().tick)));
}

#[tokio::test]
async fn each_task_is_told_what_it_asked_for() {
    let world = World::new();
    world.agent("a", &[], 0).await;
    world.allow("a", |limit| limit.daily_token_limit = 100u32.into()).await;
    let mut tasks = Vec::new();
    for tokens in [300, 200, 400] {
        tasks.push((tokens, world.submit(asking("big", tokens)).await));
        world.pass(1);
    }
    assert_eq!(world.dispatcher.tick().await.unwrap().deferred, 3);
    for (tokens, task) in tasks {
        let detail = world.task(&task.id).await.pending_reason.unwrap().detail;
        assert!(detail.contains(&format!("{tokens} asked")), "{detail}");
    }
}

#[tokio::test]
async fn a_rule_has_no_time() {
    let world = with_one_that_is_done().await;
    world.allow("a", |limit| limit.model_allowlist = ["m".parse().unwrap()].into()).await;
    let waits = world.submit(titled("waits")).await;
    assert_eq!(world.dispatcher.tick().await.unwrap().parked, 1);
    let reason = world.task(&waits.id).await.pending_reason.unwrap();
    assert_eq!(reason.retry_at, Some("2026-03-05T00:00:00Z".parse().unwrap()), "{reason:?}");
}

#[tokio::test]
async fn a_limit_that_all_share_tells_its_time_whoever_is_busy() {
    let world = World::new();
    set(&world, "fleet", vec![capped(Meter::Jobs, "day", 1)]).await;
    let busy = world.agent("a", &[], 1).await;
    world.submit(titled("occupies a")).await;
    world.dispatcher.tick().await.unwrap();
    world.start_assigned(&busy).await;
    world.agent("b", &[], 1).await;
    let waits = world.submit(titled("waits")).await;
    world.dispatcher.tick().await.unwrap();
    let reason = world.task(&waits.id).await.pending_reason.unwrap();
    assert_eq!(reason.retry_at, Some("2026-03-05T00:00:00Z".parse().unwrap()), "not even a, once it is free");
}

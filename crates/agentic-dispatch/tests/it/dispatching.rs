//! One tick: order, fit, room, parking.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use agentic_core::{
    api::CreateTask,
    event::EventType,
    task::{Priority, TaskStatus},
};
use agentic_dispatch::{DispatchError, Policy, Undispatchable};

use crate::world::{World, labelled, policy, titled, urgent};

#[tokio::test]
async fn five_tasks_of_mixed_priority_go_in_order() {
    let world = World::new();
    let mut expected = Vec::new();
    for (title, priority) in [
        ("low", Priority::Low),
        ("normal-old", Priority::Normal),
        ("critical", Priority::Critical),
        ("normal-new", Priority::Normal),
        ("high", Priority::High),
    ] {
        // Each in a lane of its own: the order holds over all lanes.
        let task = CreateTask { labels: [title.parse().unwrap()].into(), ..urgent(title, priority) };
        let task = world.submit(task).await;
        expected.push((task.priority, task.created_at, task.id));
        world.pass(1);
    }
    expected.sort();
    world.agent("a", &["low", "normal-old", "critical", "normal-new", "high"], 0).await;
    assert_eq!(world.dispatcher.tick().await.unwrap().dispatched, 5);
    let dispatched: Vec<_> = world
        .events()
        .await
        .into_iter()
        .filter(|event| event.kind == EventType::TaskDispatched)
        .map(|event| event.task_id.unwrap())
        .collect();
    assert_eq!(dispatched, expected.into_iter().map(|(_, _, id)| id).collect::<Vec<_>>());
}

#[tokio::test]
async fn dispatch_answers_with_the_agent_or_why_not() {
    let world = World::new();
    let task = world.submit(labelled("x", &["rust"])).await;
    let nobody = world.dispatcher.dispatch(&task).await.unwrap_err();
    assert!(matches!(nobody, DispatchError::NoEligibleAgent(_)));
    world.agent("go-agent", &["go"], 1).await;
    assert!(world.dispatcher.dispatch(&task).await.is_err());
    world.agent("rust-agent", &["rust", "go"], 1).await;
    assert_eq!(world.dispatcher.dispatch(&task).await.unwrap().as_str(), "rust-agent");
    let again = world.dispatcher.dispatch(&task).await.unwrap_err();
    assert!(matches!(again, DispatchError::NoEligibleAgent(_)), "its only agent is at capacity: {again:?}");
}

#[tokio::test]
async fn all_at_capacity_wait_without_burning_anything() {
    let world = World::new();
    let agent = world.agent("a", &[], 2).await;
    let tasks =
        [world.submit(titled("1")).await, world.submit(titled("2")).await, world.submit(titled("3")).await];
    assert_eq!(world.dispatcher.tick().await.unwrap().dispatched, 2);
    let waits = world.task(&tasks[2].id).await;
    assert_eq!((waits.status, waits.retry_count), (TaskStatus::Pending, 0));
    assert_eq!(waits.pending_reason.unwrap().code, "at_capacity");
    let started = world.start_assigned(&agent).await;
    world.complete(&started[0], true).await;
    assert_eq!(world.dispatcher.tick().await.unwrap().dispatched, 1, "a place came free");
}

#[tokio::test]
async fn a_lane_that_nobody_fits_is_told_once_and_holds_up_nobody() {
    let world = World::new();
    world.agent("a", &["go"], 0).await;
    for title in ["1", "2", "3"] {
        world.submit(CreateTask { priority: Priority::Critical, ..labelled(title, &["sql"]) }).await;
    }
    let go = world.submit(CreateTask { priority: Priority::Low, ..labelled("go", &["go"]) }).await;
    for _ in 0..3 {
        world.dispatcher.tick().await.unwrap();
    }
    assert_eq!(world.task(&go.id).await.status, TaskStatus::InProgress);
    assert_eq!(world.count(EventType::DispatchFailedNoAgent).await, 1);
    let lanes = world.fleet.tasks().lanes().await.unwrap();
    assert_eq!(lanes[0].parked.as_ref().unwrap().code, "no_agent");
    world.agent("b", &["sql"], 0).await;
    assert_eq!(world.dispatcher.tick().await.unwrap().dispatched, 3);
}

#[tokio::test]
async fn a_refused_agent_is_passed_over_for_the_next_best() {
    let world = World::new();
    world.agent("a-spent", &[], 0).await;
    world.agent("b-fresh", &[], 0).await;
    world.allow("a-spent", |limit| limit.daily_job_limit = 1u32.into()).await;
    for title in ["1", "2", "3"] {
        world.submit(titled(title)).await;
    }
    assert_eq!(world.dispatcher.tick().await.unwrap().dispatched, 3);
    let agents = world.fleet.agents().list().await.unwrap();
    let loads: Vec<_> = agents.iter().map(|agent| (agent.id.as_str(), agent.current_load)).collect();
    assert_eq!(loads, [("a-spent", 1), ("b-fresh", 2)]);
}

#[tokio::test]
async fn a_quota_parks_the_lane_until_midnight_and_a_raised_limit_wakes_it() {
    let world = World::new();
    world.agent("a", &[], 0).await;
    world.allow("a", |limit| limit.daily_job_limit = 1u32.into()).await;
    world.submit(titled("1")).await;
    let second = world.submit(titled("2")).await;
    world.dispatcher.tick().await.unwrap();
    world.dispatcher.tick().await.unwrap();
    let reason = world.task(&second.id).await.pending_reason.unwrap();
    assert_eq!(reason.code, "quota");
    assert_eq!(
        reason.retry_at, None,
        "the first job is only reserved, and a reservation may end at any time"
    );
    assert_eq!(world.count(EventType::DispatchFailedQuota).await, 1);
    assert_eq!(world.count(EventType::QuotaExceeded).await, 1);
    let agent = world.fleet.agents().get(&"a".parse().unwrap()).await.unwrap();
    world.start_assigned(&agent).await;
    world.dispatcher.tick().await.unwrap();
    let reason = world.task(&second.id).await.pending_reason.unwrap();
    assert_eq!(reason.retry_at, Some("2026-03-05T00:00:00Z".parse().unwrap()));
    world.allow("a", |limit| limit.daily_job_limit = 2u32.into()).await;
    assert_eq!(
        world.task(&second.id).await.pending_reason.unwrap().code,
        "queued",
        "woken by the raised limit"
    );
    assert_eq!(world.dispatcher.tick().await.unwrap().dispatched, 1);
}

#[tokio::test]
async fn a_task_that_asks_for_too_much_is_deferred_for_itself() {
    let world = World::new();
    world.agent("a", &[], 0).await;
    world.allow("a", |limit| limit.daily_token_limit = 100u32.into()).await;
    let big =
        world.submit(CreateTask { estimated_tokens: 101u32.into(), ..urgent("big", Priority::High) }).await;
    let small = world.submit(CreateTask { estimated_tokens: 100u32.into(), ..titled("small") }).await;
    assert_eq!(world.dispatcher.tick().await.unwrap().dispatched, 1);
    assert_eq!(world.task(&small.id).await.status, TaskStatus::InProgress);
    let big = world.task(&big.id).await;
    assert_eq!((big.status, big.retry_count), (TaskStatus::Pending, 0));
    assert_eq!(big.pending_reason.unwrap().code, "deferred");
}

#[tokio::test]
async fn without_an_allowance_or_a_default_an_agent_gets_nothing() {
    let world = World::with(Policy { default_allowance: None, ..policy() });
    world.agent("a", &[], 0).await;
    let task = world.submit(titled("x")).await;
    world.dispatcher.tick().await.unwrap();
    let reason = world.task(&task.id).await.pending_reason.unwrap();
    assert!(reason.detail.contains("default_allowance"), "{reason:?}");
    world.allow("a", |_| {}).await;
    assert_eq!(world.dispatcher.tick().await.unwrap().dispatched, 1);
}

#[tokio::test]
async fn by_policy_a_look_that_finds_nobody_counts_as_a_failed_attempt() {
    let world = World::with(Policy { undispatchable: Undispatchable::Count, ..policy() });
    let task = world.submit(CreateTask { max_retries: Some(1), ..titled("x") }).await;
    world.dispatcher.tick().await.unwrap();
    let waits = world.task(&task.id).await;
    assert_eq!((waits.status, waits.retry_count), (TaskStatus::Pending, 1));
    world.pass(6);
    world.dispatcher.tick().await.unwrap();
    assert_eq!(world.task(&task.id).await.status, TaskStatus::Failed);
}

#[tokio::test]
async fn a_draining_agent_gets_nothing() {
    let world = World::new();
    let agent = world.agent("a", &[], 0).await;
    world.submit(titled("x")).await;
    world.fleet.agents().set_draining(&agent.id, true).await.unwrap();
    assert_eq!(world.dispatcher.tick().await.unwrap().dispatched, 0);
    world.fleet.agents().set_draining(&agent.id, false).await.unwrap();
    assert_eq!(world.dispatcher.tick().await.unwrap().dispatched, 1);
}

#[tokio::test]
async fn a_tick_lets_others_run_meanwhile() {
    let world = World::new();
    world.agent("a", &[], 0).await;
    for number in 0..30 {
        world.submit(titled(&format!("task {number}"))).await;
    }
    let turns = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&turns);
    let other = tokio::spawn(async move {
        loop {
            counted.fetch_add(1, Ordering::Relaxed);
            tokio::task::yield_now().await;
        }
    });
    // A memory never makes it wait, and there is one thread.
    assert_eq!(world.dispatcher.tick().await.unwrap().dispatched, 30);
    other.abort();
    let turns = turns.load(Ordering::Relaxed);
    assert!(turns >= 30, "{turns} turns beside 30 tasks");
}

//! What an agent could take is never held up by what nobody can, nor by an outage.

use std::sync::Arc;

use agentic_core::{
    allowance::{UsageEvent, UsageReport},
    api::CreateTask,
    error::Result,
    event::EventType,
    id::JobId,
    memory::Memory,
    port::{Ports, Unpark, Wake},
    rpc::{Call, Transport, remote, serve},
    task::{Priority, TaskStatus},
};
use agentic_dispatch::{ChannelEmitter, Policy, feed};
use async_trait::async_trait;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::world::{World, labelled, policy, titled, urgent};

#[tokio::test]
async fn any_number_of_lanes_that_nobody_can_take_hold_up_none() {
    let world = World::new();
    world.agent("a", &["go"], 0).await;
    for lane in 0..1_100 {
        world.submit(labelled("x", &[&format!("l{lane}")])).await;
    }
    let go = world.submit(CreateTask { priority: Priority::Low, ..labelled("go", &["go"]) }).await;
    world.dispatcher.tick().await.unwrap();
    assert_eq!(world.task(&go.id).await.status, TaskStatus::InProgress);
}

#[tokio::test]
async fn a_task_too_big_for_one_agent_waits_for_a_busy_one_that_can() {
    let world = World::new();
    world.agent("a", &[], 0).await;
    world.allow("a", |limit| limit.daily_token_limit = 100u32.into()).await;
    let b = world.agent("b", &["sql"], 1).await;
    world.submit(labelled("occupies b", &["sql"])).await;
    world.dispatcher.tick().await.unwrap();
    let occupied = world.start_assigned(&b).await;
    let big = world.submit(CreateTask { estimated_tokens: 101u32.into(), ..titled("big") }).await;
    world.dispatcher.tick().await.unwrap();
    assert_eq!(world.task(&big.id).await.pending_reason.unwrap().code, "deferred");
    world.complete(&occupied[0], true).await;
    world.pass(policy().tick.as_secs());
    assert_eq!(world.dispatcher.tick().await.unwrap().dispatched, 1, "not at midnight");
}

#[tokio::test]
async fn a_deferral_until_midnight_is_looked_at_before() {
    let world = World::new();
    let a = world.agent("a", &[], 0).await;
    world.allow("a", |limit| limit.daily_token_limit = 100u32.into()).await;
    let small = world.submit(CreateTask { estimated_tokens: 50u32.into(), ..titled("small") }).await;
    world.dispatcher.tick().await.unwrap();
    world.start_assigned(&a).await;
    let used = UsageReport {
        tokens_in: 50u32.into(),
        ..UsageReport::new(a.id.clone(), JobId::new(small.id.clone(), 1), UsageEvent::JobProgress)
    };
    world.fleet.allowances().record_usage(used).await.unwrap();
    let big = world.submit(CreateTask { estimated_tokens: 51u32.into(), ..titled("big") }).await;
    world.dispatcher.tick().await.unwrap();
    assert_eq!(world.task(&big.id).await.pending_reason.unwrap().code, "deferred");
    // Room that no wake-up tells of: the agent's allowance is taken away, and the default has room.
    world.fleet.ports().allowances.delete_allowance(&a.id, world.now()).await.unwrap();
    assert_eq!(world.dispatcher.tick().await.unwrap().dispatched, 0);
    world.pass(600);
    assert_eq!(world.dispatcher.tick().await.unwrap().dispatched, 1, "it is found in time");
}

#[tokio::test]
async fn a_raised_limit_wakes_what_was_put_off_for_itself() {
    let world = World::new();
    for name in ["a", "b"] {
        world.agent(name, &[], 0).await;
        world.allow(name, |limit| limit.daily_token_limit = 100u32.into()).await;
    }
    let big = world.submit(CreateTask { estimated_tokens: 101u32.into(), ..titled("big") }).await;
    world.dispatcher.tick().await.unwrap();
    assert_eq!(world.task(&big.id).await.pending_reason.unwrap().code, "deferred");
    // Any of those that had no room for it may be the one.
    world.allow("b", |limit| limit.daily_token_limit = 101u32.into()).await;
    assert_eq!(world.task(&big.id).await.pending_reason.unwrap().code, "queued");
    assert_eq!(world.dispatcher.tick().await.unwrap().dispatched, 1, "at once");
    assert_eq!(world.task(&big.id).await.claimed_by.unwrap().as_str(), "b");
}

/// Somebody raises a limit just before a task is put off for it.
#[derive(Debug)]
struct RaisedMeanwhile(Ports);

#[async_trait]
impl Transport for RaisedMeanwhile {
    async fn call(&self, call: Call) -> Result<Value> {
        if let Call::TasksDefer { defer } = &call
            && defer.seen.is_some()
        {
            self.0.tasks.unpark(Unpark { wake: Wake::All, limit: 10 }).await?;
        }
        serve(&self.0, call).await
    }
}

#[tokio::test]
async fn a_task_is_not_put_off_for_long_past_a_limit_that_was_raised_meanwhile() {
    let world = World::over(remote(Arc::new(RaisedMeanwhile(Memory::new().ports()))), policy());
    world.agent("a", &[], 0).await;
    world.allow("a", |limit| limit.daily_token_limit = 100u32.into()).await;
    let big = world.submit(CreateTask { estimated_tokens: 101u32.into(), ..titled("big") }).await;
    let small = world.submit(CreateTask { estimated_tokens: 10u32.into(), ..titled("small") }).await;
    world.dispatcher.tick().await.unwrap();
    assert_eq!(world.task(&small.id).await.status, TaskStatus::InProgress, "it holds up nobody");
    let big = world.task(&big.id).await;
    assert_eq!(big.pending_reason.unwrap().code, "deferred");
    assert_eq!(big.retry_at, Some(world.now().plus(policy().tick)));
}

#[tokio::test]
async fn a_task_too_big_for_the_agent_with_room_lets_smaller_ones_pass() {
    let world = World::new();
    world.agent("a", &[], 0).await;
    world.allow("a", |limit| limit.concurrent_jobs = 1u32.into()).await;
    world.submit(titled("occupies a")).await;
    world.dispatcher.tick().await.unwrap();
    world.agent("b", &[], 0).await;
    world.allow("b", |limit| limit.daily_token_limit = 100u32.into()).await;
    world.submit(CreateTask { estimated_tokens: 101u32.into(), ..urgent("big", Priority::High) }).await;
    let small = world.submit(CreateTask { estimated_tokens: 10u32.into(), ..titled("small") }).await;
    world.dispatcher.tick().await.unwrap();
    assert_eq!(world.task(&small.id).await.status, TaskStatus::InProgress);
}

#[tokio::test]
async fn no_time_is_told_where_another_agent_may_have_room_before() {
    let world = World::new();
    world.agent("a", &[], 0).await;
    world.allow("a", |limit| limit.daily_job_limit = 1u32.into()).await;
    world.submit(titled("uses a up")).await;
    world.dispatcher.tick().await.unwrap();
    let a = world.fleet.agents().get(&"a".parse().unwrap()).await.unwrap();
    world.start_assigned(&a).await;
    world.agent("b", &[], 1).await;
    world.submit(titled("occupies b")).await;
    let waits = world.submit(titled("waits")).await;
    world.dispatcher.tick().await.unwrap();
    let reason = world.task(&waits.id).await.pending_reason.unwrap();
    assert_eq!((reason.code.as_str(), reason.retry_at), ("quota", None), "b may end at any moment");
}

#[tokio::test]
async fn after_a_restart_agents_are_heard_before_they_are_given_work() {
    let world = World::new();
    let agent = world.agent("a", &[], 1).await;
    world.submit(titled("x")).await;
    world.dispatcher.tick().await.unwrap();
    world.start_assigned(&agent).await;
    world.pass(3_600);
    let restarted = World::at(world.fleet.ports().clone(), policy(), world.clock.clone());
    restarted.submit(titled("y")).await;
    assert_eq!(restarted.dispatcher.tick().await.unwrap().dispatched, 0, "before the first sweep");
}

#[tokio::test]
async fn retention_keeps_up() {
    let world = World::with(Policy {
        keep_tasks: std::time::Duration::from_mins(1),
        keep_events: std::time::Duration::from_mins(1),
        ..policy()
    });
    for _ in 0..30 {
        let tasks = (0..50).map(|_| titled("x")).collect();
        let created = world.fleet.tasks().create(tasks, None).await.unwrap();
        for created in created {
            world.fleet.tasks().cancel(&created.task.id, String::new()).await.unwrap();
        }
    }
    world.pass(120);
    world.fleet.reaper().sweep().await.unwrap();
    assert_eq!(world.fleet.tasks().counts().await.unwrap().get(&TaskStatus::Cancelled), None);
    let last = world.fleet.ports().events.last().await.unwrap();
    assert_eq!(world.fleet.ports().events.after(last, 1).await.unwrap().events, []);
    assert!(world.fleet.ports().events.after(last - 1, 1).await.is_err(), "all were trimmed");
}

#[tokio::test]
async fn a_feed_passes_over_only_what_was_trimmed() {
    let world = World::new();
    for title in ["1", "2", "3", "4", "5"] {
        world.submit(titled(title)).await;
        world.pass(1);
    }
    let third = world.events().await[2].timestamp;
    world.fleet.ports().events.trim(third, 10).await.unwrap();
    let (emitter, mut events) = ChannelEmitter::new(10);
    let stop = CancellationToken::new();
    let log = Arc::clone(&world.fleet.ports().events);
    let feeding = tokio::spawn(feed(log, emitter, 0, stop.clone()));
    let mut ids = Vec::new();
    for _ in 0..3 {
        let event = tokio::time::timeout(std::time::Duration::from_secs(20), events.recv()).await.unwrap();
        let event = event.unwrap();
        assert_eq!(event.kind, EventType::TaskCreated);
        ids.push(event.id);
    }
    stop.cancel();
    feeding.await.unwrap();
    assert_eq!(ids, [3, 4, 5]);
}

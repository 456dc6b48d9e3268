//! A task's life through the services.

use std::time::Duration;

use agentic_core::{
    api::{ClaimTask, CreateTask, PatchTask, ReleaseTask},
    error::{ConflictCode, Error},
    event::EventType,
    task::{TaskEdit, TaskStatus},
};
use agentic_dispatch::Caller;

use crate::world::{World, by, titled};

#[tokio::test]
async fn claim_process_complete() {
    let world = World::new();
    let agent = world.agent("a", &[], 1).await;
    let task = world.submit(titled("x")).await;
    let claim = ClaimTask { agent_id: agent.id.clone(), lease_secs: None };
    let claimed = world.fleet.tasks().claim(&task.id, &claim).await.unwrap();
    assert_eq!((claimed.status, claimed.attempt), (TaskStatus::InProgress, 1));
    assert_eq!(claimed.lease_expires_at, Some(world.now().plus(Duration::from_hours(1))));
    let rival = ClaimTask { agent_id: "b".parse().unwrap(), lease_secs: None };
    match world.fleet.tasks().claim(&task.id, &rival).await {
        Err(Error::Conflict { code: ConflictCode::AlreadyClaimed, holder, .. }) => {
            assert_eq!(holder, Some(agent.id.clone()));
        }
        other => panic!("{other:?}"),
    }
    let progress = PatchTask { progress: Some(40), notes: Some("half".into()), ..PatchTask::default() };
    let patched = world.fleet.tasks().patch(&by(&agent.id), &task.id, &progress).await.unwrap();
    assert_eq!((patched.progress, patched.notes.as_deref()), (40, Some("half")));
    let done = world.complete(&claimed, true).await;
    assert_eq!((done.status, done.progress), (TaskStatus::Completed, 100));
    assert_eq!(world.fleet.agents().get(&agent.id).await.unwrap().current_load, 0);
    let usage = world.fleet.allowances().usage(&agent.id).await.unwrap();
    assert_eq!((usage.jobs_started.get(), usage.active_jobs.get()), (1, 0));
}

#[tokio::test]
async fn every_call_of_a_holder_renews_its_lease() {
    let world = World::new();
    let agent = world.agent("a", &[], 0).await;
    let task = world.submit(titled("x")).await;
    let claim = ClaimTask { agent_id: agent.id.clone(), lease_secs: Some(100) };
    world.fleet.tasks().claim(&task.id, &claim).await.unwrap();
    world.pass(60);
    let touch = PatchTask { status: Some(TaskStatus::InProgress), ..PatchTask::default() };
    world.fleet.tasks().patch(&by(&agent.id), &task.id, &touch).await.unwrap();
    let lease = world.task(&task.id).await.lease_expires_at.unwrap();
    assert_eq!(lease.since(world.now()).as_secs(), 100);
}

#[tokio::test]
async fn retries_wait_5_10_20_40_seconds_and_then_the_task_is_a_dead_letter() {
    let world = World::new();
    let agent = world.agent("a", &[], 0).await;
    let task = world.submit(CreateTask { max_retries: Some(4), ..titled("x") }).await;
    let mut waits = Vec::new();
    loop {
        assert_eq!(world.dispatcher.tick().await.unwrap().dispatched, 1);
        let started = world.start_assigned(&agent).await;
        let failed = world.complete(&started[0], false).await;
        let Some(at) = failed.retry_at else { break };
        let wait = at.since(world.now());
        waits.push(wait.as_secs());
        world.pass(wait.as_secs() - 1);
        assert_eq!(world.dispatcher.tick().await.unwrap().dispatched, 0, "not before its time");
        world.pass(2);
    }
    // At most a tenth of jitter on 5, 10, 20 and 40 s.
    for (wait, base) in waits.iter().zip([5, 10, 20, 40]) {
        assert!((base..=base + base / 10).contains(wait), "{waits:?}");
    }
    let dead = world.task(&task.id).await;
    assert_eq!((dead.status, dead.attempt, waits.len()), (TaskStatus::Failed, 5, 4));
    assert_eq!(dead.fail_reason.as_deref(), Some("max retries exceeded"));
    assert_eq!(world.count(EventType::TaskDeadLettered).await, 1);
    let back = world.fleet.tasks().requeue(&task.id).await.unwrap();
    assert_eq!((back.status, back.retry_count, back.attempt), (TaskStatus::Pending, 0, 5));
}

#[tokio::test]
async fn a_release_and_a_block_burn_nothing() {
    let world = World::new();
    let agent = world.agent("a", &[], 0).await;
    let task = world.submit(titled("x")).await;
    let claim = ClaimTask { agent_id: agent.id.clone(), lease_secs: None };
    world.fleet.tasks().claim(&task.id, &claim).await.unwrap();
    let back = world.fleet.tasks().release(&by(&agent.id), &task.id, ReleaseTask::default()).await.unwrap();
    assert_eq!((back.status, back.retry_count, back.claimed_by), (TaskStatus::Pending, 0, None));
    world.fleet.tasks().claim(&task.id, &claim).await.unwrap();
    let block = PatchTask { status: Some(TaskStatus::Blocked), ..PatchTask::default() };
    let blocked = world.fleet.tasks().patch(&by(&agent.id), &task.id, &block).await.unwrap();
    assert_eq!((blocked.status, blocked.retry_count), (TaskStatus::Blocked, 0));
    assert_eq!(world.fleet.agents().get(&agent.id).await.unwrap().current_load, 0);
    let free = PatchTask { status: Some(TaskStatus::Pending), ..PatchTask::default() };
    assert_eq!(
        world.fleet.tasks().patch(&Caller::Operator, &task.id, &free).await.unwrap().status,
        TaskStatus::Pending
    );
}

#[tokio::test]
async fn statuses_with_an_endpoint_of_their_own_name_it() {
    let world = World::new();
    let task = world.submit(titled("x")).await;
    for (status, endpoint) in [(TaskStatus::Completed, "/complete"), (TaskStatus::Cancelled, "/cancel")] {
        let patch = PatchTask { status: Some(status), ..PatchTask::default() };
        let error = world.fleet.tasks().patch(&Caller::Operator, &task.id, &patch).await.unwrap_err();
        assert!(error.to_string().contains(endpoint), "{error}");
    }
    let edit = TaskEdit { description: Some("d".into()), ..TaskEdit::default() };
    let mixed = PatchTask { progress: Some(1), description: edit.description, ..PatchTask::default() };
    assert!(matches!(
        world.fleet.tasks().patch(&Caller::Operator, &task.id, &mixed).await,
        Err(Error::Invalid { .. })
    ));
}

#[tokio::test]
async fn cancelling_a_running_task_is_immediate_and_its_agent_is_told_to_stop() {
    let world = World::new();
    let agent = world.agent("a", &[], 0).await;
    let task = world.submit(titled("x")).await;
    world.dispatcher.tick().await.unwrap();
    let started = world.start_assigned(&agent).await;
    let cancelled = world.fleet.tasks().cancel(&task.id, String::new()).await.unwrap();
    assert_eq!(cancelled.status, TaskStatus::Cancelled);
    assert_eq!(world.fleet.agents().get(&agent.id).await.unwrap().current_load, 1, "until it is heard of");
    let running = agentic_core::api::RunningAttempt {
        task_id: task.id.clone(),
        attempt: started[0].attempt,
        usage: None,
    };
    let beat =
        agentic_core::api::HeartbeatBody { incarnation: Some(agent.incarnation), attempts: vec![running] };
    let answer = world.fleet.agents().heartbeat(&agent.id, beat).await.unwrap();
    assert_eq!(answer.directives[0].reason.as_deref(), Some("cancelled"));
    let late = world
        .fleet
        .tasks()
        .complete(
            &by(&agent.id),
            &task.id,
            agentic_core::api::CompleteTask {
                success: true,
                attempt: Some(started[0].attempt),
                ..agentic_core::api::CompleteTask::default()
            },
        )
        .await;
    assert!(late.is_err());
    assert_eq!(world.count(EventType::LateResult).await, 1);
    assert_eq!(world.fleet.agents().get(&agent.id).await.unwrap().current_load, 0);
}

#[tokio::test]
async fn an_array_under_one_key_is_created_once() {
    let world = World::new();
    let batch = || vec![titled("1"), titled("2")];
    let first = world.fleet.tasks().create(batch(), Some("k")).await.unwrap();
    let again = world.fleet.tasks().create(batch(), Some("k")).await.unwrap();
    assert!(again.iter().all(|created| created.replayed));
    assert_eq!(
        first.iter().map(|c| &c.task.id).collect::<Vec<_>>(),
        again.iter().map(|c| &c.task.id).collect::<Vec<_>>()
    );
    let other = world.fleet.tasks().create(vec![titled("1"), titled("3")], Some("k")).await.unwrap_err();
    assert!(other.is_conflict(ConflictCode::IdempotencyMismatch));
}

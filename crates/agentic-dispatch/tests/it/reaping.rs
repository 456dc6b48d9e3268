//! The reaper: silence, expiry, outages.

use std::time::Duration;

use agentic_core::{
    agent::AgentStatus,
    api::{HeartbeatBody, RunningAttempt},
    event::EventType,
    task::{Task, TaskStatus},
};

use crate::world::{World, titled};

fn beat(incarnation: u64, running: &[Task]) -> HeartbeatBody {
    let attempt =
        |task: &Task| RunningAttempt { task_id: task.id.clone(), attempt: task.attempt, usage: None };
    HeartbeatBody { incarnation: Some(incarnation), attempts: running.iter().map(attempt).collect() }
}

#[tokio::test]
async fn register_heartbeat_reap_and_back_again() {
    let world = World::new();
    let reaper = world.fleet.reaper();
    let agent = world.agent("a", &[], 0).await;
    reaper.sweep().await.unwrap();
    world.pass_watched(&reaper, 30).await;
    assert_eq!(
        world.fleet.agents().get(&agent.id).await.unwrap().status,
        AgentStatus::Available,
        "exactly its TTL"
    );
    world.pass_watched(&reaper, 1).await;
    assert_eq!(world.fleet.agents().get(&agent.id).await.unwrap().status, AgentStatus::Offline);
    world.submit(titled("x")).await;
    assert_eq!(world.dispatcher.tick().await.unwrap().dispatched, 0);
    world.fleet.agents().heartbeat(&agent.id, beat(1, &[])).await.unwrap();
    assert_eq!(world.fleet.agents().get(&agent.id).await.unwrap().status, AgentStatus::Available);
    assert_eq!(world.dispatcher.tick().await.unwrap().dispatched, 1);
    assert_eq!(
        (world.count(EventType::AgentOffline).await, world.count(EventType::AgentOnline).await),
        (1, 1)
    );
}

#[tokio::test]
async fn a_silent_attempt_expires_burns_a_retry_and_runs_again() {
    let world = World::new();
    let reaper = world.fleet.reaper();
    let agent = world.agent("a", &[], 0).await;
    let task = world.submit(titled("x")).await;
    world.dispatcher.tick().await.unwrap();
    world.start_assigned(&agent).await;
    reaper.sweep().await.unwrap();
    world.pass_watched(&reaper, 59).await;
    assert_eq!(world.task(&task.id).await.status, TaskStatus::InProgress);
    world.pass_watched(&reaper, 1).await;
    let lapsed = world.task(&task.id).await;
    assert_eq!((lapsed.status, lapsed.retry_count), (TaskStatus::Pending, 1));
    assert_eq!(world.fleet.agents().get(&agent.id).await.unwrap().current_load, 0);
    world.pass_watched(&reaper, 6).await;
    world.fleet.agents().heartbeat(&agent.id, beat(1, &[])).await.unwrap();
    assert_eq!(world.dispatcher.tick().await.unwrap().dispatched, 1);
    assert_eq!(world.task(&task.id).await.attempt, 2);
}

#[tokio::test]
async fn heartbeats_keep_a_long_attempt_alive() {
    let world = World::new();
    let reaper = world.fleet.reaper();
    let agent = world.agent("a", &[], 0).await;
    let task = world.submit(titled("x")).await;
    world.dispatcher.tick().await.unwrap();
    let running = world.start_assigned(&agent).await;
    for _ in 0..60 {
        world.pass_watched(&reaper, 10).await;
        world.fleet.agents().heartbeat(&agent.id, beat(1, &running)).await.unwrap();
    }
    let task = world.task(&task.id).await;
    assert_eq!((task.status, task.attempt), (TaskStatus::InProgress, 1), "ten leases long");
    assert_eq!(world.count(EventType::LeaseExpired).await, 0);
}

#[tokio::test]
async fn an_attempt_that_never_started_goes_back_unburnt_and_its_agent_is_skipped_for_a_while() {
    let world = World::new();
    let reaper = world.fleet.reaper();
    let agent = world.agent("a", &[], 0).await;
    let task = world.submit(titled("x")).await;
    world.dispatcher.tick().await.unwrap();
    reaper.sweep().await.unwrap();
    for _ in 0..6 {
        world.pass_watched(&reaper, 10).await;
        world.fleet.agents().heartbeat(&agent.id, beat(1, &[])).await.unwrap();
    }
    let back = world.task(&task.id).await;
    assert_eq!((back.status, back.retry_count), (TaskStatus::Pending, 0));
    assert_eq!(world.fleet.allowances().usage(&agent.id).await.unwrap().jobs_started.get(), 0);
    assert_eq!(world.dispatcher.tick().await.unwrap().dispatched, 0, "skipped for one backoff");
    world.pass(5);
    assert_eq!(world.dispatcher.tick().await.unwrap().dispatched, 1);
}

#[tokio::test]
async fn an_outage_expires_nothing_for_one_lease() {
    let world = World::new();
    let agent = world.agent("a", &[], 0).await;
    let task = world.submit(titled("x")).await;
    world.dispatcher.tick().await.unwrap();
    let running = world.start_assigned(&agent).await;
    world.fleet.reaper().sweep().await.unwrap();
    world.pass(3_600);
    let restarted = world.fleet.reaper();
    assert!(restarted.sweep().await.unwrap().held);
    assert_eq!(world.task(&task.id).await.status, TaskStatus::InProgress);
    world.submit(titled("y")).await;
    assert_eq!(
        world.dispatcher.tick().await.unwrap().dispatched,
        0,
        "no work for who has an expired attempt"
    );
    let answer = world.fleet.agents().heartbeat(&agent.id, beat(1, &running)).await.unwrap();
    assert_eq!(answer.directives[0].lease_secs, Some(60), "renewed: its place was still free");
    assert_eq!(world.dispatcher.tick().await.unwrap().dispatched, 1);
    world.pass_watched(&restarted, 59).await;
    assert_eq!(world.task(&task.id).await.attempt, 1);
    world.pass_watched(&restarted, 2).await;
    assert_eq!(
        world.task(&task.id).await.status,
        TaskStatus::Pending,
        "silent since: expired after the hold"
    );
}

#[tokio::test]
async fn an_outage_that_one_server_noticed_holds_the_others_too() {
    let world = World::new();
    let agent = world.agent("a", &[], 0).await;
    let task = world.submit(titled("x")).await;
    world.dispatcher.tick().await.unwrap();
    let running = world.start_assigned(&agent).await;
    let other = world.of_another_server();
    let (first, second) = (world.fleet.reaper(), other.fleet.reaper());
    for reaper in [&first, &second] {
        assert!(!reaper.sweep().await.unwrap().held);
    }
    world.pass(100);
    assert!(first.sweep().await.unwrap().held);
    let swept = second.sweep().await.unwrap();
    assert!(swept.held && swept.expired == 0, "it finds a fresh sweep, and the hold: {swept:?}");
    world.submit(titled("y")).await;
    assert_eq!(other.dispatcher.tick().await.unwrap().dispatched, 0, "its dispatcher waits as well");
    world.fleet.agents().heartbeat(&agent.id, beat(1, &running)).await.unwrap();
    assert_eq!(world.task(&task.id).await.attempt, 1);
    for _ in 0..61 {
        world.pass_watched(&first, 1).await;
        second.sweep().await.unwrap();
    }
    assert!(!second.sweep().await.unwrap().held);
    assert_eq!(world.task(&task.id).await.status, TaskStatus::Pending, "silent since: expired after it");
}

#[tokio::test]
async fn a_hold_of_a_clock_that_was_ahead_is_none() {
    let world = World::new();
    let reaper = world.fleet.reaper();
    reaper.sweep().await.unwrap();
    let far = world.now().plus(Duration::from_hours(1)).to_string();
    world.fleet.ports().settings.put("sweep.hold", Some(far)).await.unwrap();
    assert!(!reaper.sweep().await.unwrap().held);
}

#[tokio::test]
async fn who_did_not_start_its_work_gets_none_from_any_server() {
    let world = World::new();
    let reaper = world.fleet.reaper();
    let agent = world.agent("a", &[], 0).await;
    world.submit(titled("x")).await;
    world.dispatcher.tick().await.unwrap();
    let other = world.of_another_server();
    reaper.sweep().await.unwrap();
    for _ in 0..6 {
        world.pass_watched(&reaper, 10).await;
        world.fleet.agents().heartbeat(&agent.id, beat(1, &[])).await.unwrap();
    }
    assert_eq!(other.dispatcher.tick().await.unwrap().dispatched, 0, "skipped by the other server");
    world.agent("a", &[], 0).await;
    assert_eq!(other.dispatcher.tick().await.unwrap().dispatched, 1, "a new start is believed");
}

#[tokio::test]
async fn a_moved_clock_expires_nothing_for_one_lease() {
    let world = World::new();
    let agent = world.agent("a", &[], 0).await;
    let task = world.submit(titled("x")).await;
    world.dispatcher.tick().await.unwrap();
    world.start_assigned(&agent).await;
    let reaper = world.fleet.reaper();
    reaper.sweep().await.unwrap();
    world.pass(1);
    world.clock.set(world.now().plus(Duration::from_mins(10)));
    assert!(reaper.sweep().await.unwrap().held);
    assert_eq!(world.task(&task.id).await.status, TaskStatus::InProgress);
}

#[tokio::test]
async fn a_restarted_agent_gets_only_unstarted_attempts() {
    let world = World::new();
    let first = world.agent("a", &[], 0).await;
    world.submit(titled("started")).await;
    world.dispatcher.tick().await.unwrap();
    let running = world.start_assigned(&first).await;
    let second = world.agent("a", &[], 0).await;
    assert_eq!(second.incarnation, 2);
    let nothing = world.fleet.agents().assignments(&second.id, 2, Duration::ZERO).await.unwrap();
    assert_eq!(nothing, []);
    let answer = world.fleet.agents().heartbeat(&second.id, beat(2, &running)).await.unwrap();
    assert_eq!(answer.directives[0].reason.as_deref(), Some("lease_lost"));
    assert!(
        world.fleet.agents().heartbeat(&first.id, beat(1, &[])).await.is_err(),
        "the older start is refused"
    );
}

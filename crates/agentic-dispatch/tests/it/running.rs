//! The loop: it wakes, it stops, it survives.

use std::{sync::Arc, time::Duration};

use agentic_core::{event::EventType, memory::Memory};
use agentic_dispatch::Policy;
use agentic_testkit::counting::Counting;
use tokio_util::sync::CancellationToken;

use crate::world::{World, labelled, policy, titled};

/// Long enough for a loaded machine; nothing waits this long unless it is broken.
const PATIENCE: Duration = Duration::from_secs(30);

async fn until_dispatched(world: &World, wanted: usize) {
    let events = &world.fleet.ports().events;
    let mut cursor = 0;
    let mut seen = 0;
    while seen < wanted {
        assert!(events.wait(cursor, PATIENCE).await.unwrap(), "only {seen} dispatched");
        let page = events.after(cursor, 100).await.unwrap();
        seen += page.events.iter().filter(|event| event.kind == EventType::TaskDispatched).count();
        cursor = page.cursor;
    }
}

#[tokio::test]
async fn the_loop_wakes_on_a_submission_and_ends_when_cancelled() {
    // Too long to be what wakes or ends it.
    let world = World::with(Policy { tick: Duration::from_hours(1), ..policy() });
    world.agent("a", &[], 0).await;
    let stop = CancellationToken::new();
    let dispatcher = world.fleet.dispatcher(Arc::new(agentic_dispatch::LeastLoaded));
    let running = tokio::spawn({
        let stop = stop.clone();
        async move { dispatcher.run(stop).await }
    });
    world.submit(titled("1")).await;
    until_dispatched(&world, 1).await;
    world.submit(titled("2")).await;
    until_dispatched(&world, 2).await;
    stop.cancel();
    tokio::time::timeout(PATIENCE, running).await.expect("the loop ends promptly").unwrap();
    world.submit(titled("3")).await;
    assert_eq!(world.count(EventType::TaskDispatched).await, 2, "nothing after it ended");
}

#[tokio::test]
async fn a_long_poll_wakes_when_something_is_assigned() {
    let world = World::new();
    let agent = world.agent("a", &[], 0).await;
    let service = world.fleet.agents();
    let waiting = tokio::spawn(async move { service.assignments(&agent.id, 1, PATIENCE).await });
    world.submit(titled("x")).await;
    world.dispatcher.tick().await.unwrap();
    assert_eq!(waiting.await.unwrap().unwrap().len(), 1);
}

#[tokio::test]
async fn the_log_is_read_once_for_all_who_wait() {
    let (ports, counter) = Counting::new(Memory::new().ports());
    let world = World::over(ports, policy());
    let mut waiting = tokio::task::JoinSet::new();
    for n in 0..50 {
        let label = if n == 7 { "seven" } else { "other" };
        let agent = world.agent(&format!("agent-{n}"), &[label], 1).await;
        let service = world.fleet.agents();
        waiting.spawn(async move { service.assignments(&agent.id, 1, PATIENCE).await.unwrap() });
    }
    while counter.calls("tasks.assigned") < 50 {
        tokio::task::yield_now().await;
    }
    let before = counter.calls("events.after");
    for n in 0..20 {
        world.submit(labelled(&format!("{n}"), &["nobody"])).await;
        // Whoever waits has the time to look.
        for _ in 0..500 {
            tokio::task::yield_now().await;
        }
    }
    world.submit(labelled("seven", &["seven"])).await;
    world.dispatcher.tick().await.unwrap();
    let assigned = waiting.join_next().await.unwrap().unwrap();
    assert_eq!(assigned[0].claimed_by.as_ref().unwrap().as_str(), "agent-7", "and nobody else is called");
    let reads = counter.calls("events.after") - before;
    assert!((20..=50).contains(&reads), "{reads} reads for 22 submissions and dispatches");
}

#[tokio::test]
async fn many_dispatchers_and_agents_on_one_fleet() {
    let world = World::new();
    for id in 0..8 {
        world.agent(&format!("agent-{id}"), &[], 4).await;
    }
    for chunk in 0..4 {
        let tasks = (0..100).map(|n| titled(&format!("{chunk}-{n}"))).collect();
        world.fleet.tasks().create(tasks, None).await.unwrap();
    }
    let stop = CancellationToken::new();
    let mut running = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let dispatcher = world.fleet.dispatcher(Arc::new(agentic_dispatch::LeastLoaded));
        let stop = stop.clone();
        running.spawn(async move { dispatcher.run(stop).await });
    }
    let mut done = 0;
    while done < 400 {
        for id in 0..8 {
            let agent = world.fleet.agents().get(&format!("agent-{id}").parse().unwrap()).await.unwrap();
            assert!(agent.current_load <= 4, "max_load is a limit");
            let assigned =
                world.fleet.agents().assignments(&agent.id, 1, Duration::from_millis(20)).await.unwrap();
            for task in assigned {
                world.complete(&task, true).await;
                done += 1;
            }
        }
    }
    stop.cancel();
    running.join_all().await;
    assert_eq!(world.count(EventType::TaskDispatched).await, 400, "each exactly once");
    assert_eq!(world.count(EventType::TaskCompleted).await, 400);
    assert_eq!(world.fleet.ports().allowances.verify().await.unwrap(), []);
}

//! Events of another store reach the log of the tasks: once, in order, whatever fails and whoever hands them on.

use std::{sync::Arc, time::Duration};

use agentic_core::{
    allowance::AgentAllowance,
    clock::{Clock as _, ManualClock, Timestamp},
    event::{Event, EventType, NewEvent, Side},
    memory::Memory,
    port::{Append, EventLog, Ports},
};
use agentic_dispatch::{Fleet, LeastLoaded, Outbox, Policy};
use agentic_testkit::{
    faults::{Faults, Faulty},
    fixture::at_once,
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::{
    crashes::apart,
    world::{NOON, policy, titled},
};

const DAY: Duration = Duration::from_hours(24);

async fn outbox(store: &Ports, tasks: &Ports) -> Outbox {
    Outbox::open(store, tasks, vec![Side::Agents, Side::Allowances], DAY).await.unwrap()
}

fn event(n: u64, kind: EventType, secs: i64) -> NewEvent {
    NewEvent::new(kind, Timestamp::from_millis(secs * 1_000)).payload(json!({ "n": n }))
}

async fn add(log: &dyn EventLog, kind: EventType, numbers: std::ops::Range<u64>, secs: i64) {
    let events: Vec<NewEvent> = numbers.map(|n| event(n, kind, secs)).collect();
    log.append(Append::from(events)).await.unwrap();
}

async fn all(log: &dyn EventLog) -> Vec<Event> {
    log.after(0, 100_000).await.unwrap().events
}

/// The numbers that events of the tests carry, in the order of a log.
async fn numbers(log: &dyn EventLog) -> Vec<u64> {
    let number = |event: &Event| event.payload.as_ref()?["n"].as_u64();
    all(log).await.iter().filter_map(number).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_arrives_once_and_in_order() {
    let (store, tasks) = (Memory::new().ports(), Memory::new().ports());
    let stop = CancellationToken::new();
    let mut relays = Vec::new();
    for seed in 0..4 {
        let faults = |seed| Faults { seed, before: 60, after: 60 };
        let (store, _) = Faulty::new(store.clone(), faults(seed));
        let (tasks, injected) = Faulty::new(tasks.clone(), faults(seed + 100));
        let stop = stop.clone();
        relays.push((
            injected,
            tokio::spawn(async move {
                let outbox = loop {
                    match Outbox::open(&store, &tasks, vec![Side::Allowances], DAY).await {
                        Ok(outbox) => break outbox,
                        Err(error) => assert!(error.is_retryable(), "{error}"),
                    }
                };
                while !stop.is_cancelled() {
                    drop(outbox.relay().await);
                    tokio::task::yield_now().await;
                }
            }),
        ));
    }
    for n in 0..400 {
        add(&*store.events, EventType::UsageRecorded, 3 * n..3 * n + 3, 1).await;
        add(&*tasks.events, EventType::TaskUpdated, 0..0, 1).await;
        tokio::task::yield_now().await;
    }
    let spared = |relays: &[(Arc<Faulty>, _)]| relays.iter().any(|(faults, _)| faults.injected() == (0, 0));
    while numbers(&*tasks.events).await.len() < 1_200 || spared(&relays) {
        tokio::task::yield_now().await;
    }
    stop.cancel();
    for (_, relay) in relays {
        relay.await.unwrap();
    }
    assert_eq!(numbers(&*tasks.events).await, (0..1_200).collect::<Vec<_>>());
    assert_eq!(outbox(&store, &tasks).await.relay().await.unwrap(), 0);
}

#[tokio::test]
async fn only_what_lives_there_is_handed_on() {
    let (store, tasks) = (Memory::new().ports(), Memory::new().ports());
    let agents = Outbox::open(&store, &tasks, vec![Side::Agents], DAY).await.unwrap();
    for (n, kind) in (0..).zip(EventType::ALL) {
        add(&*store.events, *kind, n..n + 1, 7).await;
    }
    assert_eq!(agents.relay().await.unwrap(), 4);
    let told = all(&*tasks.events).await;
    assert!(told.iter().all(|event| event.kind.side() == Side::Agents && event.timestamp.millis() == 7_000));
    assert_eq!(agents.relay().await.unwrap(), 0);
}

#[tokio::test]
async fn a_store_that_was_made_anew_begins_anew() {
    let tasks = Memory::new().ports();
    for n in 0..3 {
        let store = Memory::new().ports();
        add(&*store.events, EventType::AgentOnline, n..n + 1, 1).await;
        let outboxes = [outbox(&store, &tasks).await, outbox(&store, &tasks).await];
        for outbox in outboxes {
            outbox.relay().await.unwrap();
        }
    }
    assert_eq!(numbers(&*tasks.events).await, [0, 1, 2]);
}

#[tokio::test]
async fn a_store_is_given_one_id() {
    let (store, tasks) = (Memory::new().ports(), Memory::new().ports());
    add(&*store.events, EventType::AgentOnline, 0..1, 1).await;
    let opened = at_once(8, |_| {
        let (store, tasks) = (store.clone(), tasks.clone());
        async move { outbox(&store, &tasks).await.relay().await.unwrap() }
    });
    assert_eq!(opened.await.iter().sum::<usize>(), 1);
}

#[tokio::test]
async fn a_trim_takes_nothing_that_was_not_handed_on() {
    let (store, tasks) = (Memory::new().ports(), Memory::new().ports());
    let outbox = outbox(&store, &tasks).await;
    let now = Timestamp::EPOCH.plus(DAY * 2);
    add(&*store.events, EventType::AgentOnline, 0..2, 1).await;
    assert_eq!(outbox.trim(now, 10).await.unwrap(), 0, "nothing was handed on");
    outbox.relay().await.unwrap();
    add(&*store.events, EventType::AgentOffline, 2..4, 2).await;
    assert_eq!(outbox.trim(now, 10).await.unwrap(), 2, "what was");
    outbox.relay().await.unwrap();
    assert_eq!(outbox.trim(Timestamp::EPOCH.plus(DAY), 10).await.unwrap(), 0, "not old enough");
    assert_eq!(outbox.trim(now, 1).await.unwrap(), 1, "bounded");
    assert_eq!(outbox.trim(now, 10).await.unwrap(), 1);
    assert_eq!(numbers(&*tasks.events).await, [0, 1, 2, 3]);
}

#[tokio::test]
async fn what_somebody_else_trimmed_is_passed_over() {
    let (store, tasks) = (Memory::new().ports(), Memory::new().ports());
    let outbox = outbox(&store, &tasks).await;
    add(&*store.events, EventType::AgentOnline, 0..1, 1).await;
    outbox.relay().await.unwrap();
    add(&*store.events, EventType::AgentOnline, 1..6, 2).await;
    add(&*store.events, EventType::AgentOnline, 6..8, 3).await;
    assert_eq!(store.events.trim(Timestamp::from_millis(3_000), 100).await.unwrap(), 6);
    assert_eq!(outbox.trim(Timestamp::EPOCH.plus(DAY * 2), 10).await.unwrap(), 0, "the rest waits");
    assert_eq!(outbox.relay().await.unwrap(), 2);
    assert_eq!(numbers(&*tasks.events).await, [0, 6, 7]);
    store.events.trim(Timestamp::from_millis(9_000), 100).await.unwrap();
    assert_eq!(outbox.relay().await.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_log_that_went_back_is_followed() {
    let (store, tasks) = (Memory::new().ports(), Memory::new().ports());
    let outbox = outbox(&store, &tasks).await;
    add(&*store.events, EventType::AgentOnline, 0..2, 1).await;
    outbox.relay().await.unwrap();
    // As after a failover that lost ninety events which had been handed on.
    let id = store.settings.get("outbox.id").await.unwrap().unwrap();
    tasks.settings.put(&format!("outbox.{id}"), Some("92".to_owned())).await.unwrap();
    let stop = CancellationToken::new();
    let running = tokio::spawn({
        let (outbox, stop) = (outbox.clone(), stop.clone());
        async move { outbox.run(stop).await }
    });
    tokio::time::sleep(Duration::from_secs(6)).await;
    add(&*store.events, EventType::AgentOnline, 2..3, 1).await;
    assert!(tasks.events.wait(2, Duration::from_mins(1)).await.unwrap());
    assert_eq!(numbers(&*tasks.events).await, [0, 1, 2]);
    stop.cancel();
    running.await.unwrap();
}

#[tokio::test]
async fn the_dispatcher_wakes_and_the_reaper_trims() {
    let (store, tasks) = (Memory::new().ports(), Memory::new().ports());
    let clock = ManualClock::at(NOON.parse().unwrap());
    // Too long to be what wakes it.
    let policy = Policy { tick: Duration::from_hours(1), default_allowance: None, ..policy() };
    let outboxes = vec![outbox(&store, &tasks).await];
    let fleet = Fleet::apart(apart(&tasks, &store), outboxes, Arc::new(clock.clone()), policy).unwrap();
    let stop = CancellationToken::new();
    let mut running = tokio::task::JoinSet::new();
    let (dispatcher, token) = (fleet.dispatcher(Arc::new(LeastLoaded)), stop.clone());
    running.spawn(async move { dispatcher.run(token).await });
    let (relay, token) = (fleet.outboxes()[0].clone(), stop.clone());
    running.spawn(async move { relay.run(token).await });

    let told = async |kind: EventType| {
        let mut cursor = 0;
        loop {
            let page = tasks.events.after(cursor, 100).await.unwrap();
            if page.events.iter().any(|event| event.kind == kind) {
                return;
            }
            cursor = page.cursor;
            assert!(tasks.events.wait(cursor, Duration::from_secs(30)).await.unwrap(), "{kind} is not told");
        }
    };
    fleet.tasks().create(vec![titled("x")], None).await.unwrap();
    told(EventType::DispatchFailedNoAgent).await;
    let agent = agentic_core::agent::AgentSpec::new("a".parse().unwrap());
    fleet.agents().register(agent).await.unwrap();
    told(EventType::DispatchFailedQuota).await;
    fleet.allowances().set(AgentAllowance::unlimited("a".parse().unwrap())).await.unwrap();
    told(EventType::TaskDispatched).await;
    stop.cancel();
    running.join_all().await;

    clock.advance(DAY * 2);
    assert!(store.events.after(0, 1).await.is_ok());
    let reaper = fleet.reaper();
    reaper.sweep().await.unwrap();
    assert!(store.events.after(0, 1).await.is_err(), "at {}", clock.now());
}

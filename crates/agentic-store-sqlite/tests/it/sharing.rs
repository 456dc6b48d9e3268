//! Several handles on one file, each with its own writer, as several processes have.

use std::time::Duration;

use agentic_core::{
    error::{ConflictCode, Error},
    event::{EventType, NewEvent},
    port::Ports,
    task::TaskStatus,
};
use agentic_store_sqlite::{SqliteOptions, SqliteStore};
use agentic_testkit::{
    given::{assign, create, daily_jobs, id, job, limited, t, task},
    invariants,
};
use tokio::task::JoinSet;

use crate::world::{World, submit};

/// On a slow disk one handle may have to let the others go first for long.
fn patient() -> SqliteOptions {
    SqliteOptions::new().busy_timeout(Duration::from_mins(2))
}

/// Claimers on all the handles.
fn claimers(stores: &[SqliteStore]) -> impl Iterator<Item = (String, Ports)> {
    (0..16).zip(stores.iter().cycle()).map(|(number, store)| (format!("w{number:02}"), store.ports()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_16_claimers_one_wins() {
    let world = World::new();
    let stores: Vec<SqliteStore> = (0..4).map(|_| world.open_with(patient())).collect();
    submit(&stores[0].ports(), "a").await.unwrap();
    let mut calls = JoinSet::new();
    for (agent, ports) in claimers(&stores) {
        calls.spawn(async move { ports.ledger.assign(assign(&job("a", 1), &agent, t(0))).await });
    }
    let (won, lost): (Vec<_>, Vec<_>) = calls.join_all().await.into_iter().partition(Result::is_ok);
    assert_eq!((won.len(), lost.len()), (1, 15));
    let holder = won[0].as_ref().unwrap().task.claimed_by.clone();
    for error in lost {
        let error = error.unwrap_err();
        assert!(error.is_conflict(ConflictCode::AlreadyClaimed), "{error}");
        assert!(matches!(error, Error::Conflict { holder: named, .. } if named == holder));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_writers_claim_everything_once_and_pass_no_limit() {
    const TASKS: u32 = 60;
    const CAP: u32 = 40;
    let world = World::new();
    let stores: Vec<SqliteStore> = (0..4).map(|_| world.open_with(patient())).collect();
    let names: Vec<String> = (0..TASKS).map(|number| format!("t{number:02}")).collect();
    let tasks = names.iter().map(|name| task(name)).collect();
    stores[0].ports().tasks.create_many(create(tasks, t(0))).await.unwrap();
    let limit = daily_jobs("everybody", CAP);
    let mut calls = JoinSet::new();
    for (agent, ports) in claimers(&stores) {
        let (names, limit) = (names.clone(), limit.clone());
        calls.spawn(async move {
            let mut won = 0;
            for name in names {
                let assign = limited(assign(&job(&name, 1), &agent, t(0)), std::slice::from_ref(&limit), 1);
                match ports.ledger.assign(assign).await {
                    Ok(_) => won += 1,
                    Err(Error::Refused(_) | Error::Conflict { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            won
        });
    }
    assert_eq!(calls.join_all().await.into_iter().sum::<u32>(), CAP);
    let ports = stores[1].ports();
    let counts = ports.tasks.counts().await.unwrap();
    assert_eq!(counts[&TaskStatus::InProgress], u64::from(CAP));
    assert_eq!(counts[&TaskStatus::Pending], u64::from(TASKS - CAP));
    assert_eq!(invariants::broken(&ports).await.unwrap(), [""; 0]);
    assert_eq!(stores[2].integrity_check().await.unwrap(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_of_another_process_wake_too() {
    let world = World::new();
    let (here, there) = (world.open().ports(), world.open().ports());
    let mut waits = JoinSet::new();
    for _ in 0..3 {
        let here = here.clone();
        waits.spawn(async move { here.events.wait(0, Duration::from_secs(30)).await });
    }
    let event = NewEvent::new(EventType::AgentOnline, t(0)).agent(&id("w"));
    there.events.append(vec![event].into()).await.unwrap();
    assert_eq!(waits.join_all().await.into_iter().map(Result::unwrap).collect::<Vec<_>>(), [true; 3]);
    assert!(!here.events.wait(1, Duration::from_millis(1)).await.unwrap());
    assert_eq!(here.events.last().await.unwrap(), 1);
}

//! Stores that are away for a while, or take no writes, and what the reaper makes of it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use agentic_core::{
    api::{HeartbeatBody, RunningAttempt},
    error::{Error, Result},
    memory::Memory,
    port::{CancelTask, Ports},
    rpc::{Call, Transport, remote, serve},
    task::TaskStatus,
};
use agentic_dispatch::Policy;
use async_trait::async_trait;
use serde_json::Value;

use crate::{
    crashes::apart,
    world::{World, policy, titled},
};

/// A store that refuses some calls while it is told to.
#[derive(Debug)]
struct Refusing {
    inner: Ports,
    refuses: AtomicBool,
    which: fn(&Call) -> bool,
}

impl Refusing {
    fn new(which: fn(&Call) -> bool) -> (Ports, Arc<Self>) {
        let (inner, refuses) = (Memory::new().ports(), AtomicBool::new(false));
        let store = Arc::new(Self { inner, refuses, which });
        (remote(store.clone()), store)
    }

    fn refuse(&self, refuses: bool) {
        self.refuses.store(refuses, Ordering::SeqCst);
    }
}

#[async_trait]
impl Transport for Refusing {
    async fn call(&self, call: Call) -> Result<Value> {
        if self.refuses.load(Ordering::SeqCst) && (self.which)(&call) {
            return Err(Error::unavailable("the store"));
        }
        serve(&self.inner, call).await
    }
}

#[tokio::test]
async fn a_store_that_takes_no_settings_is_emptied_all_the_same() {
    let (ports, store) = Refusing::new(|call| matches!(call, Call::SettingsPut { .. }));
    let world = World::over(ports, Policy { keep_tasks: Duration::from_secs(1), ..policy() });
    let task = world.submit(titled("x")).await;
    let (status, reason) = (TaskStatus::Cancelled, String::new());
    let cancel = CancelTask { task: task.id.clone(), status, reason, now: world.now() };
    world.fleet.ports().tasks.cancel(cancel).await.unwrap();
    store.refuse(true);
    world.pass(5);
    let reaper = world.fleet.reaper();
    assert!(reaper.sweep().await.is_err());
    assert!(world.fleet.trouble().is_some(), "whoever asks whether the server is ready is told");
    assert!(matches!(world.fleet.tasks().get(&task.id).await, Err(Error::NotFound { .. })));
    store.refuse(false);
    reaper.sweep().await.unwrap();
    assert!(world.fleet.trouble().is_none());
}

#[tokio::test]
async fn allowances_that_are_away_expire_nobody() {
    let (there, store) = Refusing::new(|call| call.method().starts_with("allowances."));
    let world = World::over(apart(&Memory::new().ports(), &there), policy());
    // The agents stay where the tasks are, and are heard.
    let reaper = world.fleet.reaper();
    let agent = world.agent("a", &[], 0).await;
    for name in ["x", "y"] {
        world.submit(titled(name)).await;
    }
    world.dispatcher.tick().await.unwrap();
    let running = world.start_assigned(&agent).await;
    assert_eq!(running.len(), 2);
    let attempts: Vec<RunningAttempt> = running
        .iter()
        .map(|task| RunningAttempt { task_id: task.id.clone(), attempt: task.attempt, usage: None })
        .collect();
    let beat = HeartbeatBody { incarnation: Some(1), attempts };
    reaper.sweep().await.unwrap();
    store.refuse(true);
    // Three leases long.
    for _ in 0..36 {
        world.pass(5);
        assert!(world.fleet.agents().heartbeat(&agent.id, beat.clone()).await.is_err());
        reaper.sweep().await.unwrap_err();
    }
    store.refuse(false);
    let swept = reaper.sweep().await.unwrap();
    assert!(swept.held && swept.expired == 0, "before anybody could be heard: {swept:?}");
    let answer = world.fleet.agents().heartbeat(&agent.id, beat).await.unwrap();
    assert!(answer.directives.iter().all(|said| said.lease_secs == Some(60)), "{answer:?}");
    for task in running {
        let task = world.task(&task.id).await;
        assert_eq!((task.status, task.attempt, task.retry_count), (TaskStatus::InProgress, 1, 0));
    }
}

#[tokio::test]
async fn one_failed_sweep_holds_for_a_lease() {
    let (there, store) = Refusing::new(|call| call.method().starts_with("allowances."));
    let world = World::over(apart(&Memory::new().ports(), &there), policy());
    let reaper = world.fleet.reaper();
    reaper.sweep().await.unwrap();
    // Shorter than what makes a fleet unwatched.
    world.pass(5);
    store.refuse(true);
    reaper.sweep().await.unwrap_err();
    store.refuse(false);
    assert!(reaper.sweep().await.unwrap().held);
    for _ in 0..60 {
        assert!(reaper.sweep().await.unwrap().held);
        world.pass(1);
    }
    assert!(!reaper.sweep().await.unwrap().held);
}

//! The random-operation model, on memory itself: what holds of it, and that a difference is found and shrunk.

use std::{collections::BTreeSet, sync::Arc};

use agentic_core::{
    error::{Error, Result},
    memory::Memory,
    port::Ports,
    rpc::{self, Call, Transport},
};
use agentic_testkit::{
    Fixture,
    lockstep::{Plan, agrees_with_memory, replay},
};
use async_trait::async_trait;
use serde_json::Value;

/// A back end that is wrong in one way: it takes the requeueing of a task for done.
#[derive(Debug)]
struct Forgetful(Ports);

#[async_trait]
impl Transport for Forgetful {
    async fn call(&self, call: Call) -> Result<Value> {
        match call {
            Call::TasksRequeue { id, now } => rpc::serve(&self.0, Call::TasksGet { id, now }).await,
            other => rpc::serve(&self.0, other).await,
        }
    }
}

fn memory() -> Fixture {
    Fixture::new(Memory::new().ports())
}

fn forgetful() -> Fixture {
    Fixture::new(rpc::remote(Arc::new(Forgetful(Memory::new().ports()))))
}

#[tokio::test]
async fn memory_keeps_its_invariants() {
    let plan = Plan::read(|name| std::env::var(name).ok()).unwrap();
    match agrees_with_memory(&plan, async || memory()).await {
        Ok(tally) => eprintln!("{tally}"),
        Err(divergence) => panic!("{divergence}"),
    }
}

/// A generator whose calls are all refused would test nothing.
#[tokio::test]
async fn most_calls_do_something() {
    let plan = Plan { seeds: (1..=16).collect(), steps: 400 };
    let tally = agrees_with_memory(&plan, async || memory()).await.unwrap();
    assert_eq!(tally.steps(), 6_400);
    let methods: BTreeSet<&str> = tally.calls.keys().map(|(method, _)| *method).collect();
    let useless: Vec<_> =
        methods.iter().filter(|method| !tally.calls.contains_key(&(**method, "ok"))).collect();
    assert!(useless.is_empty(), "never succeeded: {useless:?}");
    assert!(methods.len() >= 45, "only {methods:?}");
    for limit in [
        "active_jobs live",
        "cost anchored:600",
        "cost day",
        "cost lifetime",
        "jobs day",
        "requests sliding:3600",
        "tokens anchored:600",
        "tokens day",
        "tokens sliding:600",
    ] {
        let refuses = tally.limits.keys().any(|refused| refused.starts_with(limit));
        assert!(refuses, "never refused by {limit}: {tally}");
    }
    let ledger = |ok: bool| {
        let calls = tally
            .calls
            .iter()
            .filter(|((method, code), _)| method.starts_with("ledger.") && (*code == "ok") == ok);
        calls.map(|(_, count)| count).sum::<usize>()
    };
    assert!(ledger(true) > ledger(false), "{tally}");
}

#[tokio::test]
async fn a_difference_is_found_and_shrunk() {
    let plan = Plan { seeds: (1..=8).collect(), steps: 250 };
    let divergence = agrees_with_memory(&plan, async || forgetful()).await.unwrap_err();
    assert!(divergence.calls.len() <= 4, "{divergence}");
    assert!(divergence.calls.iter().any(|call| call.method() == "tasks.requeue"), "{divergence}");
    let again = replay(&divergence.calls, &memory(), &forgetful()).await;
    assert_eq!(again.as_ref(), Some(&divergence.what));
    assert_eq!(replay(&divergence.calls, &memory(), &memory()).await, None);
    let json = serde_json::to_string(&divergence.calls).unwrap();
    assert_eq!(serde_json::from_str::<Vec<Call>>(&json).unwrap(), divergence.calls, "they can be kept");
}

#[test]
fn a_plan_is_read_from_variables() {
    let plan = Plan::read(|_| None).unwrap();
    assert!(plan.seeds.len() > 1 && plan.steps > 100);
    let plan = Plan::read(|name| {
        let value = if name.ends_with("SEED") { "7" } else { "9" };
        (!name.ends_with("WORLDS")).then(|| value.to_owned())
    });
    let plan = plan.unwrap();
    assert_eq!((plan.seeds, plan.steps), (vec![7], 9));
    let plan = Plan::read(|name| Some(if name.ends_with("WORLDS") { "3" } else { "7" }.to_owned())).unwrap();
    assert_eq!((plan.seeds, plan.steps), (vec![7, 8, 9], 7));
    assert!(Plan::read(|_| Some("x".to_owned())).is_err());
}

#[tokio::test]
async fn an_unreadable_back_end_is_told() {
    #[derive(Debug)]
    struct Away;
    #[async_trait]
    impl Transport for Away {
        async fn call(&self, _: Call) -> Result<Value> {
            Err(Error::unavailable("the other side"))
        }
    }
    let plan = Plan { seeds: vec![1], steps: 5 };
    let away = async || Fixture::new(rpc::remote(Arc::new(Away)));
    let divergence = agrees_with_memory(&plan, away).await.unwrap_err();
    assert!(divergence.what.contains("unavailable"), "{divergence}");
}

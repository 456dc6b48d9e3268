//! What a dispatch costs, in statements: a number that does not move with the machine.

use std::time::Duration;

use agentic_core::{
    port::Ports,
    task::{NewTask, Task},
};
use agentic_store_sqlite::SqliteStore;
use agentic_testkit::given::{
    admission, assign, concurrent, create, daily_jobs, daily_tokens, dispatched, done, end, figures, finish,
    hourly_requests, id, job, model_tokens, register, spend, t, task,
};
use tokio::task::yield_now;

use crate::world::{World, release};

/// How many dispatches are under way at once.
const IN_FLIGHT: u32 = 16;

#[derive(Debug, Clone, Copy)]
enum Phase {
    Assign,
    Start,
    Finish,
}

/// One step of the `number`-th dispatch, with every quota on.
async fn step(ports: Ports, phase: Phase, number: u32) -> Task {
    let (agent, job) = (format!("w{number:02}"), job(&format!("t{number:02}"), 1));
    match phase {
        Phase::Assign => {
            let limits = vec![
                hourly_requests("m", 1_000),
                daily_tokens(&agent, 100_000),
                daily_jobs(&agent, 1_000),
                concurrent(&agent, 10),
                model_tokens("m", 1_000_000),
                spend("m", 1_000_000),
            ];
            let mut assign = dispatched(assign(&job, &agent, t(0)), 1);
            assign.admission = agentic_core::port::Admission {
                model: Some(id("m")),
                limits,
                ask: 1_000_u32.into(),
                ..admission(&job, &agent, t(0))
            };
            ports.ledger.assign(assign).await.unwrap().task
        }
        Phase::Start => {
            let start = agentic_core::port::StartAttempt {
                job,
                agent_id: Some(id(&agent)),
                incarnation: Some(1),
                now: t(1),
            };
            ports.ledger.start(start).await.unwrap()
        }
        Phase::Finish => {
            let end = end(&job, &agent, done("ok"), t(2));
            ports.ledger.finish(finish(end, Some(figures(600, 300)))).await.unwrap().accepted().unwrap()
        }
    }
}

async fn prepare(store: &SqliteStore) -> Ports {
    let ports = store.ports();
    let tasks =
        (0..IN_FLIGHT).map(|number| NewTask { model: Some(id("m")), ..task(&format!("t{number:02}")) });
    ports.tasks.create_many(create(tasks.collect(), t(0))).await.unwrap();
    for number in 0..IN_FLIGHT {
        ports.agents.register(register(&format!("w{number:02}"), t(0))).await.unwrap();
    }
    ports
}

/// Statements, and transactions, of each phase.
async fn cost(together: bool) -> [(u64, u64); 3] {
    let world = World::new();
    let store = world.open();
    let ports = prepare(&store).await;
    let mut costs = [(0, 0); 3];
    for (phase, cost) in [Phase::Assign, Phase::Start, Phase::Finish].into_iter().zip(&mut costs) {
        let before = (store.statements(), store.batches());
        let held = together.then(|| world.hold());
        let mut steps = Vec::new();
        for number in 0..IN_FLIGHT {
            steps.push(tokio::spawn(step(ports.clone(), phase, number)));
            // Polled once, it stands in the queue.
            yield_now().await;
            if !together {
                steps.pop().unwrap().await.unwrap();
            }
        }
        held.iter().for_each(release);
        for step in steps {
            tokio::time::timeout(Duration::from_secs(30), step).await.unwrap().unwrap();
        }
        *cost = (store.statements() - before.0, store.batches() - before.1);
    }
    costs
}

#[tokio::test]
async fn a_dispatch_costs_few_statements() {
    let alone = cost(false).await;
    let together = cost(true).await;
    let each = u64::from(IN_FLIGHT);
    let total = |costs: [(u64, u64); 3]| costs.iter().map(|(statements, _)| statements).sum::<u64>();
    println!("statements of {IN_FLIGHT} x (assign, start, finish): alone {alone:?}, together {together:?}");
    assert_eq!(alone.map(|(_, transactions)| transactions), [each; 3]);
    assert_eq!(together.map(|(_, transactions)| transactions), [1; 3]);
    assert!(total(alone) <= 46 * each, "alone: {} a dispatch", total(alone) / each);
    assert!(total(together) <= 17 * each, "together: {} a dispatch", total(together) / each);
}

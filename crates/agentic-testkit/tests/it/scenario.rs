//! Fake agents on a back end that is away now and then.

use std::collections::BTreeMap;

use agentic_core::{
    agent::AgentSpec,
    attempt::Ending,
    clock::Timestamp,
    error::Error,
    id::JobId,
    lane::Lane,
    limit::Limit,
    memory::Memory,
    port::{EndAttempt, Finish, Ports},
    task::{NewTask, TaskStatus},
};
use agentic_testkit::{
    Fixture,
    counting::Counting,
    fake_agent::{Act, FakeAgent, Left},
    faults::{Faults, Faulty},
    given::{assign, concurrent, create, daily_tokens, dispatched, figures, id, job, limited, t, task},
};

/// What a dispatcher and a reaper do, in their simplest form: returns when nothing more can be given.
async fn dispatch(
    ports: &Ports,
    agents: &[&FakeAgent],
    limits: &[Limit],
    now: Timestamp,
) -> Result<(), Error> {
    for (task, attempt) in ports.tasks.expired(now, 100).await? {
        let next = attempt.started_at.map(|_| {
            let retries = task.retry_count < task.max_retries;
            if retries {
                agentic_core::attempt::Next::RetryAt(now)
            } else {
                agentic_core::attempt::Next::DeadLetter
            }
        });
        let (number, ending) = (Some(task.attempt), Ending::Expired { next });
        let end = EndAttempt { task: task.id, attempt: number, agent_id: None, ending, now };
        ports.ledger.finish(Finish { end, figures: None }).await?;
    }
    ports.tasks.promote_due(now, 100).await?;
    for (i, head) in ports.tasks.ready(&Lane::default(), 100).await?.into_iter().enumerate() {
        let agent = agents[i % agents.len()];
        let job = JobId::new(head.id, head.attempt + 1);
        let incarnation = ports.agents.get(agent.id()).await?.incarnation;
        let assign = limited(assign(&job, agent.id().as_str(), now), limits, 5);
        match ports.ledger.assign(dispatched(assign, incarnation)).await {
            Ok(_) | Err(Error::Conflict { .. } | Error::Refused(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn spec(agent: &str) -> AgentSpec {
    AgentSpec::new(id(agent))
}

#[tokio::test]
async fn a_script_is_followed() {
    let fx = Fixture::new(Memory::new().ports());
    let script = |task: &agentic_core::task::Task| match (task.id.as_str(), task.attempt) {
        ("fails", 1) => vec![Act::Use(figures(9, 0)), Act::Fail],
        ("given-back", 1) => vec![Act::Release],
        ("forgotten", 1) => vec![Act::Forget],
        _ => vec![Act::Use(figures(2, 2))],
    };
    let mut agent = FakeAgent::register(&fx, spec("w"), script, t(0)).await.unwrap();
    let names = ["plain", "fails", "given-back", "forgotten"];
    fx.create_all(names.iter().map(|name| task(name)).collect(), t(0)).await;
    let limits = [daily_tokens("w", 1_000)];
    for step in 0..20 {
        let now = t(step * 10);
        dispatch(&fx, &[&agent], &limits, now).await.unwrap();
        agent.step(now).await.unwrap();
    }
    for (name, attempts) in [("plain", 1), ("fails", 2), ("given-back", 2), ("forgotten", 2)] {
        let task = fx.task(name, t(200)).await;
        assert_eq!((task.status, task.attempt), (TaskStatus::Completed, attempts), "{name}");
    }
    let left: BTreeMap<_, _> = agent.left().iter().cloned().collect();
    assert_eq!(left[&job("fails", 1)], Left::Ended(Act::Fail));
    assert_eq!(left[&job("given-back", 1)], Left::Ended(Act::Release));
    assert!(!left.contains_key(&job("forgotten", 1)));
    assert_eq!(fx.used(&limits[0], t(200)).await, (9 - 4 + 4 * 4, 0));
    fx.check().await;
}

#[tokio::test]
async fn a_stop_is_obeyed() {
    let fx = Fixture::new(Memory::new().ports());
    let script = |_: &agentic_core::task::Task| (1..9).map(|i| Act::Use(figures(i * 20, 0))).collect();
    let mut agent = FakeAgent::register(&fx, spec("w"), script, t(0)).await.unwrap();
    fx.create(NewTask { max_retries: 0, ..task("a") }).await;
    let limits = [daily_tokens("w", 50)];
    dispatch(&fx, &[&agent], &limits, t(0)).await.unwrap();
    for step in 0..9 {
        agent.step(t(step)).await.unwrap();
    }
    assert!(
        matches!(agent.left(), [(_, Left::Stopped(reason))] if reason.contains("tokens")),
        "{:?}",
        agent.left()
    );
    assert_eq!(fx.task("a", t(9)).await.status, TaskStatus::Failed);
    assert_eq!(fx.used(&limits[0], t(9)).await, (60, 0), "stopped within one report, and not refunded");
    assert_eq!(agent.running().count(), 0);
}

/// Every second call fails, half of these after it was done, and still every task is completed once, within the
/// limits, and the ledger adds up.
#[tokio::test]
async fn faults_lose_and_double_nothing() {
    for seed in 0..10 {
        let fx = Fixture::new(Memory::new().ports());
        let (ports, faulty) = Faulty::new((*fx).clone(), Faults { seed, before: 250, after: 250 });
        let names: Vec<String> = (0..20).map(|i| format!("t{i:02}")).collect();
        fx.create_all(names.iter().map(|name| task(name)).collect(), t(0)).await;
        let script = |_: &agentic_core::task::Task| vec![Act::Use(figures(3, 0)), Act::Use(figures(7, 0))];
        let mut agents = Vec::new();
        for name in ["w", "x"] {
            // Whoever cannot even register tries again.
            let mut agent = None;
            while agent.is_none() {
                agent = FakeAgent::register(&ports, spec(name), script, t(0)).await.ok();
            }
            agents.extend(agent);
        }
        let limits = [concurrent("w", 3), daily_tokens("w", 100_000)];
        let mut step = 0;
        while fx.tasks.counts().await.unwrap().get(&TaskStatus::Completed) != Some(&20) {
            step += 1;
            assert!(step < 2_000, "seed {seed}: {:?}", fx.tasks.counts().await);
            let now = t(step);
            match dispatch(&ports, &agents.iter().collect::<Vec<_>>(), &limits, now).await {
                Ok(()) => {}
                Err(error) => assert!(error.is_retryable(), "{error:?}"),
            }
            for agent in &mut agents {
                agent.step(now).await.unwrap();
            }
            assert!(fx.load("w", now).await <= 3);
        }
        let (before, after) = faulty.injected();
        assert!(before > 10 && after > 10, "{before} and {after} faults");
        fx.check().await;
    }
}

#[tokio::test]
async fn calls_are_counted() {
    let (ports, counting) = Counting::new(Memory::new().ports());
    ports.tasks.create_many(create(vec![task("a")], t(0))).await.unwrap();
    ports.tasks.create_many(create(vec![task("a")], t(0))).await.unwrap_err();
    ports.tasks.counts().await.unwrap();
    assert_eq!(counting.calls("tasks.create_many"), 2);
    let expected =
        [(("tasks.counts", "ok"), 1), (("tasks.create_many", "exists"), 1), (("tasks.create_many", "ok"), 1)];
    assert_eq!(counting.counts(), expected.into());
}

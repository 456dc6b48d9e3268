//! What a task's events tell.

use agentic_core::{
    attempt::Ending,
    error::Kind,
    event::{Event, EventType},
    port::{Block, CancelTask, Edit, Progress},
    task::{Priority, TaskEdit, TaskStatus},
};

use crate::{
    Fixture,
    expect::{accepted, not_found},
    given::{
        assign, dispatched, done, end, expired_until, failed_until, finish, id, job, released, swept, t, task,
    },
};

async fn history(fx: &Fixture, name: &str) -> Vec<Event> {
    fx.tasks.history(&id(name), 0, 1_000).await.unwrap()
}

/// Every transition of a task appends its event, in order, at its time.
pub async fn every_transition_is_told(fx: &Fixture) {
    let agent = fx.agent("w").await;
    fx.create(task("a")).await;
    let attempt = |number: u32, secs: i64| {
        let assign = assign(&job("a", number), "w", t(secs));
        fx.take(dispatched(assign, agent.incarnation))
    };
    let ends = |number: u32, ending: Ending, secs: i64| {
        fx.ledger.finish(finish(end(&job("a", number), "w", ending, t(secs)), None))
    };
    let edit = TaskEdit { priority: Some(Priority::High), ..TaskEdit::default() };
    fx.tasks.edit(Edit { task: id("a"), edit, now: t(1) }).await.unwrap();
    fx.tasks.block(Block { task: id("a"), reason: Some("x".to_owned()), now: t(2) }).await.unwrap();
    fx.tasks.block(Block { task: id("a"), reason: None, now: t(3) }).await.unwrap();
    attempt(1, 4).await.unwrap();
    let progress = Progress {
        task: id("a"),
        attempt: None,
        agent_id: Some(id("w")),
        progress: Some(9),
        notes: None,
        now: t(5),
    };
    fx.tasks.progress(progress).await.unwrap();
    accepted(ends(1, released(), 6).await);
    attempt(2, 7).await.unwrap();
    accepted(ends(2, failed_until(t(10)), 8).await);
    attempt(3, 10).await.unwrap();
    let sweep = swept(&job("a", 3), expired_until(t(80)), t(70));
    accepted(fx.ledger.finish(finish(sweep, None)).await);
    attempt(4, 80).await.unwrap();
    accepted(ends(4, Ending::Blocked { reason: "y".to_owned() }, 81).await);
    let cancel = |secs: i64| CancelTask {
        task: id("a"),
        status: TaskStatus::Cancelled,
        reason: "z".to_owned(),
        now: t(secs),
    };
    fx.tasks.cancel(cancel(82)).await.unwrap();
    fx.tasks.requeue(&id("a"), t(83)).await.unwrap();
    attempt(5, 84).await.unwrap();
    accepted(ends(5, done(""), 85).await);
    // What the allowance side tells of the same task is another topic.
    let told: Vec<_> = history(fx, "a")
        .await
        .into_iter()
        .filter(|event| event.kind != EventType::UsageRecorded)
        .map(|event| (event.kind, event.timestamp))
        .collect();
    let expected = [
        (EventType::TaskCreated, 0),
        (EventType::TaskUpdated, 1),
        (EventType::TaskBlocked, 2),
        (EventType::TaskUnblocked, 3),
        (EventType::TaskClaimed, 4),
        (EventType::TaskDispatched, 4),
        (EventType::TaskUpdated, 5),
        (EventType::TaskReleased, 6),
        (EventType::TaskClaimed, 7),
        (EventType::TaskDispatched, 7),
        (EventType::TaskRetryScheduled, 8),
        (EventType::TaskClaimed, 10),
        (EventType::TaskDispatched, 10),
        (EventType::LeaseExpired, 70),
        (EventType::TaskRetryScheduled, 70),
        (EventType::TaskClaimed, 80),
        (EventType::TaskDispatched, 80),
        (EventType::TaskReleased, 81),
        (EventType::TaskBlocked, 81),
        (EventType::TaskCancelled, 82),
        (EventType::TaskRequeued, 83),
        (EventType::TaskClaimed, 84),
        (EventType::TaskDispatched, 84),
        (EventType::TaskCompleted, 85),
    ];
    assert_eq!(told, expected.map(|(kind, secs)| (kind, t(secs))));
}

/// Events of an attempt name its agent and its number.
pub async fn events_name_agent_and_attempt(fx: &Fixture) {
    let job = fx.running("a", "w").await;
    accepted(fx.ledger.finish(finish(end(&job, "w", failed_until(t(5)), t(1)), None)).await);
    for event in history(fx, "a").await {
        assert_eq!(event.task_id, Some(id("a")));
        if matches!(event.kind, EventType::TaskClaimed | EventType::TaskRetryScheduled) {
            assert_eq!(event.agent_id, Some(id("w")), "{event:?}");
            assert_eq!(event.payload.as_ref().unwrap()["attempt"], 1, "{event:?}");
        }
    }
}

/// A history holds the events of its own task, and resumes after any of them.
pub async fn a_history_resumes(fx: &Fixture) {
    fx.create_all(vec![task("a"), task("b")], t(0)).await;
    for (name, number) in [("a", 1), ("b", 1), ("a", 2)] {
        let job = job(name, number);
        fx.tasks.claim(crate::given::claim(&job, "w", t(1))).await.unwrap();
        accepted(fx.tasks.end_attempt(end(&job, "w", released(), t(2))).await);
    }
    let all = history(fx, "a").await;
    assert_eq!(all.len(), 5);
    assert!(all.iter().all(|event| event.task_id == Some(id("a"))));
    assert!(all.is_sorted_by_key(|event| event.id));
    let rest = fx.tasks.history(&id("a"), all[1].id, 2).await.unwrap();
    assert_eq!(rest, all[2..4]);
    assert!(fx.tasks.history(&id("a"), all[4].id, 2).await.unwrap().is_empty());
    not_found(fx.tasks.history(&id("nobody"), 0, 2).await, Kind::Task, "nobody");
}

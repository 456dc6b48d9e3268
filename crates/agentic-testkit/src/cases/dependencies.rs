//! Tasks that wait for others.

use agentic_core::{
    event::EventType,
    port::CancelTask,
    task::{BlockCause, MAX_BLOCKERS, NewTask, TaskStatus},
};

use crate::{
    Fixture,
    expect::{accepted, invalid},
    given::{after, assign, create, done, end, failed_for_good, finish, id, job, t, task},
};

async fn complete(fx: &Fixture, name: &str, attempt: u32, secs: i64) {
    let job = job(name, attempt);
    fx.take(assign(&job, "w", t(secs))).await.unwrap();
    accepted(fx.ledger.finish(finish(end(&job, "w", done("ok"), t(secs + 1)), None)).await);
}

fn cancel(name: &str, secs: i64) -> CancelTask {
    CancelTask { task: id(name), status: TaskStatus::Cancelled, reason: "no".to_owned(), now: t(secs) }
}

/// A task with an unfinished dependency is blocked until that is completed, in the same step.
pub async fn a_dependent_waits_and_is_released(fx: &Fixture) {
    fx.create_all(vec![task("a"), after("b", &["a"])], t(0)).await;
    let waiting = fx.task("b", t(0)).await;
    assert_eq!(waiting.status, TaskStatus::Blocked);
    assert_eq!(waiting.blocked_by, [BlockCause::Dependency].into());
    complete(fx, "a", 1, 1).await;
    let released = fx.task("b", t(2)).await;
    assert_eq!((released.status, released.blocked_by.len()), (TaskStatus::Pending, 0));
    assert_eq!(fx.kinds("b").await, [EventType::TaskCreated, EventType::TaskUnblocked]);
    assert_eq!(fx.tasks.ready(&released.lane(), 10).await.unwrap()[0].id, id("b"));
}

/// A task waits for the last of its dependencies.
pub async fn all_dependencies_must_be_completed(fx: &Fixture) {
    fx.create_all(vec![task("a"), task("b"), after("c", &["a", "b"])], t(0)).await;
    complete(fx, "b", 1, 1).await;
    assert_eq!(fx.task("c", t(2)).await.status, TaskStatus::Blocked);
    complete(fx, "a", 1, 3).await;
    assert_eq!(fx.task("c", t(4)).await.status, TaskStatus::Pending);
}

/// A dependency that is completed already is not waited for.
pub async fn a_completed_dependency_is_not_waited_for(fx: &Fixture) {
    fx.create(task("a")).await;
    complete(fx, "a", 1, 1).await;
    let created = fx.create_all(vec![after("b", &["a"])], t(3)).await.remove(0);
    assert_eq!((created.status, created.dependencies), (TaskStatus::Pending, vec![id("a")]));
}

/// A batch may name its own tasks in any order; what leads in a circle is refused.
pub async fn a_batch_may_depend_on_itself_but_not_in_a_circle(fx: &Fixture) {
    let circle = vec![after("a", &["c"]), after("b", &["a"]), after("c", &["b"]), task("d")];
    invalid(fx.tasks.create_many(create(circle, t(0))).await, "dependencies");
    let pair = vec![after("a", &["b"]), after("b", &["a"])];
    invalid(fx.tasks.create_many(create(pair, t(0))).await, "dependencies");
    let forward = vec![after("a", &["b", "c"]), after("b", &["c"]), task("c")];
    let statuses: Vec<_> = fx.create_all(forward, t(0)).await.into_iter().map(|task| task.status).collect();
    assert_eq!(statuses, [TaskStatus::Blocked, TaskStatus::Blocked, TaskStatus::Pending]);
    complete(fx, "c", 1, 1).await;
    assert_eq!(fx.task("a", t(2)).await.status, TaskStatus::Blocked);
    assert_eq!(fx.task("b", t(2)).await.status, TaskStatus::Pending);
}

/// A chain of a hundred tasks in one batch is no circle.
pub async fn a_long_chain_is_no_circle(fx: &Fixture) {
    let link = |i: usize| match i {
        0 => task("c0"),
        i => after(&format!("c{i}"), &[&format!("c{}", i - 1)]),
    };
    fx.create_all((0..100).rev().map(link).collect(), t(0)).await;
    complete(fx, "c0", 1, 1).await;
    assert_eq!(fx.task("c1", t(2)).await.status, TaskStatus::Pending);
    assert_eq!(fx.task("c2", t(2)).await.status, TaskStatus::Blocked);
}

/// What failed or was called off leaves its dependents blocked, and they name it.
pub async fn a_dependency_that_ended_badly_is_named(fx: &Fixture) {
    let hopeless = NewTask { max_retries: 0, ..task("broken") };
    fx.create_all(vec![task("good"), hopeless, task("gone")], t(0)).await;
    fx.create_all(vec![after("b", &["good", "broken"]), after("c", &["gone"])], t(0)).await;
    let broken = job("broken", 1);
    fx.take(assign(&broken, "w", t(1))).await.unwrap();
    accepted(fx.ledger.finish(finish(end(&broken, "w", failed_for_good(), t(2)), None)).await);
    fx.tasks.cancel(cancel("gone", 2)).await.unwrap();
    for (waiting, ended, how) in [("b", "broken", "failed"), ("c", "gone", "cancelled")] {
        let task = fx.task(waiting, t(3)).await;
        let reason = task.pending_reason.unwrap();
        assert_eq!((task.status, reason.code.as_str()), (TaskStatus::Blocked, "dependency"));
        assert!(reason.detail.contains(ended) && reason.detail.contains(how), "{}", reason.detail);
    }
}

/// A dependency that is requeued and completed after all releases what waited for it.
pub async fn a_requeued_dependency_releases_too(fx: &Fixture) {
    fx.create_all(vec![task("a"), after("b", &["a"])], t(0)).await;
    fx.tasks.cancel(cancel("a", 1)).await.unwrap();
    fx.tasks.requeue(&id("a"), t(2)).await.unwrap();
    complete(fx, "a", 1, 3).await;
    assert_eq!(fx.task("b", t(4)).await.status, TaskStatus::Pending);
}

/// A dependent that was called off stays so, and requeued it waits for what is still open only.
pub async fn a_cancelled_dependent_stays_cancelled(fx: &Fixture) {
    fx.create_all(vec![task("a"), task("b"), after("c", &["a", "b"])], t(0)).await;
    fx.tasks.cancel(cancel("c", 1)).await.unwrap();
    complete(fx, "a", 1, 2).await;
    assert_eq!(fx.task("c", t(3)).await.status, TaskStatus::Cancelled);
    let back = fx.tasks.requeue(&id("c"), t(4)).await.unwrap();
    assert_eq!((back.status, back.blocked_by), (TaskStatus::Blocked, [BlockCause::Dependency].into()));
    complete(fx, "b", 1, 5).await;
    assert_eq!(fx.task("c", t(6)).await.status, TaskStatus::Pending);
}

/// Completing the last dependency of a task that was called off does not bring it back; requeued, it is ready.
pub async fn what_is_over_is_not_released(fx: &Fixture) {
    fx.create_all(vec![task("a"), after("b", &["a"])], t(0)).await;
    fx.tasks.cancel(cancel("b", 1)).await.unwrap();
    complete(fx, "a", 1, 2).await;
    assert_eq!(fx.task("b", t(3)).await.status, TaskStatus::Cancelled);
    assert_eq!(fx.count(EventType::TaskUnblocked).await, 0);
    assert_eq!(fx.tasks.requeue(&id("b"), t(4)).await.unwrap().status, TaskStatus::Pending);
}

/// Who waits for a task is derived on read, ascending by id, in lists too.
pub async fn blockers_are_derived(fx: &Fixture) {
    fx.create_all(vec![task("a"), after("z", &["a"]), after("b", &["a"])], t(0)).await;
    fx.create_all(vec![after("m", &["a"])], t(1)).await;
    assert_eq!(fx.task("a", t(1)).await.blockers, [id("b"), id("m"), id("z")]);
    let page = agentic_core::task::Page::first(10);
    let listed = fx.tasks.list(&agentic_core::task::TaskFilter::default(), &page, t(1)).await.unwrap();
    assert_eq!(listed[0].blockers, [id("b"), id("m"), id("z")]);
}

/// A task that is released before its `not_before` is pending, but not ready until then.
pub async fn a_released_dependent_keeps_its_time(fx: &Fixture) {
    let later = NewTask { not_before: Some(t(100)), ..after("b", &["a"]) };
    fx.create_all(vec![task("a"), later], t(0)).await;
    complete(fx, "a", 1, 1).await;
    let task = fx.task("b", t(2)).await;
    assert_eq!(
        (task.status, task.pending_reason.as_ref().unwrap().code.as_str()),
        (TaskStatus::Pending, "not_before")
    );
    assert!(fx.tasks.ready(&task.lane(), 10).await.unwrap().is_empty());
    assert_eq!(fx.tasks.promote_due(t(100), 10).await.unwrap(), 1);
    assert_eq!(fx.tasks.ready(&task.lane(), 10).await.unwrap().len(), 1);
}

/// A thousand tasks may wait for one; they are released in the step that completes it.
pub async fn a_thousand_dependents_are_released_at_once(fx: &Fixture) {
    fx.create(task("a")).await;
    let dependents = (0..MAX_BLOCKERS).map(|i| after(&format!("d{i}"), &["a"])).collect();
    fx.create_all(dependents, t(0)).await;
    complete(fx, "a", 1, 1).await;
    let counts = fx.tasks.counts().await.unwrap();
    assert_eq!(counts.get(&TaskStatus::Pending), Some(&1_000));
    assert_eq!(fx.count(EventType::TaskUnblocked).await, 1_000);
}

/// The thousand and first is refused, whether it comes alone or in the batch that passes the bound.
pub async fn not_more_than_a_thousand_wait_for_one(fx: &Fixture) {
    fx.create(task("a")).await;
    let dependents = |from: usize, to: usize| (from..to).map(|i| after(&format!("d{i}"), &["a"])).collect();
    fx.create_all(dependents(0, 999), t(0)).await;
    invalid(fx.tasks.create_many(create(dependents(999, 1_001), t(0))).await, "dependencies");
    fx.create_all(dependents(999, 1_000), t(0)).await;
    invalid(fx.tasks.create_many(create(dependents(1_000, 1_001), t(0))).await, "dependencies");
    assert_eq!(fx.task("a", t(0)).await.blockers.len(), MAX_BLOCKERS);
}

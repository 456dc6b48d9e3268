//! Forgetting what is long over.

use agentic_core::{
    error::Kind,
    port::CancelTask,
    task::{NewTask, TaskStatus},
};

use crate::{
    Fixture,
    expect::{accepted, not_found},
    given::{after, done, end, finish, id, t, task},
};

async fn cancel(fx: &Fixture, name: &str, secs: i64) {
    let status = TaskStatus::Cancelled;
    let cancel = CancelTask { task: id(name), status, reason: String::new(), now: t(secs) };
    fx.tasks.cancel(cancel).await.unwrap();
}

/// What ended before an instant is deleted with its attempts and its key; what is open or ended later stays.
pub async fn prune_deletes_what_is_long_over(fx: &Fixture) {
    let job = fx.running("done", "w").await;
    accepted(fx.ledger.finish(finish(end(&job, "w", done(""), t(5)), None)).await);
    let keyed = NewTask { idempotency_key: Some("k".to_owned()), ..task("gone") };
    fx.create_all(vec![keyed.clone(), task("later"), task("open")], t(0)).await;
    cancel(fx, "gone", 6).await;
    cancel(fx, "later", 7).await;
    assert_eq!(fx.tasks.prune(t(5), 10).await.unwrap(), 0, "before, not at");
    assert_eq!(fx.tasks.prune(t(7), 10).await.unwrap(), 2);
    assert_eq!(fx.tasks.prune(t(7), 10).await.unwrap(), 0);
    for name in ["done", "gone"] {
        not_found(fx.tasks.get(&id(name), t(9)).await, Kind::Task, name);
        not_found(fx.tasks.history(&id(name), 0, 9).await, Kind::Task, name);
    }
    assert_eq!(fx.tasks.attempt(&job).await.unwrap(), None);
    let counts = [(TaskStatus::Pending, 1), (TaskStatus::Cancelled, 1)];
    assert_eq!(fx.tasks.counts().await.unwrap(), counts.into());
    let again = fx.tasks.create_many(crate::given::create(vec![keyed], t(9))).await.unwrap();
    assert!(!again[0].replayed, "its key is free");
}

/// A task that an open one depends on stays until that is over too.
pub async fn prune_keeps_what_is_depended_on(fx: &Fixture) {
    let job = fx.running("a", "w").await;
    fx.create_all(vec![after("b", &["a"])], t(1)).await;
    accepted(fx.ledger.finish(finish(end(&job, "w", done(""), t(5)), None)).await);
    assert_eq!(fx.tasks.prune(t(99), 10).await.unwrap(), 0);
    cancel(fx, "b", 6).await;
    assert_eq!(fx.tasks.prune(t(99), 10).await.unwrap(), 2);
}

/// A step deletes at most as many as asked for, the oldest first.
pub async fn a_pruning_is_bounded(fx: &Fixture) {
    for (name, secs) in [("a", 3), ("b", 1), ("c", 2)] {
        fx.create_all(vec![task(name)], t(secs)).await;
        cancel(fx, name, 5).await;
    }
    assert_eq!(fx.tasks.prune(t(9), 2).await.unwrap(), 2);
    assert_eq!(fx.task("a", t(9)).await.status, TaskStatus::Cancelled);
    assert_eq!(fx.tasks.prune(t(9), 2).await.unwrap(), 1);
}

/// The meters stand, and still are the sum of their entries, when the tasks behind them are gone.
pub async fn pruning_leaves_the_meters(fx: &Fixture) {
    fx.create(task("a")).await;
    let (job, limit) = (crate::given::job("a", 1), crate::given::daily_tokens("w", 100));
    let assign = crate::given::assign(&job, "w", t(0));
    fx.take(crate::given::limited(assign, std::slice::from_ref(&limit), 10)).await.unwrap();
    let ending = finish(end(&job, "w", done(""), t(5)), Some(crate::given::figures(30, 0)));
    accepted(fx.ledger.finish(ending).await);
    assert_eq!(fx.tasks.prune(t(9), 10).await.unwrap(), 1);
    assert_eq!(fx.used(&limit, t(9)).await, (30, 0));
}

//! Forgetting what is long over.

use agentic_core::{
    error::Kind,
    job::JobOutcome,
    port::{CancelTask, VoidJob},
    task::{NewTask, TaskStatus},
};

use crate::{
    Fixture,
    expect::{accepted, not_found},
    given::{
        after, assign, daily_tokens, done, end, failed_until, figures, finish, id, job, settle, t, task,
    },
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
    assert_eq!(fx.tasks.prune(t(5), 10, t(99)).await.unwrap(), 0, "before, not at");
    assert_eq!(fx.tasks.prune(t(7), 10, t(99)).await.unwrap(), 2);
    assert_eq!(fx.tasks.prune(t(7), 10, t(99)).await.unwrap(), 0);
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
    assert_eq!(fx.tasks.prune(t(99), 10, t(99)).await.unwrap(), 0);
    cancel(fx, "b", 6).await;
    assert_eq!(fx.tasks.prune(t(99), 10, t(99)).await.unwrap(), 2);
}

/// Of many that depend on it, the last that is open keeps a task.
pub async fn prune_keeps_what_one_of_many_depends_on(fx: &Fixture) {
    let job = fx.running("a", "w").await;
    let names: Vec<String> = (0..101).map(|number| format!("b{number:03}")).collect();
    fx.create_all(names.iter().map(|name| after(name, &["a"])).collect(), t(1)).await;
    accepted(fx.ledger.finish(finish(end(&job, "w", done(""), t(5)), None)).await);
    for name in names.iter().take(100) {
        cancel(fx, name, 6).await;
    }
    assert_eq!(fx.tasks.prune(t(99), 1_000, t(99)).await.unwrap(), 100, "all but a and the last");
    fx.tasks.get(&id("a"), t(9)).await.unwrap();
    cancel(fx, "b100", 7).await;
    assert_eq!(fx.tasks.prune(t(99), 1_000, t(99)).await.unwrap(), 2);
}

/// A step deletes at most as many as asked for, the oldest first.
pub async fn a_pruning_is_bounded(fx: &Fixture) {
    for (name, secs) in [("a", 3), ("b", 1), ("c", 2)] {
        fx.create_all(vec![task(name)], t(secs)).await;
        cancel(fx, name, 5).await;
    }
    assert_eq!(fx.tasks.prune(t(9), 2, t(99)).await.unwrap(), 2);
    assert_eq!(fx.task("a", t(9)).await.status, TaskStatus::Cancelled);
    assert_eq!(fx.tasks.prune(t(9), 2, t(99)).await.unwrap(), 1);
}

/// Nothing is left of the jobs of a pruned task when its events are trimmed too: not of the first attempt, nor of the last.
pub async fn a_pruned_task_leaves_no_job(fx: &Fixture) {
    let first = fx.running("a", "w").await;
    let failed = finish(end(&first, "w", failed_until(t(2)), t(1)), Some(figures(5, 0)));
    accepted(fx.ledger.finish(failed).await);
    let second = job("a", 2);
    fx.take(assign(&second, "w", t(3))).await.unwrap();
    accepted(fx.ledger.finish(finish(end(&second, "w", done(""), t(4)), None)).await);
    for job in [&first, &second] {
        let job = fx.job(job).await;
        assert_eq!(job.ended_at, Some(if job.id == first { t(1) } else { t(4) }));
    }
    assert_eq!(fx.tasks.prune(t(5), 10, t(99)).await.unwrap(), 1);
    while fx.events.trim(t(5), 100).await.unwrap() > 0 {}
    for job in [&first, &second] {
        assert_eq!(fx.allowances.job(job).await.unwrap(), None, "{job}");
    }
}

/// Ended jobs that have no task go by the age of their end, so many a step; open ones stay, and so do the meters.
pub async fn jobs_without_a_task_go_by_age(fx: &Fixture) {
    let limits = [daily_tokens("w", 1_000)];
    for (name, secs) in [("a", 10), ("b", 20), ("c", 30)] {
        fx.spent(&job(name, 1), &limits, 7, t(secs)).await;
        fx.allowances.settle(settle(&job(name, 1), JobOutcome::Failed, t(secs))).await.unwrap();
    }
    let void = VoidJob { job: job("d", 1), admission: "admission of d#1".to_owned(), now: t(30) };
    fx.admit(&void.job, &limits, 0, t(30)).await.unwrap();
    fx.allowances.void(void).await.unwrap();
    fx.spent(&job("e", 1), &limits, 7, t(10)).await;
    let stand = async || {
        let mut stand = Vec::new();
        for name in ["a", "b", "c", "d", "e"] {
            if fx.allowances.job(&job(name, 1)).await.unwrap().is_some() {
                stand.push(name);
            }
        }
        stand.concat()
    };
    let trim = async |secs, limit| fx.events.trim(t(secs), limit).await.unwrap();
    trim(10, 100).await;
    assert_eq!(stand().await, "abcde", "before, not at");
    trim(31, 2).await;
    assert_eq!(stand().await, "cde", "two a step, the oldest first");
    trim(31, 100).await;
    assert_eq!(stand().await, "e", "it is open");
    // Its name is free, as if there had been none; what it used stays charged.
    fx.admit(&job("a", 1), &limits, 0, t(40)).await.unwrap();
    assert_eq!(fx.used(&limits[0], t(40)).await.0, 3 * 4 + 7);
}

/// Trimming says that more is left while it is of ended jobs alone.
pub async fn a_trim_tells_of_ended_jobs(fx: &Fixture) {
    let limits = [daily_tokens("w", 1_000)];
    for number in 0..5 {
        let job = job(&format!("t{number}"), 1);
        fx.admit(&job, &limits, 0, t(1)).await.unwrap();
        let admission = format!("admission of {job}");
        fx.allowances.void(VoidJob { job, admission, now: t(1) }).await.unwrap();
    }
    let mut answers = Vec::new();
    for _ in 0..3 {
        answers.push(fx.events.trim(t(2), 2).await.unwrap());
    }
    assert_eq!(answers, [2, 2, 1]);
}

/// The meters stand, and still are the sum of their entries, when the tasks behind them are gone.
pub async fn pruning_leaves_the_meters(fx: &Fixture) {
    fx.create(task("a")).await;
    let (job, limit) = (job("a", 1), daily_tokens("w", 100));
    let assign = assign(&job, "w", t(0));
    fx.take(crate::given::limited(assign, std::slice::from_ref(&limit), 10)).await.unwrap();
    let ending = finish(end(&job, "w", done(""), t(5)), Some(figures(30, 0)));
    accepted(fx.ledger.finish(ending).await);
    assert_eq!(fx.tasks.prune(t(9), 10, t(99)).await.unwrap(), 1);
    assert_eq!(fx.used(&limit, t(9)).await, (30, 0));
}

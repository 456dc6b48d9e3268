//! Retries, dead letters, and what burns nothing.

use agentic_core::{
    attempt::{AttemptOutcome, Ending, Next},
    error::ConflictCode,
    event::EventType,
    id::JobId,
    port::{CancelTask, Defer},
    task::{NewTask, PendingReason, Task, TaskStatus},
};

use crate::{
    Fixture,
    expect::{accepted, conflict, invalid, not_found},
    given::{
        assign, claim, done, end, expired_until, failed_for_good, failed_until, finish, id, job, released,
        swept, t, task,
    },
};

fn retries(name: &str, max_retries: u32) -> NewTask {
    NewTask { max_retries, ..task(name) }
}

/// Claims the next attempt at `secs` and ends it a second later.
async fn attempt(fx: &Fixture, number: u32, ending: Ending, secs: i64) -> Task {
    let job = job("a", number);
    fx.take(assign(&job, "w", t(secs))).await.unwrap();
    accepted(fx.ledger.finish(finish(end(&job, "w", ending, t(secs + 1)), None)).await)
}

fn cancel(name: &str, status: TaskStatus, secs: i64) -> CancelTask {
    CancelTask { task: id(name), status, reason: "given up".to_owned(), now: t(secs) }
}

fn defer(attempt: u32, until: i64, now: i64) -> Defer {
    let reason = PendingReason { code: "quota".to_owned(), detail: "no room".to_owned(), retry_at: None };
    Defer { task: id("a"), attempt, reason, until: t(until), seen: None, now: t(now) }
}

/// A failed attempt counts, gives the task back, and gates it until the time that policy chose.
pub async fn a_failure_schedules_a_retry(fx: &Fixture) {
    fx.create(task("a")).await;
    let task = attempt(fx, 1, failed_until(t(6)), 0).await;
    assert_eq!((task.status, task.retry_count, task.retry_at), (TaskStatus::Pending, 1, Some(t(6))));
    assert_eq!((task.claimed_by, task.last_attempt), (None, Some(t(1))));
    assert_eq!(task.last_error.as_deref(), Some("it broke"));
    let reason = fx.task("a", t(2)).await.pending_reason.unwrap();
    assert_eq!((reason.code.as_str(), reason.retry_at), ("backoff", Some(t(6))));
    assert_eq!(fx.kinds("a").await.last(), Some(&EventType::TaskRetryScheduled));
    assert_eq!(fx.tasks.attempt(&job("a", 1)).await.unwrap().unwrap().outcome, Some(AttemptOutcome::Failed));
}

/// A task gets `max_retries + 1` failed attempts; the last one ends it as a dead letter.
pub async fn dead_letter_comes_after_the_last_retry(fx: &Fixture) {
    fx.create(retries("a", 2)).await;
    attempt(fx, 1, failed_until(t(10)), 0).await;
    attempt(fx, 2, failed_until(t(20)), 10).await;
    let dead = attempt(fx, 3, failed_for_good(), 20).await;
    assert_eq!((dead.status, dead.attempt, dead.retry_count), (TaskStatus::Failed, 3, 2));
    assert_eq!(dead.fail_reason.as_deref(), Some("max retries exceeded"));
    assert_eq!(dead.last_error.as_deref(), Some("it broke"));
    assert_eq!(fx.kinds("a").await.last(), Some(&EventType::TaskDeadLettered));
    conflict(fx.take(assign(&job("a", 4), "w", t(30))).await, ConflictCode::NotClaimable);
}

/// Expired and failed attempts count alike, and a late failure does not count again.
pub async fn every_path_counts_alike(fx: &Fixture) {
    fx.create(retries("a", 2)).await;
    let first = job("a", 1);
    fx.take(assign(&first, "w", t(0))).await.unwrap();
    accepted(fx.ledger.finish(finish(swept(&first, expired_until(t(70)), t(60)), None)).await);
    accepted(fx.ledger.finish(finish(end(&first, "w", failed_until(t(71)), t(61)), None)).await);
    assert_eq!(attempt(fx, 2, failed_until(t(80)), 70).await.retry_count, 2);
    let third = job("a", 3);
    fx.take(assign(&third, "w", t(80))).await.unwrap();
    let dead = Ending::Expired { next: Some(Next::DeadLetter) };
    let task = accepted(fx.ledger.finish(finish(swept(&third, dead, t(140)), None)).await);
    assert_eq!((task.status, task.retry_count), (TaskStatus::Failed, 2));
    let kinds = fx.kinds("a").await;
    assert_eq!(kinds[kinds.len() - 2..], [EventType::LeaseExpired, EventType::TaskDeadLettered]);
}

/// What policy decides must fit the count: no retry beyond the last, no dead letter before it.
pub async fn what_follows_must_fit_the_count(fx: &Fixture) {
    fx.create(retries("a", 1)).await;
    let first = job("a", 1);
    fx.take(assign(&first, "w", t(0))).await.unwrap();
    invalid(fx.ledger.finish(finish(end(&first, "w", failed_for_good(), t(1)), None)).await, "next");
    accepted(fx.ledger.finish(finish(end(&first, "w", failed_until(t(5)), t(1)), None)).await);
    let second = job("a", 2);
    fx.take(assign(&second, "w", t(5))).await.unwrap();
    invalid(fx.ledger.finish(finish(end(&second, "w", failed_until(t(9)), t(6)), None)).await, "next");
    let sweep = finish(swept(&second, expired_until(t(99)), t(65)), None);
    invalid(fx.ledger.finish(sweep).await, "next");
    assert_eq!(fx.task("a", t(6)).await.status, TaskStatus::InProgress);
    accepted(fx.ledger.finish(finish(end(&second, "w", failed_for_good(), t(7)), None)).await);
}

/// A task without retries ends with its first failure.
pub async fn no_retries_means_one_attempt(fx: &Fixture) {
    fx.create(retries("a", 0)).await;
    assert_eq!(attempt(fx, 1, failed_for_good(), 0).await.status, TaskStatus::Failed);
}

/// A release, a deferral, an expiry before the start and a block burn nothing.
pub async fn what_burns_nothing(fx: &Fixture) {
    let agent = fx.agent("w").await;
    fx.create(retries("a", 1)).await;
    assert_eq!(attempt(fx, 1, released(), 0).await.retry_count, 0);
    fx.tasks.defer(defer(1, 5, 2)).await.unwrap();
    let unstarted: JobId = job("a", 2);
    let assign = crate::given::dispatched(assign(&unstarted, "w", t(5)), agent.incarnation);
    fx.take(assign).await.unwrap();
    let sweep = finish(swept(&unstarted, Ending::Expired { next: None }, t(65)), None);
    let task = accepted(fx.ledger.finish(sweep).await);
    assert_eq!((task.status, task.retry_count, task.last_error), (TaskStatus::Pending, 0, None));
    let blocked = attempt(fx, 3, Ending::Blocked { reason: "ask Ada".to_owned() }, 66).await;
    assert_eq!((blocked.retry_count, blocked.attempt), (0, 3));
    let outcomes = [1, 2, 3].map(|number| (number, AttemptOutcome::Released));
    for (number, outcome) in outcomes {
        let attempt = fx.tasks.attempt(&job("a", number)).await.unwrap().unwrap();
        assert_eq!(attempt.outcome, Some(outcome), "{number}");
    }
}

/// A release gives the task back at once; its reason is told.
pub async fn a_release_gives_back_at_once(fx: &Fixture) {
    fx.create(task("a")).await;
    let task = attempt(fx, 1, released(), 0).await;
    assert_eq!((task.status, task.retry_at, task.claimed_by), (TaskStatus::Pending, None, None));
    assert_eq!(fx.take(assign(&job("a", 2), "x", t(1))).await.unwrap().claimed_by, Some(id("x")));
    let event = fx.log().await.into_iter().find(|event| event.kind == EventType::TaskReleased).unwrap();
    assert_eq!(event.agent_id, Some(id("w")));
    assert!(event.payload.unwrap().to_string().contains("drained"));
}

/// A new claim never resets the count.
pub async fn a_claim_keeps_the_count(fx: &Fixture) {
    fx.create(task("a")).await;
    attempt(fx, 1, failed_until(t(5)), 0).await;
    attempt(fx, 2, released(), 5).await;
    let task = fx.take(assign(&job("a", 3), "w", t(7))).await.unwrap();
    assert_eq!((task.retry_count, task.attempt, task.retry_at), (1, 3, None));
}

/// Requeueing a dead letter keeps its attempt number and last error, and starts the count over.
pub async fn a_requeue_starts_the_count_over(fx: &Fixture) {
    fx.create(retries("a", 1)).await;
    attempt(fx, 1, failed_until(t(5)), 0).await;
    let second = job("a", 2);
    fx.take(assign(&second, "w", t(5))).await.unwrap();
    let progress = agentic_core::port::Progress {
        task: id("a"),
        attempt: None,
        agent_id: None,
        progress: Some(80),
        notes: None,
        now: t(6),
    };
    fx.tasks.progress(progress).await.unwrap();
    accepted(fx.ledger.finish(finish(end(&second, "w", failed_for_good(), t(7)), None)).await);
    let back = fx.tasks.requeue(&id("a"), t(8)).await.unwrap();
    assert_eq!((back.status, back.attempt, back.retry_count), (TaskStatus::Pending, 2, 0));
    assert_eq!((back.retry_at, back.progress, back.fail_reason), (None, 0, None));
    assert_eq!(fx.kinds("a").await.last(), Some(&EventType::TaskRequeued));
    assert_eq!(fx.tasks.lanes(10).await.unwrap().views.len(), 1, "it is ready at once");
    assert_eq!(attempt(fx, 3, failed_until(t(20)), 9).await.retry_count, 1);
    assert_eq!(attempt(fx, 4, failed_for_good(), 20).await.status, TaskStatus::Failed);
}

/// Requeueing a task that was called off while it waited out a backoff or a deferral makes it ready at once.
pub async fn a_requeue_forgets_the_wait(fx: &Fixture) {
    fx.create(task("a")).await;
    attempt(fx, 1, failed_until(t(500)), 0).await;
    fx.tasks.cancel(cancel("a", TaskStatus::Cancelled, 2)).await.unwrap();
    let back = fx.tasks.requeue(&id("a"), t(3)).await.unwrap();
    assert_eq!((back.retry_at, back.retry_count), (None, 0));
    fx.tasks.defer(defer(1, 500, 4)).await.unwrap();
    fx.tasks.cancel(cancel("a", TaskStatus::Failed, 5)).await.unwrap();
    fx.tasks.requeue(&id("a"), t(6)).await.unwrap();
    assert_eq!(fx.tasks.lanes(10).await.unwrap().views.len(), 1);
    assert_eq!(fx.task("a", t(6)).await.pending_reason.unwrap().code, "queued");
}

/// Only what failed or was called off is requeued.
pub async fn only_what_ended_badly_is_requeued(fx: &Fixture) {
    fx.create_all(vec![task("a"), crate::given::after("b", &["a"]), task("c")], t(0)).await;
    for name in ["a", "b"] {
        conflict(fx.tasks.requeue(&id(name), t(1)).await, ConflictCode::IllegalTransition);
    }
    fx.take(assign(&job("c", 1), "w", t(1))).await.unwrap();
    conflict(fx.tasks.requeue(&id("c"), t(1)).await, ConflictCode::IllegalTransition);
    accepted(fx.ledger.finish(finish(end(&job("c", 1), "w", done(""), t(2)), None)).await);
    conflict(fx.tasks.requeue(&id("c"), t(3)).await, ConflictCode::IllegalTransition);
    not_found(fx.tasks.requeue(&id("nobody"), t(1)).await, agentic_core::error::Kind::Task, "nobody");
    fx.tasks.cancel(cancel("a", TaskStatus::Cancelled, 3)).await.unwrap();
    assert_eq!(fx.tasks.requeue(&id("a"), t(4)).await.unwrap().status, TaskStatus::Pending);
}

/// Whatever is not over can be called off, and only that.
pub async fn any_open_task_is_called_off(fx: &Fixture) {
    fx.create_all(vec![task("a"), crate::given::after("b", &["a"]), task("c")], t(0)).await;
    fx.take(assign(&job("c", 1), "w", t(1))).await.unwrap();
    for name in ["b", "a", "c"] {
        let task = fx.tasks.cancel(cancel(name, TaskStatus::Cancelled, 2)).await.unwrap();
        assert_eq!((task.status, task.fail_reason.as_deref()), (TaskStatus::Cancelled, Some("given up")));
        assert_eq!(task.lease_expires_at, None);
        assert_eq!(fx.kinds(name).await.last(), Some(&EventType::TaskCancelled));
        let again = fx.tasks.cancel(cancel(name, TaskStatus::Cancelled, 3)).await;
        conflict(again, ConflictCode::IllegalTransition);
    }
    let ended = fx.task("c", t(2)).await;
    assert_eq!(
        (ended.claimed_by, ended.last_attempt),
        (Some(id("w")), Some(t(2))),
        "it had it when it ended"
    );
    let attempt = fx.tasks.attempt(&job("c", 1)).await.unwrap().unwrap();
    assert_eq!((attempt.outcome, attempt.ended_at), (Some(AttemptOutcome::Cancelled), Some(t(2))));
    assert!(fx.tasks.expired(t(999), 10).await.unwrap().is_empty());
    let nobody = fx.tasks.cancel(cancel("nobody", TaskStatus::Cancelled, 3)).await;
    not_found(nobody, agentic_core::error::Kind::Task, "nobody");
}

/// An administrator can give a task up as failed; nothing else is an end.
pub async fn a_task_is_given_up_as_failed(fx: &Fixture) {
    fx.create(task("a")).await;
    for wrong in [TaskStatus::Pending, TaskStatus::InProgress, TaskStatus::Completed, TaskStatus::Blocked] {
        invalid(fx.tasks.cancel(cancel("a", wrong, 1)).await, "status");
    }
    let task = fx.tasks.cancel(cancel("a", TaskStatus::Failed, 1)).await.unwrap();
    assert_eq!((task.status, task.fail_reason.as_deref()), (TaskStatus::Failed, Some("given up")));
    assert_eq!(fx.kinds("a").await.last(), Some(&EventType::TaskDeadLettered));
}

/// A task that was put off for itself waits until then for that reason, and is told to nobody.
pub async fn a_deferred_task_waits(fx: &Fixture) {
    fx.create(task("a")).await;
    let task = fx.tasks.defer(defer(0, 30, 1)).await.unwrap();
    assert_eq!((task.status, task.retry_at, task.retry_count), (TaskStatus::Pending, Some(t(30)), 0));
    assert!(fx.tasks.lanes(10).await.unwrap().views.is_empty());
    let reason = fx.task("a", t(2)).await.pending_reason.unwrap();
    assert_eq!((reason.code.as_str(), reason.retry_at), ("quota", Some(t(30))));
    conflict(fx.tasks.claim(claim(&job("a", 1), "w", t(29))).await, ConflictCode::NotReady);
    assert_eq!(fx.tasks.promote_due(t(30), 10).await.unwrap(), 1);
    assert_eq!(fx.task("a", t(30)).await.pending_reason.unwrap().code, "queued");
    assert_eq!(fx.kinds("a").await, [EventType::TaskCreated]);
}

/// Only a pending task whose attempt has not moved on is put off.
pub async fn only_what_is_pending_is_deferred(fx: &Fixture) {
    fx.create(task("a")).await;
    conflict(fx.tasks.defer(defer(1, 30, 1)).await, ConflictCode::StaleAttempt);
    fx.take(assign(&job("a", 1), "w", t(1))).await.unwrap();
    conflict(fx.tasks.defer(defer(0, 30, 1)).await, ConflictCode::StaleAttempt);
    conflict(fx.tasks.defer(defer(1, 30, 1)).await, ConflictCode::IllegalTransition);
}

//! Blocking by hand.

use agentic_core::{
    attempt::Ending,
    error::{ConflictCode, Kind},
    event::EventType,
    port::{Block, CancelTask},
    task::{BlockCause, NewTask, TaskStatus},
};

use crate::{
    Fixture,
    expect::{accepted, conflict, not_found},
    given::{after, assign, done, end, failed_until, finish, id, job, t, task},
};

fn block(name: &str, secs: i64) -> Block {
    Block { task: id(name), reason: Some("wait for Ada".to_owned()), now: t(secs) }
}

fn unblock(name: &str, secs: i64) -> Block {
    Block { task: id(name), reason: None, now: t(secs) }
}

/// A task blocked by hand leaves its lane until it is unblocked.
pub async fn a_blocked_task_leaves_its_lane(fx: &Fixture) {
    fx.create(task("a")).await;
    let blocked = fx.tasks.block(block("a", 1)).await.unwrap();
    assert_eq!((blocked.status, blocked.blocked_by), (TaskStatus::Blocked, [BlockCause::Manual].into()));
    assert!(fx.tasks.lanes(10).await.unwrap().views.is_empty());
    assert_eq!(fx.task("a", t(1)).await.pending_reason.unwrap().code, "manual");
    conflict(fx.take(assign(&job("a", 1), "w", t(2))).await, ConflictCode::NotClaimable);
    let back = fx.tasks.block(unblock("a", 3)).await.unwrap();
    assert_eq!((back.status, back.blocked_by.len()), (TaskStatus::Pending, 0));
    assert_eq!(fx.tasks.lanes(10).await.unwrap().views.len(), 1);
    assert_eq!(
        fx.kinds("a").await,
        [EventType::TaskCreated, EventType::TaskBlocked, EventType::TaskUnblocked]
    );
}

/// Blocking what is blocked by hand already changes and tells nothing.
pub async fn blocking_twice_is_blocking_once(fx: &Fixture) {
    fx.create(task("a")).await;
    let once = fx.tasks.block(block("a", 1)).await.unwrap();
    let twice = fx.tasks.block(block("a", 2)).await.unwrap();
    assert_eq!(once.status, twice.status);
    assert_eq!(fx.count(EventType::TaskBlocked).await, 1);
}

/// What is not blocked by hand cannot be unblocked.
pub async fn only_what_was_blocked_by_hand_is_unblocked(fx: &Fixture) {
    fx.create_all(vec![task("a"), after("b", &["a"])], t(0)).await;
    for name in ["a", "b"] {
        conflict(fx.tasks.block(unblock(name, 1)).await, ConflictCode::IllegalTransition);
    }
    not_found(fx.tasks.block(unblock("nobody", 1)).await, Kind::Task, "nobody");
    not_found(fx.tasks.block(block("nobody", 1)).await, Kind::Task, "nobody");
}

/// A task that waits for a dependency and a person waits for both, whichever comes first.
pub async fn both_causes_must_clear(fx: &Fixture) {
    fx.create_all(vec![task("a"), after("b", &["a"]), after("c", &["a"])], t(0)).await;
    for name in ["b", "c"] {
        let both = fx.tasks.block(block(name, 1)).await.unwrap();
        assert_eq!(both.blocked_by, [BlockCause::Dependency, BlockCause::Manual].into());
    }
    let still = fx.tasks.block(unblock("b", 2)).await.unwrap();
    assert_eq!((still.status, still.blocked_by), (TaskStatus::Blocked, [BlockCause::Dependency].into()));
    let job = job("a", 1);
    fx.take(assign(&job, "w", t(3))).await.unwrap();
    accepted(fx.ledger.finish(finish(end(&job, "w", done(""), t(4)), None)).await);
    assert_eq!(fx.task("b", t(5)).await.status, TaskStatus::Pending);
    let held = fx.task("c", t(5)).await;
    assert_eq!((held.status, held.blocked_by), (TaskStatus::Blocked, [BlockCause::Manual].into()));
    assert_eq!(fx.tasks.block(unblock("c", 6)).await.unwrap().status, TaskStatus::Pending);
}

/// A running task is blocked by ending its attempt, which burns nothing.
pub async fn a_running_task_is_blocked_by_its_end(fx: &Fixture) {
    let job = fx.running("a", "w").await;
    conflict(fx.tasks.block(block("a", 1)).await, ConflictCode::IllegalTransition);
    let ending = Ending::Blocked { reason: "needs a key".to_owned() };
    let blocked = accepted(fx.ledger.finish(finish(end(&job, "w", ending, t(2)), None)).await);
    assert_eq!((blocked.status, blocked.retry_count, blocked.attempt), (TaskStatus::Blocked, 0, 1));
    assert_eq!((blocked.claimed_by, blocked.lease_expires_at), (None, None));
    assert_eq!(fx.load("w", t(2)).await, 0);
    let back = fx.tasks.block(unblock("a", 3)).await.unwrap();
    assert_eq!(back.status, TaskStatus::Pending);
    assert_eq!(fx.take(assign(&crate::given::job("a", 2), "w", t(4))).await.unwrap().attempt, 2);
}

/// A task that waits out a backoff keeps it while it is blocked.
pub async fn a_block_keeps_the_backoff(fx: &Fixture) {
    let job = fx.running("a", "w").await;
    accepted(fx.ledger.finish(finish(end(&job, "w", failed_until(t(50)), t(1)), None)).await);
    fx.tasks.block(block("a", 2)).await.unwrap();
    let back = fx.tasks.block(unblock("a", 3)).await.unwrap();
    assert_eq!((back.status, back.retry_at, back.retry_count), (TaskStatus::Pending, Some(t(50)), 1));
    assert!(fx.tasks.lanes(10).await.unwrap().views.is_empty(), "its time has not come");
    assert_eq!(fx.tasks.promote_due(t(50), 10).await.unwrap(), 1);
}

/// What is over cannot be blocked.
pub async fn what_is_over_cannot_be_blocked(fx: &Fixture) {
    fx.create(NewTask { max_retries: 0, ..task("a") }).await;
    let cancel =
        CancelTask { task: id("a"), status: TaskStatus::Cancelled, reason: String::new(), now: t(1) };
    fx.tasks.cancel(cancel).await.unwrap();
    conflict(fx.tasks.block(block("a", 2)).await, ConflictCode::IllegalTransition);
}

/// A blocked task that is called off is not blocked any more.
pub async fn a_block_ends_with_its_task(fx: &Fixture) {
    fx.create_all(vec![task("a"), after("b", &["a"])], t(0)).await;
    fx.tasks.block(block("b", 1)).await.unwrap();
    let cancel =
        CancelTask { task: id("b"), status: TaskStatus::Cancelled, reason: String::new(), now: t(2) };
    assert!(fx.tasks.cancel(cancel).await.unwrap().blocked_by.is_empty());
    let back = fx.tasks.requeue(&id("b"), t(3)).await.unwrap();
    assert_eq!(back.blocked_by, [BlockCause::Dependency].into());
}

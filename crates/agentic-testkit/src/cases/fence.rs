//! The fence: who may end an attempt, and what becomes of what comes too late (design §5).

use agentic_core::{
    attempt::{AttemptOutcome, Ending},
    error::ConflictCode,
    event::EventType,
    id::JobId,
    port::{Block, CancelTask, Defer, Edit, EndAttempt},
    task::{PendingReason, TaskEdit, TaskStatus},
};

use crate::{
    Fixture,
    expect::{accepted, conflict, late, not_found},
    given::{
        assign, done, end, expired_until, failed_for_good, failed_until, figures, finish, id, job, released,
        swept, t,
    },
};

async fn expired(fx: &Fixture) -> JobId {
    let job = fx.running("a", "w").await;
    accepted(fx.ledger.finish(finish(swept(&job, expired_until(t(70)), t(60)), None)).await);
    job
}

async fn late_results(fx: &Fixture) -> usize {
    fx.count(EventType::LateResult).await
}

/// The same completion again gets its first answer, as long as nothing came after.
pub async fn a_repeated_ending_gets_its_first_answer(fx: &Fixture) {
    let job = fx.running("a", "w").await;
    let first = accepted(fx.ledger.finish(finish(end(&job, "w", done("ok"), t(5)), None)).await);
    let events = fx.events.last().await.unwrap();
    let again = accepted(fx.ledger.finish(finish(end(&job, "w", done("ok"), t(9)), None)).await);
    assert_eq!((again.status, again.result, again.updated_at), (first.status, first.result, t(5)));
    let unfenced = EndAttempt { attempt: None, ..end(&job, "w", done("ok"), t(9)) };
    accepted(fx.ledger.finish(finish(unfenced, None)).await);
    assert_eq!(fx.events.last().await.unwrap(), events);
}

/// A failure that is repeated with another time for the retry is the same failure.
pub async fn a_repeated_failure_burns_once(fx: &Fixture) {
    let job = fx.running("a", "w").await;
    accepted(fx.ledger.finish(finish(end(&job, "w", failed_until(t(10)), t(5)), None)).await);
    let again = accepted(fx.ledger.finish(finish(end(&job, "w", failed_until(t(99)), t(6)), None)).await);
    assert_eq!((again.retry_count, again.retry_at), (1, Some(t(10))));
}

/// An attempt that ended otherwise keeps its end; what was sent after is kept for review.
pub async fn another_answer_is_kept_but_changes_nothing(fx: &Fixture) {
    let job = fx.running("a", "w").await;
    accepted(fx.ledger.finish(finish(end(&job, "w", done("first"), t(5)), None)).await);
    let other = || finish(end(&job, "w", done("second"), t(6)), None);
    late(fx.ledger.finish(other()).await, ConflictCode::AlreadyEnded);
    late(fx.ledger.finish(other()).await, ConflictCode::AlreadyEnded);
    assert_eq!(fx.task("a", t(7)).await.result.unwrap().output, "first");
    assert_eq!(late_results(fx).await, 1, "kept once");
    let event = fx.log().await.into_iter().find(|event| event.kind == EventType::LateResult).unwrap();
    assert_eq!((event.task_id, event.agent_id), (Some(id("a")), Some(id("w"))));
    assert!(event.payload.unwrap().to_string().contains("second"), "what was sent is kept");
}

/// A zombie changes nothing: its completion is kept for review once, and names who holds the task now.
pub async fn a_stale_attempt_changes_nothing(fx: &Fixture) {
    let zombie = expired(fx).await;
    fx.take(assign(&job("a", 2), "x", t(70))).await.unwrap();
    let before = fx.task("a", t(71)).await;
    for _ in 0..2 {
        let answer = fx.ledger.finish(finish(end(&zombie, "w", done("late"), t(71)), None)).await;
        assert_eq!(late(answer, ConflictCode::StaleAttempt), Some(id("x")));
    }
    assert_eq!(fx.task("a", t(71)).await, before);
    assert_eq!(late_results(fx).await, 1);
}

/// The ending that was accepted before, repeated after a newer attempt, is a conflict that is not kept again.
pub async fn an_old_answer_repeated_is_not_kept(fx: &Fixture) {
    let first = fx.running("a", "w").await;
    let failed = || finish(end(&first, "w", failed_until(t(10)), t(5)), None);
    accepted(fx.ledger.finish(failed()).await);
    fx.take(assign(&job("a", 2), "x", t(10))).await.unwrap();
    late(fx.ledger.finish(failed()).await, ConflictCode::StaleAttempt);
    assert_eq!(late_results(fx).await, 0);
}

/// A completion that comes after the lease ran out, and before anybody touched the task, is accepted.
pub async fn a_late_completion_after_expiry_is_accepted(fx: &Fixture) {
    let job = expired(fx).await;
    assert_eq!(fx.task("a", t(61)).await.retry_count, 1);
    let task = accepted(fx.ledger.finish(finish(end(&job, "w", done("at last"), t(65)), None)).await);
    assert_eq!((task.status, task.progress), (TaskStatus::Completed, 100));
    assert_eq!((task.claimed_by, task.retry_at), (Some(id("w")), None));
    assert_eq!(fx.tasks.attempt(&job).await.unwrap().unwrap().outcome, Some(AttemptOutcome::Completed));
    assert!(fx.tasks.lanes(10).await.unwrap().views.is_empty());
    assert_eq!(fx.tasks.next_due().await.unwrap(), None);
    accepted(fx.ledger.finish(finish(end(&job, "w", done("at last"), t(66)), None)).await);
}

/// It is accepted also when the task stands in its lane again.
pub async fn a_late_completion_after_promotion_is_accepted(fx: &Fixture) {
    let job = expired(fx).await;
    fx.tasks.promote_due(t(70), 10).await.unwrap();
    let task = accepted(fx.ledger.finish(finish(end(&job, "w", done(""), t(71)), None)).await);
    assert_eq!(task.status, TaskStatus::Completed);
    assert!(fx.tasks.lanes(10).await.unwrap().views.is_empty());
}

/// A lapsed attempt that says that it failed has burnt its retry already.
pub async fn a_late_failure_burns_nothing_more(fx: &Fixture) {
    let job = expired(fx).await;
    let task = accepted(fx.ledger.finish(finish(end(&job, "w", failed_until(t(99)), t(65)), None)).await);
    assert_eq!((task.status, task.retry_count, task.retry_at), (TaskStatus::Pending, 1, Some(t(70))));
    assert_eq!(task.last_error.as_deref(), Some("it broke"));
    assert_eq!(fx.count(EventType::TaskRetryScheduled).await, 1);
}

/// Once the task was claimed, edited, blocked or called off after the expiry, the late completion is fenced.
pub async fn a_touched_task_is_fenced(fx: &Fixture) {
    let edit = TaskEdit { description: Some("new".to_owned()), ..TaskEdit::default() };
    for (i, touch) in ["claim", "edit", "block", "cancel", "requeue"].into_iter().enumerate() {
        let name = format!("t{i}");
        let zombie = fx.running(&name, "w").await;
        accepted(fx.ledger.finish(finish(swept(&zombie, expired_until(t(70)), t(60)), None)).await);
        let cancel =
            CancelTask { task: id(&name), status: TaskStatus::Cancelled, reason: String::new(), now: t(61) };
        match touch {
            "claim" => drop(fx.take(assign(&job(&name, 2), "x", t(70))).await.unwrap()),
            "edit" => {
                let edit = Edit { task: id(&name), edit: edit.clone(), now: t(61) };
                fx.tasks.edit(edit).await.unwrap();
            }
            "block" => {
                let block = Block { task: id(&name), reason: Some(String::new()), now: t(61) };
                fx.tasks.block(block).await.unwrap();
            }
            "cancel" => drop(fx.tasks.cancel(cancel).await.unwrap()),
            _ => {
                fx.tasks.cancel(cancel).await.unwrap();
                fx.tasks.requeue(&id(&name), t(62)).await.unwrap();
            }
        }
        let before = fx.task(&name, t(72)).await;
        let code = if touch == "claim" { ConflictCode::StaleAttempt } else { ConflictCode::AlreadyEnded };
        late(fx.ledger.finish(finish(end(&zombie, "w", done(""), t(71)), None)).await, code);
        assert_eq!(fx.task(&name, t(72)).await, before, "{touch}");
        assert_eq!(late_results(fx).await, i + 1, "{touch}");
    }
}

/// A task that an expiry dead-lettered is not completed by what comes late.
pub async fn a_dead_letter_is_fenced(fx: &Fixture) {
    fx.create(agentic_core::task::NewTask { max_retries: 0, ..crate::given::task("a") }).await;
    let job = job("a", 1);
    fx.take(assign(&job, "w", t(0))).await.unwrap();
    let dead = Ending::Expired { next: Some(agentic_core::attempt::Next::DeadLetter) };
    accepted(fx.ledger.finish(finish(swept(&job, dead, t(60)), None)).await);
    late(fx.ledger.finish(finish(end(&job, "w", done(""), t(61)), None)).await, ConflictCode::AlreadyEnded);
    assert_eq!(fx.task("a", t(62)).await.status, TaskStatus::Failed);
}

/// Without a fence the holder means its present attempt; nobody else can.
pub async fn without_a_fence_only_the_holder_ends(fx: &Fixture) {
    let job = fx.running("a", "w").await;
    let unfenced = |agent: &str, ending: Ending| {
        finish(EndAttempt { attempt: None, ..end(&job, agent, ending, t(5)) }, None)
    };
    let holder = conflict(fx.ledger.finish(unfenced("x", done(""))).await, ConflictCode::NotHolder);
    assert_eq!(holder, Some(id("w")));
    accepted(fx.ledger.finish(unfenced("w", failed_until(t(9)))).await);
    conflict(fx.ledger.finish(unfenced("w", done(""))).await, ConflictCode::IllegalTransition);
    assert_eq!(late_results(fx).await, 0);
}

/// Another agent cannot end an attempt, nor one that never was, nor of a task that never was.
pub async fn a_stranger_ends_nothing(fx: &Fixture) {
    let running = fx.running("a", "w").await;
    let holder = conflict(
        fx.ledger.finish(finish(end(&running, "x", done(""), t(1)), None)).await,
        ConflictCode::NotHolder,
    );
    assert_eq!(holder, Some(id("w")));
    for attempt in [0, 2] {
        let answer = fx.ledger.finish(finish(end(&job("a", attempt), "w", done(""), t(1)), None)).await;
        conflict(answer, ConflictCode::StaleAttempt);
    }
    let answer = fx.ledger.finish(finish(end(&job("nobody", 1), "w", done(""), t(1)), None)).await;
    not_found(answer, agentic_core::error::Kind::Task, "nobody");
    assert_eq!(fx.task("a", t(1)).await.status, TaskStatus::InProgress);
}

/// A lease that lives cannot expire, not even a millisecond early.
pub async fn a_live_lease_does_not_expire(fx: &Fixture) {
    let job = fx.running("a", "w").await;
    let early = agentic_core::clock::Timestamp::from_millis(t(60).millis() - 1);
    let sweep = |now| finish(swept(&job, expired_until(t(70)), now), None);
    conflict(fx.ledger.finish(sweep(early)).await, ConflictCode::LeaseLive);
    assert_eq!(fx.load("w", early).await, 1);
    let task = accepted(fx.ledger.finish(sweep(t(60))).await);
    assert_eq!((task.status, task.claimed_by, task.retry_count), (TaskStatus::Pending, None, 1));
    assert_eq!(task.last_error.as_deref(), Some("the lease ran out"));
}

/// Of sixteen sweeps that expire one lease at once, the retry is burnt once.
pub async fn an_expiry_raced_for_burns_once(fx: &Fixture) {
    let job = fx.running("a", "w").await;
    let answers = crate::fixture::at_once(16, |_| {
        let (ledger, sweep) = (fx.ledger.clone(), finish(swept(&job, expired_until(t(70)), t(60)), None));
        async move { ledger.finish(sweep).await }
    })
    .await;
    for answer in answers {
        assert_eq!(accepted(answer).retry_count, 1);
    }
    assert_eq!(fx.count(EventType::LeaseExpired).await, 1);
    assert_eq!(fx.count(EventType::TaskRetryScheduled).await, 1);
}

/// A completion and a sweep that race end the attempt once each at most, and the work is never lost.
pub async fn a_completion_races_with_the_sweep(fx: &Fixture) {
    let job = fx.running("a", "w").await;
    let answers = crate::fixture::at_once(2, |i| {
        let complete = finish(end(&job, "w", done("ok"), t(60)), None);
        let sweep = finish(swept(&job, expired_until(t(70)), t(60)), None);
        let (ledger, finish) = (fx.ledger.clone(), if i == 0 { complete } else { sweep });
        async move { ledger.finish(finish).await }
    })
    .await;
    assert_eq!(accepted(answers[0].clone()).status, TaskStatus::Completed);
    assert_eq!(fx.task("a", t(61)).await.status, TaskStatus::Completed);
    assert!(fx.count(EventType::LeaseExpired).await <= 1);
}

/// A deferral by policy touches nothing: the completion that comes after it is accepted still.
pub async fn a_late_completion_after_a_deferral_is_accepted(fx: &Fixture) {
    let job = expired(fx).await;
    let reason = PendingReason { code: "deferred".to_owned(), detail: "too big".to_owned(), retry_at: None };
    fx.tasks
        .defer(Defer { task: id("a"), attempt: 1, reason, until: t(99), seen: None, now: t(70) })
        .await
        .unwrap();
    let task = accepted(fx.ledger.finish(finish(end(&job, "w", done(""), t(71)), None)).await);
    assert_eq!(task.status, TaskStatus::Completed);
    assert_eq!(fx.tasks.next_due().await.unwrap(), None);
}

/// A release or a sweep that comes too late is refused and is told to nobody: it brings nothing to review. What a
/// release says was used is charged all the same.
pub async fn a_late_release_is_only_refused(fx: &Fixture) {
    let zombie = expired(fx).await;
    let before = fx.events.last().await.unwrap();
    let release = || finish(end(&zombie, "w", released(), t(65)), Some(figures(9, 9)));
    late(fx.ledger.finish(release()).await, ConflictCode::AlreadyEnded);
    let charged = fx.job(&zombie).await;
    assert_eq!((charged.gross().get(), charged.late), (18, true));
    fx.take(assign(&job("a", 2), "x", t(70))).await.unwrap();
    let claimed = fx.events.last().await.unwrap();
    assert!(claimed > before);
    late(fx.ledger.finish(release()).await, ConflictCode::StaleAttempt);
    let sweep = finish(swept(&zombie, expired_until(t(99)), t(71)), None);
    conflict(fx.ledger.finish(sweep).await, ConflictCode::StaleAttempt);
    assert_eq!(fx.events.last().await.unwrap(), claimed);
}

/// An ending that its retry count forbids changes nothing, on either side.
pub async fn a_refused_ending_changes_nothing(fx: &Fixture) {
    let job = fx.running("a", "w").await;
    let before = (fx.task("a", t(1)).await, fx.job(&job).await, fx.events.last().await.unwrap());
    let ending = finish(end(&job, "w", failed_for_good(), t(1)), Some(figures(5, 5)));
    crate::expect::invalid(fx.ledger.finish(ending).await, "next");
    let after = (fx.task("a", t(1)).await, fx.job(&job).await, fx.events.last().await.unwrap());
    assert_eq!(after, before);
}

/// The task's half alone answers as the whole does.
pub async fn the_tasks_half_holds_the_same_fence(fx: &Fixture) {
    fx.create(crate::given::task("a")).await;
    let first = job("a", 1);
    fx.tasks.claim(crate::given::claim(&first, "w", t(0))).await.unwrap();
    conflict(fx.tasks.end_attempt(end(&first, "x", done(""), t(1))).await, ConflictCode::NotHolder);
    accepted(fx.tasks.end_attempt(end(&first, "w", failed_until(t(2)), t(1))).await);
    accepted(fx.tasks.end_attempt(end(&first, "w", failed_until(t(3)), t(1))).await);
    late(fx.tasks.end_attempt(end(&first, "w", done(""), t(1))).await, ConflictCode::AlreadyEnded);
    fx.tasks.claim(crate::given::claim(&job("a", 2), "w", t(2))).await.unwrap();
    late(fx.tasks.end_attempt(end(&first, "w", done("x"), t(3))).await, ConflictCode::StaleAttempt);
    assert_eq!(late_results(fx).await, 2);
}

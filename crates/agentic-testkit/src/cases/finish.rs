//! Finishing: the task moves and its job settles in one step.

use agentic_core::{
    attempt::Ending,
    error::ConflictCode,
    event::EventType,
    id::JobId,
    job::{JobOutcome, JobState},
    limit::Limit,
    port::{CancelTask, StartAttempt},
    task::{NewTask, TaskStatus},
};

use crate::{
    Fixture,
    expect::{accepted, conflict, late},
    fixture::at_once,
    given::{
        after, assign, beat, claim, concurrent, daily_jobs, daily_tokens, dispatched, done, end,
        expired_until, failed_for_good, failed_until, figures, finish, id, job, limited, released, swept, t,
        task,
    },
};

fn limits() -> [Limit; 3] {
    [daily_tokens("w", 1_000), daily_jobs("w", 50), concurrent("w", 9)]
}

async fn take(fx: &Fixture, name: &str, ask: u32) -> JobId {
    fx.create(task(name)).await;
    let job = job(name, 1);
    fx.take(limited(assign(&job, "w", t(0)), &limits(), ask)).await.unwrap();
    job
}

async fn settled(fx: &Fixture, job: &JobId) -> (JobState, Option<JobOutcome>) {
    let job = fx.job(job).await;
    (job.state, job.outcome)
}

/// The end of an attempt moves the task, charges the rest, settles the job, frees its places and releases what
/// waited, all at once.
pub async fn finish_moves_and_settles(fx: &Fixture) {
    let first = take(fx, "a", 100).await;
    fx.create(after("b", &["a"])).await;
    let task =
        accepted(fx.ledger.finish(finish(end(&first, "w", done("ok"), t(9)), Some(figures(40, 2)))).await);
    assert_eq!((task.status, task.updated_at), (TaskStatus::Completed, t(9)));
    assert_eq!((task.claimed_by, task.lease_expires_at), (Some(id("w")), None));
    assert_eq!(settled(fx, &first).await, (JobState::Settled, Some(JobOutcome::Completed)));
    assert_eq!(fx.used(&limits()[0], t(9)).await, (42, 0));
    assert_eq!((fx.used(&limits()[1], t(9)).await, fx.load("w", t(9)).await), ((1, 0), 0));
    assert_eq!(fx.task("b", t(9)).await.status, TaskStatus::Pending);
    let attempt = fx.tasks.attempt(&first).await.unwrap().unwrap();
    assert_eq!(attempt.ended_at, Some(t(9)));
}

/// A repeated call gets its first answer and settles nothing twice, as often and as much at once as it comes.
pub async fn finish_is_once(fx: &Fixture) {
    let first = take(fx, "a", 0).await;
    let answers = at_once(16, |_| {
        let end = finish(end(&first, "w", failed_until(t(20)), t(9)), Some(figures(9, 0)));
        let ledger = fx.ledger.clone();
        async move { ledger.finish(end).await }
    })
    .await;
    for answer in answers {
        let task = accepted(answer);
        assert_eq!((task.retry_count, task.retry_at), (1, Some(t(20))));
    }
    assert_eq!(fx.used(&limits()[0], t(9)).await, (5, 0));
    assert_eq!(fx.count(EventType::TaskRetryScheduled).await, 1);
    assert_eq!(fx.count(EventType::LateResult).await, 0);
    let more = finish(end(&first, "w", failed_until(t(20)), t(9)), Some(figures(12, 0)));
    accepted(fx.ledger.finish(more).await);
    assert_eq!(fx.used(&limits()[0], t(9)).await, (8, 0), "what grew since is charged, unrefunded");
    let job = fx.job(&first).await;
    let again = finish(end(&first, "w", failed_until(t(20)), t(9)), Some(figures(9, 0)));
    accepted(fx.ledger.finish(again).await);
    assert_eq!(fx.job(&first).await, job);
}

/// A failed attempt gives half of its tokens back, rounded down.
pub async fn a_failed_attempt_gives_half_back(fx: &Fixture) {
    let first = take(fx, "a", 100).await;
    fx.ledger.beat(beat("w", &[(&first, Some(figures(20, 0)))], t(5))).await.unwrap();
    let ending = finish(end(&first, "w", failed_until(t(20)), t(9)), Some(figures(21, 0)));
    accepted(fx.ledger.finish(ending).await);
    assert_eq!(fx.used(&limits()[0], t(9)).await, (11, 0), "21 - floor(21 / 2)");
    assert_eq!(settled(fx, &first).await, (JobState::Settled, Some(JobOutcome::Failed)));
}

/// An expired attempt that had started settles as failed; a dead letter too.
pub async fn an_expired_attempt_settles_as_failed(fx: &Fixture) {
    let first = take(fx, "a", 100).await;
    fx.ledger.beat(beat("w", &[(&first, Some(figures(20, 0)))], t(1))).await.unwrap();
    accepted(fx.ledger.finish(finish(swept(&first, expired_until(t(70)), t(61)), None)).await);
    assert_eq!(settled(fx, &first).await, (JobState::Settled, Some(JobOutcome::Failed)));
    assert_eq!(fx.used(&limits()[0], t(61)).await, (10, 0));
    fx.create(NewTask { max_retries: 0, ..task("b") }).await;
    let second = job("b", 1);
    fx.take(limited(assign(&second, "w", t(61)), &limits(), 0)).await.unwrap();
    let dead = finish(end(&second, "w", failed_for_good(), t(62)), Some(figures(10, 0)));
    assert_eq!(accepted(fx.ledger.finish(dead).await).status, TaskStatus::Failed);
    assert_eq!(fx.used(&limits()[0], t(62)).await, (15, 0));
}

/// A released attempt gives back its place, and keeps what it used.
pub async fn a_released_attempt_gives_back_its_place(fx: &Fixture) {
    let first = take(fx, "a", 100).await;
    accepted(fx.ledger.finish(finish(end(&first, "w", released(), t(9)), Some(figures(20, 0)))).await);
    assert_eq!(settled(fx, &first).await, (JobState::Settled, Some(JobOutcome::Released)));
    assert_eq!((fx.used(&limits()[0], t(9)).await, fx.load("w", t(9)).await), ((20, 0), 0));
}

/// What was assigned and never started is released without a trace on the meters.
pub async fn an_unstarted_release_costs_nothing(fx: &Fixture) {
    fx.agent("w").await;
    fx.create(task("a")).await;
    let first = job("a", 1);
    fx.take(limited(dispatched(assign(&first, "w", t(0)), 1), &limits(), 100)).await.unwrap();
    accepted(fx.ledger.finish(finish(end(&first, "w", released(), t(9)), None)).await);
    assert_eq!(settled(fx, &first).await.0, JobState::Void);
    for limit in limits() {
        assert_eq!(fx.used(&limit, t(9)).await, (0, 0), "{}", limit.key);
    }
    assert_eq!(fx.count(EventType::UsageRecorded).await, 0);
}

/// An ending by its holder proves that the attempt had started.
pub async fn an_ending_is_a_first_act(fx: &Fixture) {
    fx.agent("w").await;
    for (name, used, jobs) in [("a", Some(figures(5, 0)), 1), ("b", None, 2)] {
        fx.create(task(name)).await;
        let first = job(name, 1);
        fx.take(limited(dispatched(assign(&first, "w", t(0)), 1), &limits(), 100)).await.unwrap();
        accepted(fx.ledger.finish(finish(end(&first, "w", done(""), t(9)), used)).await);
        assert_eq!(fx.tasks.attempt(&first).await.unwrap().unwrap().started_at, Some(t(9)));
        assert_eq!(settled(fx, &first).await, (JobState::Settled, Some(JobOutcome::Completed)));
        assert_eq!(
            (fx.used(&limits()[0], t(9)).await, fx.used(&limits()[1], t(9)).await),
            ((5, 0), (jobs, 0))
        );
    }
}

/// A job that a limit told to stop refunds nothing when its attempt fails, also when its last report passed the cap.
pub async fn a_stopped_attempt_refunds_nothing(fx: &Fixture) {
    for (name, in_beat) in [("a", true), ("b", false)] {
        let cap = [daily_tokens(name, 10)];
        fx.create(task(name)).await;
        let first = job(name, 1);
        fx.take(limited(assign(&first, name, t(0)), &cap, 0)).await.unwrap();
        if in_beat {
            fx.ledger.beat(beat(name, &[(&first, Some(figures(12, 0)))], t(5))).await.unwrap();
        }
        let ending = finish(end(&first, name, failed_until(t(20)), t(9)), Some(figures(12, 0)));
        assert_eq!(accepted(fx.ledger.finish(ending).await).retry_count, 1, "an ordinary failed attempt");
        assert_eq!(fx.used(&cap[0], t(9)).await, (12, 0), "{name}");
    }
}

/// A job that was told to stop and completed is completed.
pub async fn a_stopped_attempt_may_complete(fx: &Fixture) {
    let cap = [daily_tokens("w", 10)];
    fx.create(task("a")).await;
    let first = job("a", 1);
    fx.take(limited(assign(&first, "w", t(0)), &cap, 0)).await.unwrap();
    fx.ledger.beat(beat("w", &[(&first, Some(figures(12, 0)))], t(5))).await.unwrap();
    assert_eq!(
        accepted(fx.ledger.finish(finish(end(&first, "w", done(""), t(9)), None)).await).status,
        TaskStatus::Completed
    );
}

/// The last word of a called-off attempt is charged, settles as cancelled and gives everything back.
pub async fn a_cancelled_attempt_gives_all_back(fx: &Fixture) {
    let first = take(fx, "a", 100).await;
    fx.ledger.beat(beat("w", &[(&first, Some(figures(20, 0)))], t(5))).await.unwrap();
    let cancel =
        CancelTask { task: id("a"), status: TaskStatus::Cancelled, reason: "no".to_owned(), now: t(6) };
    fx.tasks.cancel(cancel).await.unwrap();
    assert_eq!((fx.used(&limits()[0], t(6)).await, fx.load("w", t(6)).await), ((20, 80), 1));
    let last = || finish(end(&first, "w", done("half"), t(7)), Some(figures(33, 0)));
    for _ in 0..2 {
        late(fx.ledger.finish(last()).await, ConflictCode::AlreadyEnded);
        assert_eq!(settled(fx, &first).await, (JobState::Settled, Some(JobOutcome::Cancelled)));
        assert_eq!((fx.used(&limits()[0], t(7)).await, fx.load("w", t(7)).await), ((0, 0), 0));
    }
    assert_eq!(fx.task("a", t(7)).await.status, TaskStatus::Cancelled);
    assert_eq!(fx.count(EventType::LateResult).await, 1);
}

/// What an attempt used is charged also when it comes after its end, and is then not given back.
pub async fn a_late_result_is_charged(fx: &Fixture) {
    let first = take(fx, "a", 100).await;
    accepted(fx.ledger.finish(finish(swept(&first, expired_until(t(70)), t(60)), None)).await);
    let second = job("a", 2);
    fx.take(limited(assign(&second, "w", t(70)), &limits(), 0)).await.unwrap();
    let zombie = || finish(end(&first, "w", done(""), t(71)), Some(figures(50, 0)));
    for _ in 0..2 {
        late(fx.ledger.finish(zombie()).await, ConflictCode::StaleAttempt);
        assert_eq!(fx.used(&limits()[0], t(71)).await, (50, 0));
    }
    assert!(fx.job(&first).await.late);
    assert_eq!(fx.load("w", t(71)).await, 1, "the new attempt's reservation is untouched");
}

/// A completion after the expiry completes the task; its job was settled before, and stays so.
pub async fn a_completion_after_expiry_settles_nothing_twice(fx: &Fixture) {
    let first = take(fx, "a", 100).await;
    fx.ledger.beat(beat("w", &[(&first, Some(figures(20, 0)))], t(0))).await.unwrap();
    accepted(fx.ledger.finish(finish(swept(&first, expired_until(t(70)), t(60)), None)).await);
    assert_eq!(fx.used(&limits()[0], t(60)).await, (10, 0));
    let task =
        accepted(fx.ledger.finish(finish(end(&first, "w", done(""), t(61)), Some(figures(26, 0)))).await);
    assert_eq!(task.status, TaskStatus::Completed);
    assert_eq!(settled(fx, &first).await, (JobState::Settled, Some(JobOutcome::Failed)));
    assert_eq!(fx.used(&limits()[0], t(61)).await, (16, 0), "the growth is charged");
}

/// An attempt that was never admitted here ends all the same; its settlement is elsewhere.
pub async fn an_attempt_admitted_elsewhere_ends(fx: &Fixture) {
    fx.create(task("a")).await;
    let first = job("a", 1);
    fx.tasks.claim(claim(&first, "w", t(0))).await.unwrap();
    let task =
        accepted(fx.ledger.finish(finish(end(&first, "w", done(""), t(1)), Some(figures(5, 0)))).await);
    assert_eq!(task.status, TaskStatus::Completed);
    assert_eq!(fx.allowances.job(&first).await.unwrap(), None);
}

/// Blocking a running task is a release on both sides.
pub async fn a_blocking_end_is_a_release(fx: &Fixture) {
    let first = take(fx, "a", 100).await;
    let ending = Ending::Blocked { reason: "a key is missing".to_owned() };
    accepted(fx.ledger.finish(finish(end(&first, "w", ending, t(9)), Some(figures(20, 0)))).await);
    assert_eq!(settled(fx, &first).await, (JobState::Settled, Some(JobOutcome::Released)));
    assert_eq!((fx.used(&limits()[0], t(9)).await, fx.load("w", t(9)).await), ((20, 0), 0));
}

/// A task lives through every kind of attempt, and the ledger adds up.
pub async fn a_whole_life_adds_up(fx: &Fixture) {
    fx.agent("w").await;
    fx.create(NewTask { estimated_tokens: 50u32.into(), ..task("a") }).await;
    let endings: [(Ending, u32); 5] = [
        (released(), 10),
        (failed_until(t(100)), 20),
        (Ending::Blocked { reason: String::new() }, 30),
        (failed_until(t(200)), 41),
        (done("at last"), 100),
    ];
    let mut secs = 0;
    for (number, (ending, tokens)) in (1..).zip(endings) {
        let attempt = job("a", number);
        fx.take(limited(dispatched(assign(&attempt, "w", t(secs)), 1), &limits(), 50)).await.unwrap();
        let start = StartAttempt {
            job: attempt.clone(),
            agent_id: Some(id("w")),
            incarnation: Some(1),
            now: t(secs),
        };
        fx.ledger.start(start).await.unwrap();
        let blocks = matches!(ending, Ending::Blocked { .. });
        accepted(
            fx.ledger.finish(finish(end(&attempt, "w", ending, t(secs + 1)), Some(figures(tokens, 0)))).await,
        );
        if blocks {
            let unblock = agentic_core::port::Block { task: id("a"), reason: None, now: t(secs + 2) };
            fx.tasks.block(unblock).await.unwrap();
        }
        secs += 100;
    }
    let task = fx.task("a", t(secs)).await;
    assert_eq!((task.status, task.attempt, task.retry_count), (TaskStatus::Completed, 5, 2));
    assert_eq!(fx.used(&limits()[0], t(secs)).await, (10 + 10 + 30 + 21 + 100, 0));
    assert_eq!(fx.used(&limits()[1], t(secs)).await, (5, 0));
    conflict(fx.take(assign(&job("a", 6), "w", t(secs))).await, ConflictCode::NotClaimable);
}

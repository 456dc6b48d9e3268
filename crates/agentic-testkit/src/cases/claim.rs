//! Claiming, renewing and running out: the task's half of a lease.

use agentic_core::{
    error::{ConflictCode, Kind},
    event::EventType,
    port::{CancelTask, Progress, Renew, StartAttempt},
    task::{NewTask, TaskStatus},
};

use crate::{
    Fixture,
    expect::{accepted, conflict, not_found},
    fixture::at_once,
    given::{after, claim, done, end, failed_until, id, job, swept, t, task},
};

fn renew(attempt: u32, agent: &str, until: i64, now: i64) -> Renew {
    Renew { job: job("a", attempt), agent_id: id(agent), expires_at: t(until), now: t(now) }
}

async fn claimed(fx: &Fixture) {
    fx.create(task("a")).await;
    fx.tasks.claim(claim(&job("a", 1), "w", t(0))).await.unwrap();
}

/// Of sixteen agents that claim a task at once, one gets it; the others learn who.
pub async fn claim_has_one_winner(fx: &Fixture) {
    fx.create(task("a")).await;
    let answers = at_once(16, |i| {
        let (tasks, claim) = (fx.tasks.clone(), claim(&job("a", 1), &format!("agent-{i}"), t(1)));
        async move { tasks.claim(claim).await }
    })
    .await;
    let won: Vec<_> = answers.iter().filter_map(|answer| answer.as_ref().ok()).collect();
    assert_eq!(won.len(), 1, "{answers:?}");
    assert_eq!((won[0].status, won[0].attempt), (TaskStatus::InProgress, 1));
    let winner = won[0].claimed_by.clone();
    for lost in answers.iter().filter(|answer| answer.is_err()) {
        assert_eq!(conflict(lost.clone(), ConflictCode::AlreadyClaimed), winner);
    }
    assert_eq!(fx.task("a", t(1)).await.claimed_by, winner);
    assert_eq!(fx.count(EventType::TaskClaimed).await, 1);
}

/// A claim sets the holder, the fence and the lease, and makes the attempt.
pub async fn a_claim_makes_an_attempt(fx: &Fixture) {
    fx.create(task("a")).await;
    let request = agentic_core::port::Claim {
        deadline: Some(t(600)),
        incarnation: Some(3),
        dispatched: true,
        ..claim(&job("a", 1), "w", t(5))
    };
    let task = fx.tasks.claim(request).await.unwrap();
    assert_eq!((task.status, task.attempt), (TaskStatus::InProgress, 1));
    assert_eq!((task.claimed_by, task.claimed_at), (Some(id("w")), Some(t(5))));
    assert_eq!(task.lease_expires_at, Some(t(65)));
    let attempt = fx.tasks.attempt(&job("a", 1)).await.unwrap().unwrap();
    assert_eq!((attempt.agent_id, attempt.incarnation, attempt.claimed_at), (id("w"), 3, t(5)));
    assert_eq!((attempt.lease, attempt.deadline), (crate::given::LEASE, Some(t(600))));
    assert_eq!((attempt.started_at, attempt.ended_at, attempt.outcome), (None, None, None));
    let kinds = [EventType::TaskCreated, EventType::TaskClaimed, EventType::TaskDispatched];
    assert_eq!(fx.kinds("a").await, kinds);
}

/// Who takes a task itself has started it.
pub async fn a_claim_of_its_own_starts(fx: &Fixture) {
    claimed(fx).await;
    assert_eq!(fx.tasks.attempt(&job("a", 1)).await.unwrap().unwrap().started_at, Some(t(0)));
    assert_eq!(fx.kinds("a").await, [EventType::TaskCreated, EventType::TaskClaimed]);
}

/// A task can be claimed from its `not_before` or `retry_at` on, to the millisecond.
pub async fn a_claim_waits_for_its_time(fx: &Fixture) {
    fx.create(NewTask { not_before: Some(t(10)), ..task("a") }).await;
    let just_before = agentic_core::clock::Timestamp::from_millis(t(10).millis() - 1);
    conflict(fx.tasks.claim(claim(&job("a", 1), "w", just_before)).await, ConflictCode::NotReady);
    fx.tasks.claim(claim(&job("a", 1), "w", t(10))).await.unwrap();
    accepted(fx.tasks.end_attempt(end(&job("a", 1), "w", failed_until(t(30)), t(20))).await);
    conflict(fx.tasks.claim(claim(&job("a", 2), "w", t(29))).await, ConflictCode::NotReady);
    let task = fx.tasks.claim(claim(&job("a", 2), "w", t(30))).await.unwrap();
    assert_eq!((task.attempt, task.retry_at), (2, None));
}

/// A claim needs no promotion: the clock alone makes a task claimable.
pub async fn a_claim_needs_no_promotion(fx: &Fixture) {
    fx.create(NewTask { not_before: Some(t(10)), ..task("a") }).await;
    assert_eq!(fx.tasks.claim(claim(&job("a", 1), "w", t(11))).await.unwrap().status, TaskStatus::InProgress);
    assert_eq!(fx.tasks.promote_due(t(11), 10).await.unwrap(), 0);
}

/// A claim names the attempt that it makes: one more than the latest.
pub async fn a_claim_names_the_next_attempt(fx: &Fixture) {
    fx.create(task("a")).await;
    for wrong in [0, 2, u32::MAX] {
        let answer = fx.tasks.claim(claim(&job("a", wrong), "w", t(0))).await;
        conflict(answer, ConflictCode::StaleAttempt);
    }
    fx.tasks.claim(claim(&job("a", 1), "w", t(0))).await.unwrap();
    accepted(fx.tasks.end_attempt(end(&job("a", 1), "w", crate::given::released(), t(1))).await);
    conflict(fx.tasks.claim(claim(&job("a", 1), "w", t(2))).await, ConflictCode::StaleAttempt);
    assert_eq!(fx.tasks.claim(claim(&job("a", 2), "w", t(2))).await.unwrap().attempt, 2);
}

/// What is blocked or over cannot be claimed, and who is not there is not found.
pub async fn only_what_is_pending_is_claimed(fx: &Fixture) {
    fx.create_all(vec![task("open"), after("blocked", &["open"]), task("gone"), task("done")], t(0)).await;
    let cancel =
        CancelTask { task: id("gone"), status: TaskStatus::Cancelled, reason: String::new(), now: t(0) };
    fx.tasks.cancel(cancel).await.unwrap();
    fx.tasks.claim(claim(&job("done", 1), "w", t(0))).await.unwrap();
    accepted(fx.tasks.end_attempt(end(&job("done", 1), "w", done(""), t(1))).await);
    for (name, attempt) in [("blocked", 1), ("gone", 1), ("done", 2)] {
        let answer = fx.tasks.claim(claim(&job(name, attempt), "w", t(2))).await;
        conflict(answer, ConflictCode::NotClaimable);
    }
    not_found(fx.tasks.claim(claim(&job("nobody", 1), "w", t(2))).await, Kind::Task, "nobody");
}

/// A holder's lease is renewed; nobody else's is.
pub async fn a_holder_renews_its_lease(fx: &Fixture) {
    claimed(fx).await;
    let task = fx.tasks.renew(renew(1, "w", 90, 30)).await.unwrap();
    assert_eq!(task.lease_expires_at, Some(t(90)));
    let holder = conflict(fx.tasks.renew(renew(1, "x", 90, 30)).await, ConflictCode::NotHolder);
    assert_eq!(holder, Some(id("w")));
    conflict(fx.tasks.renew(renew(2, "w", 90, 30)).await, ConflictCode::StaleAttempt);
    accepted(fx.tasks.end_attempt(end(&job("a", 1), "w", done(""), t(40))).await);
    conflict(fx.tasks.renew(renew(1, "w", 90, 41)).await, ConflictCode::IllegalTransition);
}

/// A lease that has run out can be renewed until somebody reaps it.
pub async fn a_run_out_lease_is_renewed_until_it_is_reaped(fx: &Fixture) {
    claimed(fx).await;
    fx.tasks.renew(renew(1, "w", 140, 80)).await.unwrap();
    assert!(fx.tasks.expired(t(139), 10).await.unwrap().is_empty());
    accepted(fx.tasks.end_attempt(swept(&job("a", 1), crate::given::expired_until(t(150)), t(140))).await);
    conflict(fx.tasks.renew(renew(1, "w", 200, 141)).await, ConflictCode::IllegalTransition);
}

/// Leases run out exactly at their instant; the longest ago is told first, and at most as many as asked for.
pub async fn expired_names_what_ran_out(fx: &Fixture) {
    for (name, at) in [("a", 5), ("b", 0), ("c", 9)] {
        fx.create(task(name)).await;
        fx.tasks.claim(claim(&job(name, 1), "w", t(at))).await.unwrap();
    }
    assert!(fx.tasks.expired(t(59), 10).await.unwrap().is_empty());
    let ran_out = |now: i64, limit: usize| async move {
        let expired = fx.tasks.expired(t(now), limit).await.unwrap();
        expired.into_iter().map(|(task, attempt)| (task.id.to_string(), attempt.id)).collect::<Vec<_>>()
    };
    let [a, b, c] = ["a", "b", "c"].map(|name| (name.to_owned(), job(name, 1)));
    assert_eq!(ran_out(60, 10).await, std::slice::from_ref(&b));
    assert_eq!(ran_out(69, 10).await, [b.clone(), a.clone(), c]);
    assert_eq!(ran_out(69, 2).await, [b, a]);
}

/// More than a store may read at once is read whole and in order, of one age by id: what is ready, what is assigned, and
/// what ran out.
pub async fn many_are_read_in_order(fx: &Fixture) {
    const MANY: usize = 510;
    let names: Vec<String> = (0..MANY).map(|number| format!("t{number:03}")).collect();
    fx.create_all(names.iter().map(|name| task(name)).collect(), t(0)).await;
    let lane = agentic_core::lane::Lane::default();
    let ready = fx.tasks.ready(&lane, MANY).await.unwrap();
    assert_eq!(ready.iter().map(|head| head.id.as_str()).collect::<Vec<_>>(), names);
    for (index, name) in names.iter().enumerate() {
        let claim = claim(&job(name, 1), "w", t(0));
        let dispatched = index != 1;
        let claim = agentic_core::port::Claim { incarnation: Some(1), dispatched, ..claim };
        fx.tasks.claim(claim).await.unwrap();
    }
    for limit in [1, 100, 101, MANY] {
        let assigned = fx.tasks.assigned(&id("w"), 1, limit).await.unwrap();
        let found: Vec<&str> = assigned.iter().map(|task| task.id.as_str()).collect();
        let expected = names.iter().enumerate().filter(|(index, _)| *index != 1).map(|(_, name)| name);
        assert_eq!(found, expected.take(limit).collect::<Vec<_>>(), "{limit} assigned");
        let expired = fx.tasks.expired(t(60), limit).await.unwrap();
        let found: Vec<&str> = expired.iter().map(|(task, _)| task.id.as_str()).collect();
        assert_eq!(found, names[..limit], "{limit} that ran out");
    }
}

/// The attempts assigned to one start of an agent and not started are told, oldest first.
pub async fn assigned_names_what_is_to_start(fx: &Fixture) {
    for (name, at, incarnation) in [("a", 2, 1), ("b", 1, 1), ("c", 0, 2), ("d", 3, 1)] {
        fx.create(task(name)).await;
        let claim = claim(&job(name, 1), "w", t(at));
        let claim = agentic_core::port::Claim { incarnation: Some(incarnation), dispatched: true, ..claim };
        fx.tasks.claim(claim).await.unwrap();
    }
    let names = |incarnation: u64, limit: usize| async move {
        let tasks = fx.tasks.assigned(&id("w"), incarnation, limit).await.unwrap();
        tasks.into_iter().map(|task| task.id.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(names(1, 10).await, ["b", "a", "d"]);
    assert_eq!(names(1, 2).await, ["b", "a"]);
    assert_eq!(names(2, 10).await, ["c"]);
    let start = StartAttempt { job: job("b", 1), agent_id: Some(id("w")), incarnation: Some(1), now: t(4) };
    fx.tasks.start(start).await.unwrap();
    accepted(fx.tasks.end_attempt(end(&job("a", 1), "w", crate::given::released(), t(4))).await);
    assert_eq!(names(1, 10).await, ["d"]);
    assert!(fx.tasks.assigned(&id("x"), 1, 10).await.unwrap().is_empty());
}

/// The task's half of a start is once, and needs a lease that lives.
pub async fn a_start_needs_a_live_lease(fx: &Fixture) {
    for name in ["a", "b"] {
        fx.create(task(name)).await;
        let claim = agentic_core::port::Claim { dispatched: true, ..claim(&job(name, 1), "w", t(0)) };
        fx.tasks.claim(claim).await.unwrap();
    }
    let start = |name: &str, secs: i64| {
        fx.tasks.start(StartAttempt {
            job: job(name, 1),
            agent_id: Some(id("w")),
            incarnation: None,
            now: t(secs),
        })
    };
    conflict(start("a", 60).await, ConflictCode::LeaseLost);
    for secs in [59, 60, 61] {
        start("b", secs).await.unwrap();
        assert_eq!(fx.tasks.attempt(&job("b", 1)).await.unwrap().unwrap().started_at, Some(t(59)));
    }
}

/// A holder notes how far it is; what does not change is not told.
pub async fn progress_is_noted_by_the_holder(fx: &Fixture) {
    claimed(fx).await;
    let said = |progress: Option<u8>, notes: Option<&str>, now: i64| Progress {
        task: id("a"),
        attempt: Some(1),
        agent_id: Some(id("w")),
        progress,
        notes: notes.map(str::to_owned),
        now: t(now),
    };
    let task = fx.tasks.progress(said(Some(40), Some("half"), 5)).await.unwrap();
    assert_eq!((task.progress, task.notes.as_deref(), task.updated_at), (40, Some("half"), t(5)));
    let task = fx.tasks.progress(said(Some(60), None, 6)).await.unwrap();
    assert_eq!((task.progress, task.notes.as_deref()), (60, Some("half")), "what is absent stays");
    fx.tasks.progress(said(Some(60), Some("half"), 7)).await.unwrap();
    fx.tasks.progress(said(None, None, 8)).await.unwrap();
    assert_eq!(fx.count(EventType::TaskUpdated).await, 2);
    let stranger = Progress { agent_id: Some(id("x")), ..said(Some(1), None, 9) };
    conflict(fx.tasks.progress(stranger).await, ConflictCode::NotHolder);
    let stale = Progress { attempt: Some(2), ..said(Some(1), None, 9) };
    conflict(fx.tasks.progress(stale).await, ConflictCode::StaleAttempt);
    let operator = Progress { attempt: None, agent_id: None, ..said(Some(70), None, 9) };
    assert_eq!(fx.tasks.progress(operator).await.unwrap().progress, 70);
}

/// A task that nobody runs has no progress to note; a new attempt begins at nothing.
pub async fn progress_is_of_one_attempt(fx: &Fixture) {
    claimed(fx).await;
    let said = |attempt: u32| Progress {
        task: id("a"),
        attempt: Some(attempt),
        agent_id: Some(id("w")),
        progress: Some(50),
        notes: None,
        now: t(1),
    };
    fx.tasks.progress(said(1)).await.unwrap();
    accepted(fx.tasks.end_attempt(end(&job("a", 1), "w", crate::given::released(), t(2))).await);
    conflict(fx.tasks.progress(said(1)).await, ConflictCode::IllegalTransition);
    assert_eq!(fx.tasks.claim(claim(&job("a", 2), "w", t(3))).await.unwrap().progress, 0);
}

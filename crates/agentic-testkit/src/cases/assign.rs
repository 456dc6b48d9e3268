//! Assigning and starting: the claim and the admission in one step.

use agentic_core::{
    error::{ConflictCode, Error, Kind},
    event::EventType,
    job::JobState,
    port::{Admission, Assign, Claim, Reap, SetDraining, StartAttempt},
    task::{NewTask, TaskStatus},
};

use crate::{
    Fixture,
    expect::{accepted, conflict, invalid, not_found, refused},
    fixture::at_once,
    given::{
        assign, concurrent, daily_jobs, daily_tokens, dispatched, done, end, finish, hourly_requests, id,
        job, limited, register, released, t, task,
    },
};

/// A task whose id a pruned one had is assigned as that was, wherever its jobs stand.
pub async fn a_task_with_the_id_of_a_pruned_one_is_assigned(fx: &Fixture) {
    let limits = [daily_jobs("w", 5), concurrent("w", 1)];
    for begin in [0, 100, 200] {
        fx.create_all(vec![task("a")], t(begin)).await;
        let assign = limited(assign(&job("a", 1), "w", t(begin + 1)), &limits, 0);
        let task_created_at = Some(fx.task("a", t(begin)).await.created_at);
        let id = format!("admission {begin}");
        let admission = Admission { id, task_created_at, ..assign.admission };
        let task = fx.take(Assign { admission, ..assign }).await.unwrap();
        assert_eq!((task.attempt, task.status), (1, TaskStatus::InProgress));
        accepted(fx.ledger.finish(finish(end(&job("a", 1), "w", done(""), t(begin + 2)), None)).await);
        assert_eq!(fx.tasks.prune(t(begin + 3), 10, t(begin + 3)).await.unwrap(), 1);
    }
    assert_eq!(fx.used(&limits[0], t(300)).await, (3, 0));
}

/// A refused admission claims nothing, a lost claim admits nothing; together they do both.
pub async fn assign_is_both_or_neither(fx: &Fixture) {
    fx.create_all(vec![task("a"), task("b")], t(0)).await;
    let limits = [daily_tokens("w", 10), concurrent("w", 1)];
    let refusal = refused(fx.take(limited(assign(&job("a", 1), "w", t(1)), &limits, 11)).await);
    assert_eq!(refusal.key.as_ref(), Some(&limits[0].key));
    assert_eq!(fx.task("a", t(1)).await.status, TaskStatus::Pending);
    assert_eq!(fx.tasks.attempt(&job("a", 1)).await.unwrap(), None);
    let before = fx.events.last().await.unwrap();
    conflict(fx.take(limited(assign(&job("a", 2), "w", t(1)), &limits, 5)).await, ConflictCode::StaleAttempt);
    not_found(fx.take(limited(assign(&job("x", 1), "w", t(1)), &limits, 5)).await, Kind::Task, "x");
    assert_eq!(fx.allowances.job(&job("a", 2)).await.unwrap(), None);
    assert_eq!(fx.allowances.job(&job("x", 1)).await.unwrap(), None);
    assert_eq!((fx.load("w", t(1)).await, fx.events.last().await.unwrap()), (0, before));

    let task = fx.take(limited(assign(&job("a", 1), "w", t(1)), &limits, 5)).await.unwrap();
    assert_eq!((task.status, task.attempt, task.lease_expires_at), (TaskStatus::InProgress, 1, Some(t(61))));
    let made = fx.job(&job("a", 1)).await;
    assert_eq!((made.agent_id.clone(), made.expires_at), (id("w"), t(61)));
    assert_eq!(fx.load("w", t(1)).await, 1);
    refused(fx.take(limited(assign(&job("b", 1), "w", t(1)), &limits, 1)).await);
    assert_eq!(fx.task("b", t(1)).await.status, TaskStatus::Pending);
}

/// A task that somebody holds is a conflict, before any limit is asked.
pub async fn a_conflict_comes_before_a_refusal(fx: &Fixture) {
    fx.running("a", "x").await;
    let limits = [concurrent("w", 0)];
    let answer = fx.take(limited(assign(&job("a", 2), "w", t(1)), &limits, 0)).await;
    assert_eq!(conflict(answer, ConflictCode::AlreadyClaimed), Some(id("x")));
}

/// Both halves must speak of the same job, agent and expiry.
pub async fn the_halves_must_agree(fx: &Fixture) {
    fx.create(task("a")).await;
    let whole = || assign(&job("a", 1), "w", t(0));
    let admissions = [
        Admission { job: job("a", 2), ..whole().admission },
        Admission { agent_id: id("x"), ..whole().admission },
        Admission { expires_at: t(61), ..whole().admission },
    ];
    for admission in admissions {
        invalid(fx.take(Assign { admission, ..whole() }).await, "assign");
    }
    assert_eq!(fx.task("a", t(0)).await.attempt, 0);
}

/// What a dispatcher assigns waits for its agent to start it, and holds its places until then.
pub async fn a_dispatched_attempt_waits_for_its_start(fx: &Fixture) {
    let agent = fx.agent("w").await;
    fx.create(task("a")).await;
    let limits = [daily_jobs("w", 5), hourly_requests("m", 5)];
    let assign = limited(dispatched(assign(&job("a", 1), "w", t(0)), agent.incarnation), &limits, 0);
    fx.take(assign).await.unwrap();
    assert_eq!(fx.tasks.attempt(&job("a", 1)).await.unwrap().unwrap().started_at, None);
    assert_eq!(fx.job(&job("a", 1)).await.state, JobState::Reserved);
    assert_eq!((fx.used(&limits[0], t(0)).await, fx.used(&limits[1], t(0)).await), ((0, 1), (0, 1)));
    let told = [EventType::TaskCreated, EventType::TaskClaimed, EventType::TaskDispatched];
    assert_eq!(fx.kinds("a").await, told);
}

/// Who takes a task itself starts it in the same step.
pub async fn a_taken_attempt_starts_at_once(fx: &Fixture) {
    fx.create(task("a")).await;
    let limits = [daily_jobs("w", 5), hourly_requests("m", 5)];
    fx.take(limited(assign(&job("a", 1), "w", t(0)), &limits, 0)).await.unwrap();
    assert_eq!(fx.tasks.attempt(&job("a", 1)).await.unwrap().unwrap().started_at, Some(t(0)));
    assert_eq!(fx.job(&job("a", 1)).await.state, JobState::Started);
    assert_eq!((fx.used(&limits[0], t(0)).await, fx.used(&limits[1], t(0)).await), ((1, 0), (1, 0)));
    assert_eq!(fx.count(EventType::UsageRecorded).await, 1);
}

/// A dispatcher gives work only to the present start of an agent that is registered, online and not draining.
pub async fn only_a_ready_agent_is_given_work(fx: &Fixture) {
    fx.create(task("a")).await;
    let give = |incarnation: u64| fx.take(dispatched(assign(&job("a", 1), "w", t(50)), incarnation));
    conflict(give(1).await, ConflictCode::AgentUnavailable);
    fx.agent("w").await;
    conflict(give(2).await, ConflictCode::StaleIncarnation);
    fx.agents.reap(Reap { ttl: crate::given::LEASE / 2, limit: 9, now: t(40) }).await.unwrap();
    conflict(give(1).await, ConflictCode::AgentUnavailable);
    fx.agents.heartbeat(crate::given::heartbeat("w", None, t(41))).await.unwrap();
    let drain = |draining: bool| SetDraining { agent_id: id("w"), draining, now: t(42) };
    fx.agents.set_draining(drain(true)).await.unwrap();
    conflict(give(1).await, ConflictCode::AgentUnavailable);
    fx.agents.set_draining(drain(false)).await.unwrap();
    fx.agents.register(register("w", t(43))).await.unwrap();
    conflict(give(1).await, ConflictCode::StaleIncarnation);
    fx.agents.deregister(&id("w"), t(44)).await.unwrap();
    conflict(give(2).await, ConflictCode::AgentUnavailable);
    assert_eq!((fx.task("a", t(50)).await.attempt, fx.load("w", t(50)).await), (0, 0));
    fx.agents.register(register("w", t(45))).await.unwrap();
    give(3).await.unwrap();
}

/// An agent that never registered may take work itself; one that drains or was restarted may not.
pub async fn who_takes_work_itself(fx: &Fixture) {
    fx.create_all(vec![task("a"), task("b"), task("c")], t(0)).await;
    fx.take(assign(&job("a", 1), "stranger", t(0))).await.unwrap();
    let claims = |name: &str, incarnation: Option<u64>| {
        let assign = assign(&job(name, 1), "w", t(50));
        fx.take(Assign { claim: Claim { incarnation, ..assign.claim }, ..assign })
    };
    conflict(claims("b", Some(1)).await, ConflictCode::AgentUnavailable);
    fx.agent("w").await;
    conflict(claims("b", Some(2)).await, ConflictCode::StaleIncarnation);
    claims("b", Some(1)).await.unwrap();
    fx.agents.reap(Reap { ttl: crate::given::LEASE / 2, limit: 9, now: t(40) }).await.unwrap();
    claims("c", None).await.unwrap();
    accepted(fx.ledger.finish(finish(end(&job("c", 1), "w", released(), t(51)), None)).await);
    fx.agents.set_draining(SetDraining { agent_id: id("w"), draining: true, now: t(52) }).await.unwrap();
    let assign = assign(&job("c", 2), "w", t(53));
    conflict(fx.take(assign).await, ConflictCode::AgentUnavailable);
}

/// Of sixteen dispatchers that assign one task at once, one does.
pub async fn a_task_raced_for_is_assigned_once(fx: &Fixture) {
    fx.create(task("a")).await;
    let answers = at_once(16, |i| {
        let assign = limited(assign(&job("a", 1), &format!("w{i}"), t(0)), &[concurrent("x", 99)], 3);
        let assign = Assign { admission: Admission { id: format!("{i}"), ..assign.admission }, ..assign };
        let ledger = fx.ledger.clone();
        async move { ledger.assign(assign).await }
    })
    .await;
    let won: Vec<_> = answers.iter().flatten().collect();
    assert_eq!(won.len(), 1);
    let winner = won[0].task.claimed_by.clone().unwrap();
    for lost in answers.iter().filter(|answer| answer.is_err()) {
        assert_eq!(conflict(lost.clone(), ConflictCode::AlreadyClaimed), Some(winner.clone()));
    }
    assert_eq!(fx.job(&job("a", 1)).await.agent_id, winner);
    let agents: Vec<_> = (0..16).map(|i| id(&format!("w{i}"))).collect();
    assert_eq!(fx.allowances.active_jobs(&agents, t(0)).await.unwrap().iter().sum::<u32>(), 1);
}

/// Of sixty-four assignments at once under one limit, exactly as many go through as there is room for.
pub async fn assignments_never_pass_a_cap(fx: &Fixture) {
    let names: Vec<String> = (0..64).map(|i| format!("t{i:02}")).collect();
    fx.create_all(names.iter().map(|name| task(name)).collect(), t(0)).await;
    let limits = [concurrent("w", 9), daily_tokens("w", 70)];
    let answers = at_once(64, |i| {
        let assign = limited(assign(&job(&format!("t{i:02}"), 1), "w", t(0)), &limits, 10);
        let ledger = fx.ledger.clone();
        async move { ledger.assign(assign).await }
    })
    .await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 7, "70 tokens, 10 each");
    assert!(answers.iter().all(|answer| matches!(answer, Ok(_) | Err(Error::Refused(_)))), "{answers:?}");
    assert_eq!(fx.tasks.counts().await.unwrap().get(&TaskStatus::InProgress), Some(&7));
    assert_eq!(fx.load("w", t(0)).await, 7);
}

/// A worker pool drains a backlog: nothing is run twice, nothing is lost, and no cap is ever passed.
pub async fn a_backlog_is_worked_off_once(fx: &Fixture) {
    const TASKS: usize = 48;
    fx.create_all((0..TASKS).map(|i| task(&format!("t{i:02}"))).collect(), t(0)).await;
    let limits = [concurrent("shared", 4)];
    let done_by = at_once(8, |_| {
        let (ports, limits) = ((**fx).clone(), limits.clone());
        async move {
            let mut done_here = 0usize;
            loop {
                let heads = ports.tasks.ready(&agentic_core::lane::Lane::default(), 8).await.unwrap();
                if heads.is_empty() {
                    return done_here;
                }
                for head in heads {
                    let job = job(head.id.as_str(), head.attempt + 1);
                    match ports.ledger.assign(limited(assign(&job, "shared", t(1)), &limits, 0)).await {
                        Ok(_) => {
                            let load = ports.allowances.active_jobs(&[id("shared")], t(1)).await.unwrap()[0];
                            assert!(load <= 4, "{load} at once");
                            let end = end(&job, "shared", done("ok"), t(2));
                            ports.ledger.finish(finish(end, None)).await.unwrap().accepted().unwrap();
                            done_here += 1;
                        }
                        Err(Error::Conflict { .. } | Error::Refused(_)) => tokio::task::yield_now().await,
                        Err(other) => panic!("{other}"),
                    }
                }
            }
        }
    })
    .await;
    assert_eq!(done_by.iter().sum::<usize>(), TASKS);
    assert_eq!(fx.tasks.counts().await.unwrap(), [(TaskStatus::Completed, 48)].into());
    assert_eq!(fx.count(EventType::TaskClaimed).await, TASKS);
}

/// An agent that refuses its work by letting it run out makes room again.
pub async fn an_unstarted_attempt_gives_everything_back(fx: &Fixture) {
    let agent = fx.agent("w").await;
    fx.create(task("a")).await;
    let limits = [daily_jobs("w", 1), hourly_requests("m", 1), daily_tokens("w", 10), concurrent("w", 1)];
    let first = limited(dispatched(assign(&job("a", 1), "w", t(0)), agent.incarnation), &limits, 10);
    fx.take(first).await.unwrap();
    for limit in &limits {
        assert_eq!(fx.used(limit, t(60)).await, (0, 0), "{}", limit.key);
    }
    let sweep =
        crate::given::swept(&job("a", 1), agentic_core::attempt::Ending::Expired { next: None }, t(60));
    accepted(fx.ledger.finish(finish(sweep, None)).await);
    assert_eq!(fx.job(&job("a", 1)).await.state, JobState::Void);
    fx.take(limited(assign(&job("a", 2), "w", t(60)), &limits, 10)).await.unwrap();
}

/// The start of an attempt uses one job and one request, whoever repeats it.
pub async fn start_is_once(fx: &Fixture) {
    fx.agent("w").await;
    let first = fx.assigned("a", "w").await;
    let limits = [daily_jobs("w", 5)];
    fx.create(NewTask { model: Some(id("m")), ..task("b") }).await;
    let second = job("b", 1);
    fx.take(limited(dispatched(assign(&second, "w", t(0)), 1), &limits, 0)).await.unwrap();
    for secs in [5, 6, 7] {
        for job in [&first, &second] {
            let task = fx.start(job, "w", t(secs)).await.unwrap();
            assert_eq!((task.status, task.lease_expires_at), (TaskStatus::InProgress, Some(t(60))));
            assert_eq!(fx.tasks.attempt(job).await.unwrap().unwrap().started_at, Some(t(5)));
            assert_eq!(fx.job(job).await.started_at, Some(t(5)));
        }
        assert_eq!(fx.used(&limits[0], t(secs)).await, (1, 0));
    }
    assert_eq!(fx.count(EventType::UsageRecorded).await, 2);
    assert!(fx.tasks.assigned(&id("w"), 1, 9).await.unwrap().is_empty());
}

/// Of sixteen starts of one attempt at once, one counts and all are answered.
pub async fn a_start_raced_for_counts_once(fx: &Fixture) {
    fx.agent("w").await;
    let first = fx.assigned("a", "w").await;
    let answers = at_once(16, |_| {
        let start =
            StartAttempt { job: first.clone(), agent_id: Some(id("w")), incarnation: Some(1), now: t(1) };
        let ledger = fx.ledger.clone();
        async move { ledger.start(start).await }
    })
    .await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert_eq!(fx.count(EventType::UsageRecorded).await, 1);
}

/// Only the holder starts its attempt, as the start of it that was given it, while the lease lives.
pub async fn a_start_is_the_holders(fx: &Fixture) {
    fx.agent("w").await;
    let first = fx.assigned("a", "w").await;
    let start = |agent: &str, incarnation: Option<u64>, number: u32, secs: i64| {
        let (job, agent_id) = (job("a", number), Some(id(agent)));
        fx.ledger.start(StartAttempt { job, agent_id, incarnation, now: t(secs) })
    };
    assert_eq!(conflict(start("x", None, 1, 1).await, ConflictCode::NotHolder), Some(id("w")));
    conflict(start("w", Some(2), 1, 1).await, ConflictCode::StaleIncarnation);
    conflict(start("w", Some(1), 2, 1).await, ConflictCode::StaleAttempt);
    conflict(start("w", Some(1), 1, 60).await, ConflictCode::LeaseLost);
    let job = fx.job(&first).await;
    assert_eq!((job.state, job.started_at), (JobState::Reserved, None));
    start("w", Some(1), 1, 59).await.unwrap();
    accepted(fx.ledger.finish(finish(end(&first, "w", done(""), t(59)), None)).await);
    conflict(start("w", Some(1), 1, 59).await, ConflictCode::IllegalTransition);
}

/// A restarted agent does not get the attempts that its last start has begun.
pub async fn a_restarted_agent_starts_afresh(fx: &Fixture) {
    fx.agent("w").await;
    fx.assigned("a", "w").await;
    fx.assigned("b", "w").await;
    fx.start(&job("a", 1), "w", t(1)).await.unwrap();
    let second = fx.agents.register(register("w", t(2))).await.unwrap();
    assert!(fx.tasks.assigned(&id("w"), second.incarnation, 9).await.unwrap().is_empty());
    for name in ["a", "b"] {
        let agent_id = Some(id("w"));
        let start = StartAttempt { job: job(name, 1), agent_id, incarnation: Some(2), now: t(3) };
        conflict(fx.ledger.start(start).await, ConflictCode::StaleIncarnation);
    }
}

/// A start without an admission here changes nothing.
pub async fn a_start_without_an_admission_changes_nothing(fx: &Fixture) {
    fx.create(task("a")).await;
    let claim = Claim { dispatched: true, ..crate::given::claim(&job("a", 1), "w", t(0)) };
    fx.tasks.claim(claim).await.unwrap();
    not_found(fx.start(&job("a", 1), "w", t(1)).await, Kind::Job, "a#1");
    assert_eq!(fx.tasks.attempt(&job("a", 1)).await.unwrap().unwrap().started_at, None);
}

//! Admission: room under every limit in one step, or nothing.

use agentic_core::{
    amount::Amount,
    error::{ConflictCode, Kind},
    id::JobId,
    job::{JobOutcome, JobState},
    limit::{Limit, Meter, MeterKey, Scope, Window},
    port::{Admission, ExpiredJobs, Extend, VoidJob},
};

use crate::{
    Fixture,
    expect::{conflict, not_found, refused},
    fixture::at_once,
    given::{
        MIDNIGHT, admission, asking, concurrent, daily_jobs, daily_tokens, extend, hourly_requests, id, job,
        limit, model_tokens, n, settle, start_job, t,
    },
};

fn nth(number: usize) -> JobId {
    job(&format!("t{number}"), 1)
}

fn void(job: &JobId, admission: &str) -> VoidJob {
    VoidJob { job: job.clone(), admission: admission.to_owned(), now: t(1) }
}

fn counted(limit: &Limit) -> Limit {
    Limit { cap: None, ..limit.clone() }
}

/// Whatever is counted, of sixty-four jobs that ask at once exactly as many get in as there is room for.
pub async fn admission_never_passes_a_cap(fx: &Fixture) {
    let limits = [
        (daily_tokens("w", 50), 10, 5),
        (daily_jobs("w", 7), 0, 7),
        (concurrent("w", 3), 0, 3),
        (hourly_requests("m", 4), 0, 4),
        (model_tokens("m", 17), 2, 8),
        (limit(Scope::Fleet, Meter::ActiveJobs, Window::Live, 6), 0, 6),
        (limit(Scope::Project(id("p")), Meter::Jobs, Window::Lifetime, 2), 0, 2),
        (limit(Scope::AgentModel(id("w"), id("m")), Meter::Requests, Window::Sliding(60), 9), 0, 9),
    ];
    for (round, (limit, ask, room)) in limits.into_iter().enumerate() {
        // A day of its own for each, so that the reservations of the last one have run out.
        let now = t(86_400 * i64::try_from(round).unwrap());
        let answers = at_once(64, |i| {
            let asks = admission(&job(&format!("r{round}-{i}"), 1), "w", now);
            let asks =
                Admission { project: Some(id("p")), ..asking(asks, std::slice::from_ref(&limit), ask) };
            let allowances = fx.allowances.clone();
            async move { allowances.admit(asks).await }
        })
        .await;
        assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), room, "{}", limit.key);
        for answer in answers.into_iter().filter(Result::is_err) {
            assert_eq!(refused(answer).key.as_ref(), Some(&limit.key));
        }
        let (used, reserved) = fx.used(&limit, now).await;
        assert!(used + reserved <= limit.cap.unwrap().get(), "{}: {used} + {reserved}", limit.key);
    }
}

/// Under several limits at once, the jobs that get in are those that fit under all of them.
pub async fn admission_holds_every_cap_at_once(fx: &Fixture) {
    let limits = [daily_tokens("w", 100), concurrent("w", 9), model_tokens("m", 35), daily_jobs("w", 50)];
    let answers = at_once(32, |i| {
        let asks = asking(admission(&nth(i), "w", t(0)), &limits, 5);
        let allowances = fx.allowances.clone();
        async move { allowances.admit(asks).await.is_ok() }
    })
    .await;
    assert_eq!(answers.into_iter().filter(|admitted| *admitted).count(), 7, "35 tokens, 5 each");
    assert_eq!(fx.used(&limits[0], t(0)).await, (0, 35), "a refused job holds nothing anywhere");
    assert_eq!(fx.used(&limits[1], t(0)).await, (0, 7));
}

/// Tokens fit up to the cap exactly, used and reserved ones together; one more does not.
pub async fn daily_tokens_at_the_edge(fx: &Fixture) {
    let limits = [daily_tokens("w", 100)];
    fx.spent(&nth(0), &limits, 40, t(0)).await;
    fx.admit(&nth(1), &limits, 30, t(0)).await.unwrap();
    let refusal = refused(fx.admit(&nth(2), &limits, 31, t(0)).await);
    assert_eq!(refusal.key.as_ref(), Some(&limits[0].key));
    assert_eq!((refusal.used, refusal.reserved, refusal.need), (n(40), n(30), n(31)));
    assert_eq!(refusal.cap, Some(n(100)));
    assert!(refusal.reason.contains("tokens"), "{}", refusal.reason);
    fx.admit(&nth(2), &limits, 30, t(0)).await.unwrap();
    refused(fx.admit(&nth(3), &limits, 0, t(0)).await);
}

/// At the limit is over the limit: a job that asks for nothing needs room for one.
pub async fn at_the_limit_is_over_the_limit(fx: &Fixture) {
    let limits = [daily_tokens("w", 100)];
    fx.spent(&nth(0), &limits, 99, t(0)).await;
    fx.admit(&nth(1), &limits, 0, t(0)).await.unwrap();
    fx.spent(&nth(2), &limits, 1, t(0)).await;
    let refusal = refused(fx.admit(&nth(3), &limits, 0, t(0)).await);
    assert_eq!((refusal.used, refusal.need), (n(100), n(1)));
}

/// An agent's jobs of a day, started or about to, fit up to the cap exactly.
pub async fn daily_jobs_at_the_edge(fx: &Fixture) {
    let limits = [daily_jobs("w", 2)];
    fx.spent(&nth(0), &limits, 0, t(0)).await;
    fx.admit(&nth(1), &limits, 0, t(0)).await.unwrap();
    let refusal = refused(fx.admit(&nth(2), &limits, 0, t(0)).await);
    assert_eq!((refusal.used, refusal.reserved, refusal.need), (n(1), n(1), n(1)));
    fx.allowances.void(void(&nth(1), &format!("admission of {}", nth(1)))).await.unwrap();
    fx.admit(&nth(2), &limits, 0, t(1)).await.unwrap();
}

/// An agent's jobs at once fit up to the cap exactly; the end of one makes room, its use does not fade.
pub async fn concurrent_jobs_at_the_edge(fx: &Fixture) {
    let limits = [concurrent("w", 2)];
    fx.spent(&nth(0), &limits, 5, t(0)).await;
    fx.admit(&nth(1), &limits, 0, t(0)).await.unwrap();
    let refusal = refused(fx.admit(&nth(2), &limits, 0, t(0)).await);
    assert_eq!((refusal.used, refusal.reserved, refusal.retry_at), (n(0), n(2), None));
    fx.allowances.settle(settle(&nth(0), JobOutcome::Completed, t(1))).await.unwrap();
    fx.admit(&nth(2), &limits, 0, t(1)).await.unwrap();
    refused(fx.admit(&nth(3), &limits, 0, t(1)).await);
}

/// A model's requests of an hour, over all agents, fit up to the cap exactly.
pub async fn hourly_requests_at_the_edge(fx: &Fixture) {
    let limits = [hourly_requests("m", 2)];
    fx.spent(&nth(0), &limits, 0, t(0)).await;
    let other = asking(admission(&nth(1), "x", t(0)), &limits, 0);
    fx.allowances.admit(other).await.unwrap();
    let refusal = refused(fx.admit(&nth(2), &limits, 0, t(0)).await);
    assert_eq!((refusal.used, refusal.reserved), (n(1), n(1)));
}

/// A model's tokens of a day, over all agents, fit up to the cap exactly.
pub async fn model_tokens_at_the_edge(fx: &Fixture) {
    let limits = [model_tokens("m", 10)];
    fx.spent(&nth(0), &limits, 4, t(0)).await;
    let other = asking(admission(&nth(1), "x", t(0)), &limits, 5);
    fx.allowances.admit(other).await.unwrap();
    refused(fx.admit(&nth(2), &limits, 2, t(0)).await);
    fx.admit(&nth(2), &limits, 1, t(0)).await.unwrap();
}

/// Spend admits as long as a micro-dollar is left; what a job will spend is not known, so nothing is reserved.
pub async fn spend_at_the_edge(fx: &Fixture) {
    let limits = [crate::given::spend("m", 100)];
    let spends = |number: usize, micros: u32| {
        let figures = agentic_core::usage::Figures { cost_micros: Some(n(micros)), ..Default::default() };
        crate::given::report(&nth(number), "w", figures, t(0))
    };
    for number in 0..3 {
        fx.admit(&nth(number), &limits, 0, t(0)).await.unwrap();
    }
    fx.allowances.report(spends(0, 99)).await.unwrap();
    fx.admit(&nth(3), &limits, 0, t(0)).await.unwrap();
    fx.allowances.report(spends(1, 1)).await.unwrap();
    let refusal = refused(fx.admit(&nth(4), &limits, 0, t(0)).await);
    assert_eq!((refusal.used, refusal.reserved, refusal.need), (n(100), n(0), n(1)));
    assert_eq!(refusal.retry_at, None, "a ceiling never frees");
}

/// The first limit without room refuses, in the order given.
pub async fn the_first_limit_refuses(fx: &Fixture) {
    let full = [daily_tokens("w", 5), daily_jobs("w", 1), concurrent("w", 1)];
    fx.spent(&nth(0), &full, 5, t(0)).await;
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
        let limits = order.map(|i| full[i].clone());
        let refusal = refused(fx.admit(&nth(1), &limits, 0, t(0)).await);
        assert_eq!(refusal.key.as_ref(), Some(&limits[0].key));
    }
}

/// A limit without a cap refuses nothing and counts everything; a cap that comes later knows all of it.
pub async fn a_limit_without_a_cap_counts(fx: &Fixture) {
    let limit = daily_tokens("w", 10);
    fx.spent(&nth(0), &[counted(&limit)], 1_000, t(0)).await;
    assert_eq!(fx.used(&limit, t(0)).await, (1_000, 0));
    refused(fx.admit(&nth(1), &[limit], 0, t(0)).await);
}

/// A refused job does not exist.
pub async fn a_refusal_changes_nothing(fx: &Fixture) {
    let limits = [daily_tokens("w", 10)];
    refused(fx.admit(&nth(0), &limits, 11, t(0)).await);
    assert_eq!(fx.allowances.job(&nth(0)).await.unwrap(), None);
    assert_eq!(fx.used(&limits[0], t(0)).await, (0, 0));
    assert_eq!(fx.load("w", t(0)).await, 0);
    assert!(fx.log().await.is_empty());
}

/// The largest of all amounts overflow nothing.
pub async fn the_largest_amounts_are_exact(fx: &Fixture) {
    let limits = [Limit { cap: Some(Amount::MAX), ..daily_tokens("w", 0) }];
    let asks = |number: usize, ask: Amount| Admission {
        ask,
        ..asking(admission(&nth(number), "w", t(0)), &limits, 0)
    };
    fx.allowances.admit(asks(0, Amount::MAX)).await.unwrap();
    let refusal = refused(fx.allowances.admit(asks(1, Amount::MAX)).await);
    assert_eq!((refusal.reserved, refusal.need), (Amount::MAX, Amount::MAX));
    refused(fx.allowances.admit(asks(2, n(0))).await);
}

/// What an admission says is what the job is.
pub async fn a_job_is_as_it_was_admitted(fx: &Fixture) {
    let price = Some(agentic_core::allowance::Price::flat(n(3), n(5)));
    let limits = [daily_tokens("w", 10), counted(&concurrent("w", 0))];
    let asks =
        Admission { project: Some(id("p")), price, ..asking(admission(&nth(0), "w", t(3)), &limits, 7) };
    let admitted = fx.allowances.admit(asks).await.unwrap();
    let job = fx.job(&nth(0)).await;
    assert_eq!(job, admitted);
    assert_eq!((job.id.clone(), job.agent_id.clone(), job.project.clone()), (nth(0), id("w"), Some(id("p"))));
    assert_eq!(
        (job.state, job.ask, job.admitted_at, job.expires_at),
        (JobState::Reserved, n(7), t(3), t(63))
    );
    assert_eq!((job.started_at, job.outcome, job.stopped), (None, None, false));
    assert_eq!((job.lines.len(), &job.lines[0].limits[..], job.lines[0].price), (1, &limits[..], price));
    assert_eq!(job.model(), Some(&id("m")));
}

/// An admission that is repeated under its own id is the same admission; another is refused while it holds.
pub async fn an_admission_is_idempotent_by_its_id(fx: &Fixture) {
    let limits = [concurrent("w", 1)];
    let first = fx.admit(&nth(0), &limits, 0, t(0)).await.unwrap();
    assert_eq!(fx.admit(&nth(0), &limits, 0, t(5)).await.unwrap(), first);
    assert_eq!(fx.load("w", t(5)).await, 1);
    let other = || Admission { id: "another".to_owned(), ..asking(admission(&nth(0), "w", t(5)), &[], 0) };
    conflict(fx.allowances.admit(other()).await, ConflictCode::AlreadyAdmitted);
    fx.allowances.start(start_job(&nth(0), t(6))).await.unwrap();
    let again = Admission { now: t(500), expires_at: t(560), ..other() };
    conflict(fx.allowances.admit(again).await, ConflictCode::AlreadyAdmitted);
}

/// A job that is over, of an earlier task with the same id, keeps that of the later one from nothing; while it lives it does.
pub async fn a_job_of_an_earlier_task_keeps_nobody_out(fx: &Fixture) {
    let asks = |created, name: &str, secs| Admission {
        id: name.to_owned(),
        task_created_at: created,
        ..admission(&nth(0), "w", t(secs))
    };
    let (first, later) = (Some(t(0)), Some(t(9)));
    fx.allowances.admit(asks(first, "a", 1)).await.unwrap();
    conflict(fx.allowances.admit(asks(later, "b", 2)).await, ConflictCode::AlreadyAdmitted);
    fx.allowances.start(start_job(&nth(0), t(2))).await.unwrap();
    fx.allowances.settle(settle(&nth(0), JobOutcome::Completed, t(3))).await.unwrap();
    for same in [first, None] {
        conflict(fx.allowances.admit(asks(same, "b", 10)).await, ConflictCode::AlreadyAdmitted);
    }
    let fresh = fx.allowances.admit(asks(later, "c", 10)).await.unwrap();
    assert_eq!((fresh.state, fresh.started_at, fresh.task_created_at), (JobState::Reserved, None, later));
    assert_eq!(fx.allowances.admit(asks(later, "c", 11)).await.unwrap(), fresh, "the same, repeated");
    conflict(fx.allowances.admit(asks(later, "d", 11)).await, ConflictCode::AlreadyAdmitted);
    fx.allowances.start(start_job(&nth(0), t(12))).await.unwrap();
    conflict(fx.allowances.admit(asks(later, "d", 500)).await, ConflictCode::AlreadyAdmitted);
    assert_eq!(fx.load("w", t(12)).await, 1);
}

/// Of sixteen admissions of one job at once, one holds.
pub async fn a_job_raced_for_is_admitted_once(fx: &Fixture) {
    let answers = at_once(16, |i| {
        let asks = asking(admission(&nth(0), "w", t(0)), &[concurrent("w", 9)], 0);
        let asks = Admission { id: format!("admission {i}"), ..asks };
        let allowances = fx.allowances.clone();
        async move { allowances.admit(asks).await }
    })
    .await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
    for lost in answers.into_iter().filter(Result::is_err) {
        conflict(lost, ConflictCode::AlreadyAdmitted);
    }
    assert_eq!(fx.load("w", t(0)).await, 1);
}

/// An admission is taken back by its own id only, once, and not after its job started.
pub async fn an_admission_is_voided_by_its_own_id(fx: &Fixture) {
    let limits = [daily_tokens("w", 10), concurrent("w", 1)];
    let own = format!("admission of {}", nth(0));
    fx.admit(&nth(0), &limits, 10, t(0)).await.unwrap();
    fx.allowances.void(void(&nth(0), "another")).await.unwrap();
    assert_eq!(fx.load("w", t(0)).await, 1);
    for _ in 0..2 {
        fx.allowances.void(void(&nth(0), &own)).await.unwrap();
        assert_eq!(fx.job(&nth(0)).await.state, JobState::Void);
        assert_eq!((fx.load("w", t(0)).await, fx.used(&limits[0], t(0)).await), (0, (0, 0)));
    }
    fx.allowances.void(void(&nth(5), "of nothing")).await.unwrap();
    let next = Admission { id: "next".to_owned(), ..asking(admission(&nth(0), "w", t(1)), &limits, 10) };
    fx.allowances.admit(next).await.unwrap();
    fx.allowances.void(void(&nth(0), &own)).await.unwrap();
    assert_eq!(fx.load("w", t(1)).await, 1, "the lost claim's void leaves the next admission alone");
    fx.allowances.start(start_job(&nth(0), t(2))).await.unwrap();
    fx.allowances.void(void(&nth(0), "next")).await.unwrap();
    assert_eq!(fx.job(&nth(0)).await.state, JobState::Started);
}

/// A reservation holds until the instant of its expiry, and from then on nothing.
pub async fn a_reservation_ends_at_its_instant(fx: &Fixture) {
    let limits = [daily_tokens("w", 10), daily_jobs("w", 1), concurrent("w", 1)];
    fx.admit(&nth(0), &limits, 10, t(0)).await.unwrap();
    let just_before = agentic_core::clock::Timestamp::from_millis(t(60).millis() - 1);
    refused(fx.admit(&nth(1), &limits, 0, just_before).await);
    assert_eq!(fx.load("w", just_before).await, 1);
    for limit in &limits {
        assert_eq!(fx.used(limit, t(60)).await, (0, 0), "{}", limit.key);
    }
    assert_eq!(fx.load("w", t(60)).await, 0);
    fx.admit(&nth(1), &limits, 10, t(60)).await.unwrap();
}

/// A job whose reservation ran out unstarted can be admitted anew; the old admission is over.
pub async fn a_run_out_reservation_is_admitted_anew(fx: &Fixture) {
    let limits = [concurrent("w", 1)];
    fx.admit(&nth(0), &limits, 3, t(0)).await.unwrap();
    let anew = Admission { id: "anew".to_owned(), ..asking(admission(&nth(0), "w", t(60)), &limits, 4) };
    let job = fx.allowances.admit(anew).await.unwrap();
    assert_eq!((job.ask, job.admission.as_str(), job.expires_at), (n(4), "anew", t(120)));
    assert_eq!(fx.load("w", t(60)).await, 1);
    let repeated = Admission { id: "anew".to_owned(), ..asking(admission(&nth(0), "x", t(120)), &limits, 5) };
    let job = fx.allowances.admit(repeated).await.unwrap();
    assert_eq!(fx.job(&nth(0)).await, job, "all of it, also under the same id");
    assert_eq!((fx.load("w", t(120)).await, fx.load("x", t(120)).await), (0, 1));
}

/// The start turns the place into one used job and one used request, once.
pub async fn a_start_uses_one_job_and_one_request(fx: &Fixture) {
    let limits = [daily_jobs("w", 5), hourly_requests("m", 5), concurrent("w", 5), daily_tokens("w", 50)];
    fx.admit(&nth(0), &limits, 20, t(0)).await.unwrap();
    let expected = [(0, 1), (0, 1), (0, 1), (0, 20)];
    for (limit, expected) in limits.iter().zip(expected) {
        assert_eq!(fx.used(limit, t(0)).await, expected, "{}", limit.key);
    }
    for secs in [1, 2] {
        let job = fx.allowances.start(start_job(&nth(0), t(secs))).await.unwrap();
        assert_eq!((job.state, job.started_at), (JobState::Started, Some(t(1))));
        let expected = [(1, 0), (1, 0), (0, 1), (0, 20)];
        for (limit, expected) in limits.iter().zip(expected) {
            assert_eq!(fx.used(limit, t(2)).await, expected, "{}", limit.key);
        }
    }
}

/// What ran out, or was taken back, cannot start any more.
pub async fn a_run_out_reservation_does_not_start(fx: &Fixture) {
    let limits = [daily_jobs("w", 5)];
    fx.admit(&nth(0), &limits, 0, t(0)).await.unwrap();
    fx.admit(&nth(1), &limits, 0, t(0)).await.unwrap();
    fx.allowances.void(void(&nth(1), &format!("admission of {}", nth(1)))).await.unwrap();
    conflict(fx.allowances.start(start_job(&nth(0), t(60))).await, ConflictCode::LeaseLost);
    conflict(fx.allowances.start(start_job(&nth(1), t(1))).await, ConflictCode::LeaseLost);
    not_found(fx.allowances.start(start_job(&nth(2), t(1))).await, Kind::Job, "t2#1");
    assert_eq!(fx.used(&limits[0], t(60)).await, (0, 0));
}

/// A reservation is extended, and never shortened.
pub async fn a_reservation_is_extended(fx: &Fixture) {
    fx.admit(&nth(0), &[], 0, t(0)).await.unwrap();
    assert_eq!(fx.allowances.extend(extend(&nth(0), t(30))).await.unwrap().expires_at, t(90));
    let shorter = Extend { expires_at: t(40), ..extend(&nth(0), t(31)) };
    assert_eq!(fx.allowances.extend(shorter).await.unwrap().expires_at, t(90));
    assert_eq!((fx.load("w", t(89)).await, fx.load("w", t(90)).await), (1, 0));
    not_found(fx.allowances.extend(extend(&nth(1), t(0))).await, Kind::Job, "t1#1");
}

/// A reservation that ran out retakes its place in the same step, if nobody else has taken it.
pub async fn a_run_out_reservation_retakes_its_place(fx: &Fixture) {
    let limits = [daily_tokens("w", 20), concurrent("w", 1)];
    fx.spent(&nth(0), &limits, 5, t(0)).await;
    fx.admit(&nth(1), &limits, 5, t(60)).await.unwrap();
    let refusal = refused(fx.allowances.extend(extend(&nth(0), t(70))).await);
    assert_eq!(refusal.key.as_ref(), Some(&limits[1].key));
    assert_eq!(fx.job(&nth(0)).await.expires_at, t(60), "refused, so unchanged");
    assert_eq!(fx.allowances.extend(extend(&nth(0), t(120))).await.unwrap().expires_at, t(180));
    assert_eq!(fx.load("w", t(120)).await, 1);
    refused(fx.admit(&nth(2), &limits, 0, t(121)).await);
}

/// A started job that ran out needs no second job or request to go on.
pub async fn a_started_job_retakes_only_what_it_holds(fx: &Fixture) {
    let limits = [daily_jobs("w", 1), hourly_requests("m", 1), concurrent("w", 1)];
    fx.spent(&nth(0), &limits, 0, t(0)).await;
    fx.allowances.extend(extend(&nth(0), t(100))).await.unwrap();
    assert_eq!(fx.load("w", t(101)).await, 1);
}

/// What was settled or taken back is not extended.
pub async fn what_is_over_is_not_extended(fx: &Fixture) {
    fx.spent(&nth(0), &[], 0, t(0)).await;
    fx.allowances.settle(settle(&nth(0), JobOutcome::Completed, t(1))).await.unwrap();
    conflict(fx.allowances.extend(extend(&nth(0), t(2))).await, ConflictCode::LeaseLost);
    fx.admit(&nth(1), &[], 0, t(0)).await.unwrap();
    fx.allowances.void(void(&nth(1), &format!("admission of {}", nth(1)))).await.unwrap();
    conflict(fx.allowances.extend(extend(&nth(1), t(2))).await, ConflictCode::LeaseLost);
}

/// A refused day is worth another try at midnight, and then there is room without any job having run.
pub async fn a_day_frees_at_midnight(fx: &Fixture) {
    let limits = [daily_tokens("w", 10), daily_jobs("w", 1)];
    fx.spent(&nth(0), &limits, 10, t(0)).await;
    let last = t(MIDNIGHT - 1);
    for limit in &limits {
        let refusal = refused(fx.admit(&nth(1), std::slice::from_ref(limit), 0, last).await);
        assert_eq!(refusal.retry_at, Some(t(MIDNIGHT)), "{}", limit.key);
    }
    let never = refused(fx.admit(&nth(1), &limits, 11, last).await);
    assert_eq!(never.retry_at, None, "an ask above the cap never fits");
    fx.admit(&nth(1), &limits, 10, t(MIDNIGHT)).await.unwrap();
}

/// What is reserved holds in whatever day its reservation lives, and is used in the day of the start.
pub async fn a_reservation_lives_across_midnight(fx: &Fixture) {
    let limits = [daily_jobs("w", 1), daily_tokens("w", 10)];
    fx.admit(&nth(0), &limits, 10, t(MIDNIGHT - 10)).await.unwrap();
    refused(fx.admit(&nth(1), &limits[..1], 0, t(MIDNIGHT + 1)).await);
    fx.allowances.start(start_job(&nth(0), t(MIDNIGHT + 1))).await.unwrap();
    assert_eq!(fx.used(&limits[0], t(MIDNIGHT - 1)).await.0, 0);
    assert_eq!(fx.used(&limits[0], t(MIDNIGHT + 1)).await, (1, 0));
}

/// A request counts for a full hour from any moment of its minute, and frees at most one minute late.
pub async fn a_sliding_hour_at_the_edge(fx: &Fixture) {
    let limits = [hourly_requests("m", 1)];
    // 12:00:59 is in the bucket of 12:00, which counts until 13:01.
    fx.spent(&nth(0), &limits, 0, t(59)).await;
    for secs in [60, 3_599, 3_659] {
        let refusal = refused(fx.admit(&nth(1), &limits, 0, t(secs)).await);
        assert_eq!(refusal.retry_at, Some(t(3_660)), "{secs}");
    }
    fx.admit(&nth(1), &limits, 0, t(3_660)).await.unwrap();
}

/// A refusal under a sliding window names the time at which enough has moved out.
pub async fn a_sliding_refusal_names_its_time(fx: &Fixture) {
    let limits = [limit(Scope::Agent(id("w")), Meter::Tokens, Window::HOUR, 30)];
    for (number, secs) in [(0, 0), (1, 120), (2, 240)] {
        fx.spent(&nth(number), &limits, 10, t(secs)).await;
        let done = JobOutcome::Completed;
        fx.allowances.settle(settle(&nth(number), done, t(secs + 1))).await.unwrap();
    }
    for (ask, frees) in [(1, 0), (10, 0), (11, 120), (20, 120), (21, 240)] {
        let refusal = refused(fx.admit(&nth(9), &limits, ask, t(300)).await);
        assert_eq!(refusal.retry_at, Some(t(frees + 3_660)), "{ask}");
    }
}

/// Each scope counts what is under it, and nothing else.
pub async fn scopes_are_told_apart(fx: &Fixture) {
    let scopes = [
        Scope::Agent(id("w")),
        Scope::Model(id("m")),
        Scope::AgentModel(id("w"), id("m")),
        Scope::Project(id("p")),
        Scope::Fleet,
    ];
    let jobs = [
        ("w", Some("m"), Some("p"), [1, 1, 1, 1, 1]),
        ("w", Some("m2"), None, [2, 1, 1, 1, 2]),
        ("x", Some("m"), None, [2, 2, 1, 1, 3]),
        ("x", None, Some("p"), [2, 2, 1, 2, 4]),
        ("x", None, None, [2, 2, 1, 2, 5]),
    ];
    for (number, (agent, model, project, expected)) in jobs.into_iter().enumerate() {
        let asks = Admission {
            model: model.map(id),
            project: project.map(id),
            ..admission(&nth(number), agent, t(0))
        };
        fx.allowances.admit(asks).await.unwrap();
        for (scope, expected) in scopes.iter().zip(expected) {
            let key = MeterKey { scope: scope.clone(), meter: Meter::ActiveJobs, window: Window::Live };
            assert_eq!(fx.reading(&key, t(0)).await.reserved, n(expected), "{scope} after job {number}");
        }
    }
}

/// Loads and readings come in the order asked for, of agents and meters never heard of too.
pub async fn readings_come_in_the_order_asked_for(fx: &Fixture) {
    let limits = [daily_tokens("w", 100)];
    fx.spent(&nth(0), &limits, 30, t(0)).await;
    fx.admit(&nth(1), &limits, 7, t(0)).await.unwrap();
    let agents = ["nobody", "w", "x"].map(id);
    assert_eq!(fx.allowances.active_jobs(&agents, t(0)).await.unwrap(), [0, 2, 0]);
    assert!(fx.allowances.active_jobs(&[], t(0)).await.unwrap().is_empty());
    let keys = [daily_tokens("x", 1).key, limits[0].key.clone(), daily_jobs("w", 1).key];
    let readings = fx.allowances.readings(&keys, t(0)).await.unwrap();
    let figures: Vec<_> =
        readings.iter().map(|reading| (reading.used.get(), reading.reserved.get())).collect();
    assert_eq!(figures, [(0, 0), (30, 7), (0, 1)]);
    assert_eq!(readings[1].buckets.len(), 1);
    assert_eq!(readings[1].buckets[0].1, 30);
}

/// Open jobs whose reservation ran out are told from that instant on, the longest ago first.
pub async fn run_out_reservations_are_told(fx: &Fixture) {
    for (number, secs) in [(0, 9), (1, 3), (2, 6), (3, 0)] {
        fx.admit(&nth(number), &[], 0, t(secs)).await.unwrap();
    }
    fx.allowances.void(void(&nth(3), &format!("admission of {}", nth(3)))).await.unwrap();
    fx.allowances.start(start_job(&nth(2), t(7))).await.unwrap();
    let told = |now: i64, limit: usize| async move {
        let jobs = fx.allowances.expired(ExpiredJobs { limit, now: t(now) }).await.unwrap();
        jobs.into_iter().map(|job| job.id).collect::<Vec<_>>()
    };
    assert!(told(62, 10).await.is_empty());
    assert_eq!(told(63, 10).await, [nth(1)]);
    assert_eq!(told(99, 10).await, [nth(1), nth(2), nth(0)]);
    assert_eq!(told(99, 2).await, [nth(1), nth(2)]);
    fx.allowances.settle(settle(&nth(1), JobOutcome::Failed, t(99))).await.unwrap();
    assert_eq!(told(99, 10).await, [nth(2), nth(0)]);
}

/// A job that was never heard of is absent.
pub async fn an_unknown_job_is_absent(fx: &Fixture) {
    assert_eq!(fx.allowances.job(&nth(0)).await.unwrap(), None);
}

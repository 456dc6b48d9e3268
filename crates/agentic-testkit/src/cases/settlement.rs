//! Settlement: charge, refund and release, exactly once.

use agentic_core::{
    error::Kind,
    id::JobId,
    job::{JobOutcome, JobState},
    limit::Limit,
    port::Report,
    usage::Figures,
};

use crate::{
    Fixture,
    expect::not_found,
    fixture::at_once,
    given::{
        MIDNIGHT, concurrent, daily_jobs, daily_tokens, figures, hourly_requests, id, job, limit,
        model_tokens, n, report, settle, spend, start_job, t,
    },
};

fn nth(number: usize) -> JobId {
    job(&format!("t{number}"), 1)
}

async fn settled(fx: &Fixture, number: usize, outcome: JobOutcome, secs: i64) {
    fx.allowances.settle(settle(&nth(number), outcome, t(secs))).await.unwrap();
}

/// What each outcome leaves used: all when completed or released, the larger half when failed, nothing when
/// cancelled.
pub async fn each_outcome_gives_back_its_part(fx: &Fixture) {
    let cases = [
        (JobOutcome::Completed, 7, 7),
        (JobOutcome::Released, 7, 7),
        (JobOutcome::Cancelled, 7, 0),
        (JobOutcome::Failed, 7, 4),
        (JobOutcome::Failed, 8, 4),
        (JobOutcome::Failed, 1, 1),
        (JobOutcome::Failed, 0, 0),
    ];
    for (number, (outcome, tokens, left)) in cases.into_iter().enumerate() {
        let agent = format!("w{number}");
        let limits = [daily_tokens(&agent, 1_000), model_tokens(&format!("m{number}"), 1_000)];
        fx.admit(&nth(number), &limits, 500, t(0)).await.unwrap();
        fx.allowances.report(report(&nth(number), "w", figures(tokens, 0), t(1))).await.unwrap();
        settled(fx, number, outcome, 2).await;
        for limit in &limits {
            assert_eq!(fx.used(limit, t(2)).await.0, left, "{tokens} {outcome:?} {}", limit.key);
        }
        let job = fx.job(&nth(number)).await;
        assert_eq!((job.state, job.outcome, job.gross()), (JobState::Settled, Some(outcome), n(tokens)));
    }
}

/// The end of a job frees its place and what was left of its reservation.
pub async fn a_settlement_frees_the_place(fx: &Fixture) {
    let limits = [daily_tokens("w", 100), concurrent("w", 1)];
    fx.admit(&nth(0), &limits, 90, t(0)).await.unwrap();
    fx.allowances.report(report(&nth(0), "w", figures(30, 0), t(0))).await.unwrap();
    settled(fx, 0, JobOutcome::Completed, 1).await;
    assert_eq!((fx.load("w", t(1)).await, fx.used(&limits[0], t(1)).await), (0, (30, 0)));
    fx.admit(&nth(1), &limits, 70, t(1)).await.unwrap();
}

/// Only the first ending settles; later ones change nothing, not even when they race.
pub async fn a_job_settles_once(fx: &Fixture) {
    let limits = [daily_tokens("w", 1_000)];
    fx.spent(&nth(0), &limits, 9, t(0)).await;
    settled(fx, 0, JobOutcome::Failed, 1).await;
    for outcome in [JobOutcome::Failed, JobOutcome::Cancelled, JobOutcome::Completed] {
        let job = fx.allowances.settle(settle(&nth(0), outcome, t(2))).await.unwrap();
        assert_eq!(job.outcome, Some(JobOutcome::Failed));
        assert_eq!(fx.used(&limits[0], t(2)).await, (5, 0));
    }
    fx.spent(&nth(1), &limits, 100, t(3)).await;
    at_once(16, |_| {
        let allowances = fx.allowances.clone();
        async move { allowances.settle(settle(&nth(1), JobOutcome::Failed, t(4))).await.unwrap() }
    })
    .await;
    assert_eq!(fx.used(&limits[0], t(4)).await, (55, 0));
    not_found(fx.allowances.settle(settle(&nth(2), JobOutcome::Failed, t(4))).await, Kind::Job, "t2#1");
}

/// A job that never started costs nothing, however it ends.
pub async fn what_never_started_costs_nothing(fx: &Fixture) {
    let limits = [daily_tokens("w", 100), daily_jobs("w", 5), hourly_requests("m", 5), concurrent("w", 5)];
    let outcomes = [JobOutcome::Completed, JobOutcome::Failed, JobOutcome::Cancelled, JobOutcome::Released];
    for (number, outcome) in outcomes.into_iter().enumerate() {
        fx.admit(&nth(number), &limits, 20, t(0)).await.unwrap();
        settled(fx, number, outcome, 1).await;
        assert_eq!(fx.job(&nth(number)).await.state, JobState::Void);
        for limit in &limits {
            assert_eq!(fx.used(limit, t(1)).await, (0, 0), "{outcome:?} {}", limit.key);
        }
    }
}

/// A job that a limit told to stop refunds nothing, however it ends.
pub async fn a_stopped_job_refunds_nothing(fx: &Fixture) {
    for (number, outcome) in [JobOutcome::Failed, JobOutcome::Cancelled].into_iter().enumerate() {
        let limits = [daily_tokens(&format!("w{number}"), 10), model_tokens("m", 1_000)];
        fx.spent(&nth(number), &limits, 10, t(0)).await;
        settled(fx, number, outcome, 1).await;
        assert_eq!(fx.used(&limits[0], t(1)).await, (10, 0), "{outcome:?}");
        crate::expect::refused(fx.admit(&nth(9), &limits, 0, t(1)).await);
    }
}

/// Refunds are taken from the job's own days, the newest first.
pub async fn refunds_come_from_the_newest_day(fx: &Fixture) {
    let limits = [daily_tokens("w", 1_000), model_tokens("m", 1_000)];
    fx.spent(&nth(0), &limits, 10, t(MIDNIGHT - 5)).await;
    fx.allowances.report(report(&nth(0), "w", figures(14, 0), t(MIDNIGHT + 5))).await.unwrap();
    settled(fx, 0, JobOutcome::Failed, MIDNIGHT + 6).await;
    for limit in &limits {
        assert_eq!(fx.used(limit, t(MIDNIGHT + 6)).await.0, 0, "4 of the new day");
        assert_eq!(fx.used(limit, t(MIDNIGHT - 1)).await.0, 7, "3 of the old one");
    }
}

/// Refunds go to the model that was used.
pub async fn refunds_go_to_the_model_that_was_used(fx: &Fixture) {
    let own = [daily_tokens("w", 1_000), model_tokens("m", 1_000)];
    fx.spent(&nth(0), &own, 10, t(0)).await;
    let limits = vec![daily_tokens("w", 1_000), model_tokens("m2", 1_000)];
    let other =
        Report { model: Some(id("m2")), limits: limits.clone(), ..report(&nth(0), "w", figures(4, 0), t(1)) };
    fx.allowances.report(other).await.unwrap();
    settled(fx, 0, JobOutcome::Failed, 2).await;
    assert_eq!(fx.used(&own[0], t(2)).await.0, 7);
    assert_eq!((fx.used(&own[1], t(2)).await.0, fx.used(&limits[1], t(2)).await.0), (7, 0));
}

/// Money, jobs, requests and the tokens of windows other than days are never given back.
pub async fn only_daily_tokens_are_given_back(fx: &Fixture) {
    use agentic_core::limit::{Meter, Scope, Window};
    let limits: [Limit; 5] = [
        spend("m", 1_000),
        daily_jobs("w", 5),
        hourly_requests("m", 5),
        limit(Scope::Agent(id("w")), Meter::Tokens, Window::HOUR, 1_000),
        limit(Scope::Fleet, Meter::Tokens, Window::Lifetime, 1_000),
    ];
    fx.admit(&nth(0), &limits, 0, t(0)).await.unwrap();
    let used = Figures { cost_micros: Some(n(30)), ..figures(20, 0) };
    fx.allowances.report(report(&nth(0), "w", used, t(1))).await.unwrap();
    settled(fx, 0, JobOutcome::Cancelled, 2).await;
    for (limit, used) in limits.iter().zip([30, 1, 1, 20, 20]) {
        assert_eq!(fx.used(limit, t(2)).await, (used, 0), "{}", limit.key);
    }
}

/// A job whose reservation ran out settles as whoever looks after it says; its usage stands until then.
pub async fn a_run_out_job_settles_later(fx: &Fixture) {
    let limits = [daily_tokens("w", 100), concurrent("w", 1)];
    fx.spent(&nth(0), &limits, 11, t(0)).await;
    assert_eq!((fx.used(&limits[0], t(100)).await, fx.load("w", t(100)).await), ((11, 0), 0));
    settled(fx, 0, JobOutcome::Failed, 100).await;
    assert_eq!(fx.used(&limits[0], t(100)).await, (6, 0));
}

/// A settled job is not started again.
pub async fn a_settled_job_stays_settled(fx: &Fixture) {
    let limits = [daily_jobs("w", 5)];
    fx.spent(&nth(0), &limits, 0, t(0)).await;
    settled(fx, 0, JobOutcome::Completed, 1).await;
    let job = fx.allowances.start(start_job(&nth(0), t(2))).await.unwrap();
    assert_eq!(job.state, JobState::Settled);
    assert_eq!(fx.used(&limits[0], t(2)).await, (1, 0));
}

/// Three reports and an ending come in every order, and all of them twice: what was known at the ending gives its half
/// back, what grows after it is charged in full, and nothing counts a second time.
pub async fn any_order_settles_alike(fx: &Fixture) {
    let tokens = [5, 12, 21];
    for order in 0..24 {
        // Where the ending stands among the reports, and in which order those come.
        let (ending, rest) = (order % 4, order / 4);
        let mut left = vec![0, 1, 2];
        let mut reports = vec![left.remove(rest % 3)];
        reports.push(left.remove(rest / 3));
        reports.push(left[0]);
        let limits = [daily_tokens(&format!("w{order}"), 1_000), daily_jobs(&format!("w{order}"), 9)];
        fx.spent(&nth(order), &limits, 0, t(0)).await;
        let known: u32 = reports[..ending].iter().map(|report| tokens[*report]).max().unwrap_or(0);
        let expected = u64::from(21 - known / 2);
        for _ in 0..2 {
            for step in 0..4 {
                if step == ending {
                    settled(fx, order, JobOutcome::Failed, 1).await;
                    continue;
                }
                let at = reports[if step < ending { step } else { step - 1 }];
                let says = report(&nth(order), "w", figures(tokens[at], 0), t(1));
                fx.allowances.report(says).await.unwrap();
            }
            let used = (fx.used(&limits[0], t(1)).await, fx.used(&limits[1], t(1)).await);
            assert_eq!(used, ((expected, 0), (1, 0)), "ending {ending} among {reports:?}");
        }
    }
    assert!(fx.allowances.verify().await.unwrap().is_empty());
}

/// A day whose entries were folded, and that no window counts any more, has nothing to give back to; one that still
/// counts has.
pub async fn a_folded_day_gives_back_only_while_it_counts(fx: &Fixture) {
    let limits = [daily_tokens("w", 1_000), model_tokens("m", 1_000)];
    for number in [0, 1] {
        fx.spent(&nth(number), &limits, 10, t(0)).await;
    }
    while fx.events.trim(t(1), 100).await.unwrap() > 0 {}
    settled(fx, 0, JobOutcome::Cancelled, 2).await;
    assert_eq!(fx.used(&limits[0], t(2)).await.0, 10, "the day goes on");
    while fx.events.trim(t(MIDNIGHT), 100).await.unwrap() > 0 {}
    settled(fx, 1, JobOutcome::Cancelled, MIDNIGHT + 1).await;
    for limit in &limits {
        assert_eq!(fx.used(limit, t(MIDNIGHT - 1)).await.0, 0, "nor below zero: {}", limit.key);
        assert_eq!(fx.used(limit, t(MIDNIGHT + 1)).await.0, 0, "nor to another day: {}", limit.key);
    }
    assert!(fx.allowances.verify().await.unwrap().is_empty());
}

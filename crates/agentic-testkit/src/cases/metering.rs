//! Metering: usage is a fact, whatever was permitted.

use std::slice;

use agentic_core::{
    allowance::{CostBasis, Price, UsageAnswer},
    error::Kind,
    event::EventType,
    id::JobId,
    job::{JobOutcome, JobState},
    limit::{Limit, Meter, Scope, Window},
    port::{Admission, ReadEntries, Report, ResetUsage},
    usage::{Directive, Figures},
};

use crate::{
    Fixture,
    expect::not_found,
    fixture::at_once,
    given::{
        MIDNIGHT, admission, asking, concurrent, daily_jobs, daily_tokens, figures, hourly_requests, id, job,
        model_tokens, n, replan, report, settle, spend, start_job, t,
    },
};

fn nth(number: usize) -> JobId {
    job(&format!("t{number}"), 1)
}

fn cost(micros: u32) -> Figures {
    Figures { cost_micros: Some(n(micros)), ..Figures::default() }
}

async fn running(fx: &Fixture, job: &JobId, limits: &[Limit], ask: u32) {
    fx.admit(job, limits, ask, t(0)).await.unwrap();
    fx.allowances.start(start_job(job, t(0))).await.unwrap();
}

async fn says(fx: &Fixture, job: &JobId, figures: Figures, secs: i64) -> UsageAnswer {
    fx.allowances.report(report(job, "w", figures, t(secs))).await.unwrap()
}

/// Reports are cumulative: what is repeated, or comes out of order, is charged once.
pub async fn reports_are_cumulative(fx: &Fixture) {
    let limits = [daily_tokens("w", 1_000), model_tokens("m", 1_000)];
    running(fx, &nth(0), &limits, 0).await;
    for (tokens_in, tokens_out, total) in
        [(10, 0, 10), (10, 0, 10), (30, 5, 35), (20, 5, 35), (20, 9, 39), (0, 0, 39), (30, 9, 39)]
    {
        says(fx, &nth(0), figures(tokens_in, tokens_out), 1).await;
        for limit in &limits {
            assert_eq!(fx.used(limit, t(1)).await, (total, 0), "{tokens_in} {tokens_out}");
        }
    }
    assert_eq!(fx.job(&nth(0)).await.gross(), n(39));
}

/// A running job is held against the limits that stand now: a cap that was lowered, one that is new, and no more against
/// one that is gone. What it used before stays where it was counted, and one that is over keeps what it has.
pub async fn changed_limits_hold_a_running_job(fx: &Fixture) {
    let (tight, wide) = (daily_tokens("w", 100), daily_tokens("w", 1_000));
    let model = model_tokens("m", 50);
    running(fx, &nth(0), slice::from_ref(&wide), 0).await;
    assert_eq!(says(fx, &nth(0), figures(80, 0), 1).await.directive, Directive::Continue);
    let asked = replan(&nth(0), &[tight.clone(), model.clone()], t(2));
    let job = fx.allowances.replan(asked.clone()).await.unwrap();
    assert_eq!(job.lines[0].limits, asked.limits);
    assert_eq!(fx.job(&nth(0)).await, job);
    let answer = says(fx, &nth(0), figures(95, 0), 3).await;
    assert_eq!((answer.directive, answer.remaining_tokens), (Directive::WrapUp, Some(n(5))));
    assert_eq!((fx.used(&tight, t(3)).await, fx.used(&model, t(3)).await), ((95, 0), (15, 0)));
    fx.allowances.replan(replan(&nth(0), slice::from_ref(&tight), t(4))).await.unwrap();
    assert_eq!(says(fx, &nth(0), figures(100, 0), 5).await.directive, Directive::Stop);
    assert_eq!(fx.used(&model, t(5)).await, (15, 0));
    fx.allowances.settle(settle(&nth(0), JobOutcome::Completed, t(6))).await.unwrap();
    let over = fx.allowances.replan(replan(&nth(0), slice::from_ref(&wide), t(7))).await.unwrap();
    assert_eq!(over.lines[0].limits, [tight]);
    let nobody = nth(1).to_string();
    not_found(fx.allowances.replan(replan(&nth(1), &[], t(7))).await, Kind::Job, &nobody);
    assert_eq!(fx.allowances.verify().await.unwrap(), []);
}

/// A refund goes to the day of the agent and of the model, and takes from no other what others used.
pub async fn a_limit_that_a_job_came_under_later_gets_no_refund(fx: &Fixture) {
    let own = daily_tokens("w", 1_000);
    let all = Limit::new(Scope::Fleet, Meter::Tokens, Window::Day, Some(n(1_000)));
    running(fx, &nth(0), slice::from_ref(&own), 0).await;
    says(fx, &nth(0), figures(300, 0), 1).await;
    fx.allowances.replan(replan(&nth(0), &[own.clone(), all.clone()], t(2))).await.unwrap();
    says(fx, &nth(0), figures(310, 0), 2).await;
    fx.allowances.settle(settle(&nth(0), JobOutcome::Cancelled, t(3))).await.unwrap();
    assert_eq!((fx.used(&own, t(3)).await, fx.used(&all, t(3)).await), ((0, 0), (10, 0)));
}

/// Of the same report sent sixteen times at once, one is charged.
pub async fn a_report_raced_for_is_charged_once(fx: &Fixture) {
    let limits = [daily_tokens("w", 1_000)];
    running(fx, &nth(0), &limits, 0).await;
    at_once(16, |_| {
        let (allowances, report) = (fx.allowances.clone(), report(&nth(0), "w", figures(70, 7), t(1)));
        async move { allowances.report(report).await.unwrap() }
    })
    .await;
    assert_eq!(fx.used(&limits[0], t(1)).await, (77, 0));
}

/// Usage replaces what was reserved first, and only then adds to it.
pub async fn usage_replaces_the_reservation(fx: &Fixture) {
    let limits = [daily_tokens("w", 1_000)];
    running(fx, &nth(0), &limits, 100).await;
    for (tokens, used, reserved) in [(0, 0, 100), (60, 60, 40), (100, 100, 0), (150, 150, 0)] {
        says(fx, &nth(0), figures(tokens, 0), 1).await;
        assert_eq!(fx.used(&limits[0], t(1)).await, (used, reserved));
    }
}

/// From 90 % of a token cap on a job is told to wrap up, from 100 % on to stop; what remains is told.
pub async fn a_token_cap_directs_the_job(fx: &Fixture) {
    let limits = [daily_tokens("w", 100), model_tokens("m", 1_000)];
    running(fx, &nth(0), &limits, 0).await;
    for (tokens, directive, left) in [
        (89, Directive::Continue, 11),
        (90, Directive::WrapUp, 10),
        (99, Directive::WrapUp, 1),
        (100, Directive::Stop, 0),
        (130, Directive::Stop, 0),
    ] {
        let answer = says(fx, &nth(0), figures(tokens, 0), 1).await;
        assert_eq!((answer.directive, answer.remaining_tokens), (directive, Some(n(left))), "{tokens}");
        assert_eq!(answer.reason.is_some(), directive != Directive::Continue, "{answer:?}");
        assert!(!answer.unadmitted && !answer.late);
    }
    assert_eq!(fx.used(&limits[0], t(1)).await, (130, 0), "what was used over the cap is recorded");
    assert!(fx.job(&nth(0)).await.stopped);
}

/// A spend cap directs likewise, by the cost that the job reports.
pub async fn a_spend_cap_directs_the_job(fx: &Fixture) {
    let limits = [spend("m", 1_000)];
    running(fx, &nth(0), &limits, 0).await;
    for (micros, directive) in
        [(899, Directive::Continue), (900, Directive::WrapUp), (1_000, Directive::Stop)]
    {
        let answer = says(fx, &nth(0), cost(micros), 1).await;
        assert_eq!((answer.directive, answer.remaining_tokens), (directive, None), "{micros}");
    }
}

/// One job's usage stops another under the same cap; once told to stop, a job stays told.
pub async fn a_stop_is_for_all_under_the_cap_and_stays(fx: &Fixture) {
    let limits = [daily_tokens("w", 100)];
    for number in [0, 1] {
        running(fx, &nth(number), &limits, 0).await;
    }
    says(fx, &nth(0), figures(100, 0), 1).await;
    assert_eq!(says(fx, &nth(1), figures(0, 0), 1).await.directive, Directive::Stop);
    fx.allowances.reset_usage(ResetUsage { agent_id: id("w"), now: t(2) }).await.unwrap();
    assert_eq!(says(fx, &nth(1), figures(1, 0), 3).await.directive, Directive::Stop);
}

/// Jobs, requests and places never stop a job that was admitted.
pub async fn counts_never_stop_a_job(fx: &Fixture) {
    let limits = [daily_jobs("w", 1), hourly_requests("m", 1), concurrent("w", 1)];
    running(fx, &nth(0), &limits, 0).await;
    let answer = says(fx, &nth(0), figures(1_000_000, 0), 1).await;
    assert_eq!((answer.directive, answer.remaining_tokens), (Directive::Continue, None));
}

/// A report for a job that nobody admitted is charged and flagged, and takes no place: usage is a fact, admission a
/// permission.
pub async fn an_unadmitted_report_is_charged_and_flagged(fx: &Fixture) {
    let limits = vec![daily_tokens("w", 100), daily_jobs("w", 5), concurrent("w", 5)];
    let model = Some(id("m"));
    let says = Report { limits: limits.clone(), model, ..report(&nth(0), "w", figures(30, 0), t(0)) };
    for _ in 0..2 {
        let answer = fx.allowances.report(says.clone()).await.unwrap();
        assert!(answer.unadmitted && !answer.late);
        assert_eq!((answer.directive, answer.remaining_tokens), (Directive::Continue, Some(n(70))));
    }
    assert_eq!(fx.used(&limits[0], t(0)).await, (30, 0));
    assert_eq!(fx.used(&limits[1], t(0)).await, (1, 0), "it counts as one job");
    let job = fx.job(&nth(0)).await;
    assert_eq!((job.unadmitted, job.state, job.started_at), (true, JobState::Started, Some(t(0))));
    for (limit, used) in limits.iter().zip([30, 1, 0]) {
        assert_eq!(fx.used(limit, t(0)).await, (used, 0), "it holds nothing: {}", limit.key);
    }
    assert_eq!(fx.load("w", t(0)).await, 0);
    let event = fx.log().await.into_iter().find(|event| event.kind == EventType::UsageRecorded).unwrap();
    assert_eq!(event.payload.unwrap()["unadmitted"], true);
    let later = Admission { agent_id: id("x"), ..admission(&nth(0), "x", t(1)) };
    let job = fx.allowances.admit(later).await.unwrap();
    assert_eq!((job.unadmitted, job.state), (false, JobState::Reserved), "it keeps nobody out");
    assert_eq!(fx.used(&limits[0], t(1)).await, (30, 0), "and stays charged");
}

/// Every report of an unadmitted job puts its end off; one of an admitted job does not.
pub async fn only_an_unadmitted_job_lives_by_its_reports(fx: &Fixture) {
    fx.admit(&nth(1), &[], 0, t(0)).await.unwrap();
    for secs in [0, 30] {
        says(fx, &nth(0), figures(1, 0), secs).await;
        says(fx, &nth(1), figures(1, 0), secs).await;
    }
    assert_eq!((fx.job(&nth(0)).await.expires_at, fx.job(&nth(1)).await.expires_at), (t(90), t(60)));
}

/// However often a job that nobody admitted is reported, the one place of its agent is free, before and after an admitted
/// job took it; its end frees nothing, and gives back as every job's does.
pub async fn an_unadmitted_job_keeps_nobody_out(fx: &Fixture) {
    let limits = vec![concurrent("w", 1), daily_jobs("w", 3), daily_tokens("w", 100)];
    let stray = |tokens: u32, secs| Report {
        limits: limits.clone(),
        model: Some(id("m")),
        ..report(&nth(0), "w", figures(tokens, 0), t(secs))
    };
    fx.allowances.report(stray(30, 0)).await.unwrap();
    fx.admit(&nth(1), &limits, 70, t(1)).await.unwrap();
    fx.allowances.report(stray(40, 2)).await.unwrap();
    assert_eq!((fx.load("w", t(2)).await, fx.used(&limits[2], t(2)).await), (1, (40, 70)));
    crate::expect::refused(fx.admit(&nth(2), &limits, 0, t(2)).await);
    fx.allowances.settle(settle(&nth(1), JobOutcome::Completed, t(3))).await.unwrap();
    fx.allowances.extend(crate::given::extend(&nth(0), t(100))).await.unwrap();
    fx.admit(&nth(2), &limits, 60, t(100)).await.unwrap();
    fx.allowances.settle(settle(&nth(0), JobOutcome::Cancelled, t(101))).await.unwrap();
    assert_eq!((fx.load("w", t(101)).await, fx.used(&limits[2], t(101)).await), (1, (0, 60)));
}

/// An unadmitted job is told to stop at a cap like any other.
pub async fn an_unadmitted_job_is_stopped(fx: &Fixture) {
    let limits = vec![daily_tokens("w", 10)];
    let says = Report { limits, ..report(&nth(0), "w", figures(10, 0), t(0)) };
    let answer = fx.allowances.report(says).await.unwrap();
    assert_eq!((answer.unadmitted, answer.directive), (true, Directive::Stop));
}

/// Usage of another model is charged to that one, under the limits and at the price that come with the report.
pub async fn another_models_usage_is_its_own(fx: &Fixture) {
    let own = [daily_tokens("w", 1_000), model_tokens("m", 1_000)];
    running(fx, &nth(0), &own, 0).await;
    says(fx, &nth(0), figures(10, 0), 1).await;
    let limits = vec![daily_tokens("w", 1_000), model_tokens("m2", 40), spend("m2", 1_000_000)];
    let price = Some(Price::flat(n(2_000_000), n(0)));
    let other = |tokens: u32| Report {
        model: Some(id("m2")),
        limits: limits.clone(),
        price,
        ..report(&nth(0), "w", figures(tokens, 0), t(1))
    };
    for _ in 0..2 {
        let answer = fx.allowances.report(other(38)).await.unwrap();
        assert_eq!((answer.directive, answer.remaining_tokens), (Directive::WrapUp, Some(n(2))));
    }
    assert_eq!(fx.used(&own[0], t(1)).await, (48, 0), "the agent used both");
    assert_eq!(fx.used(&own[1], t(1)).await, (10, 0));
    assert_eq!(fx.used(&limits[1], t(1)).await, (38, 0));
    assert_eq!(fx.used(&limits[2], t(1)).await, (76, 0));
    says(fx, &nth(0), figures(12, 0), 2).await;
    let job = fx.job(&nth(0)).await;
    let lines: Vec<_> = job.lines.iter().map(|line| (line.model.clone(), line.high.tokens())).collect();
    assert_eq!(lines, [(Some(id("m")), n(12)), (Some(id("m2")), n(38))], "which flags it");
    assert_eq!(job.gross(), n(50));
}

/// A report that says why its job must stop stops it for good: it refunds nothing, and the log tells it once.
pub async fn a_report_may_stop_its_job(fx: &Fixture) {
    let limits = [daily_tokens("w", 1_000)];
    running(fx, &nth(0), &limits, 0).await;
    let other = |tokens: u32| Report {
        model: Some(id("m2")),
        limits: limits.to_vec(),
        stop: Some("nobody knows what m2 costs".to_owned()),
        ..report(&nth(0), "w", figures(tokens, 0), t(1))
    };
    for tokens in [7, 9] {
        let answer = fx.allowances.report(other(tokens)).await.unwrap();
        let said = (answer.directive, answer.reason.as_deref());
        assert_eq!(said, (Directive::Stop, Some("nobody knows what m2 costs")));
    }
    assert_eq!(says(fx, &nth(0), figures(1, 0), 2).await.directive, Directive::Stop, "for good");
    let payloads = fx.log().await.into_iter().filter_map(|event| event.payload);
    let told: Vec<_> = payloads.filter(|payload| payload["event"] == "job_stopped").collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0]["reason"], "nobody knows what m2 costs");
    fx.allowances.settle(settle(&nth(0), JobOutcome::Cancelled, t(3))).await.unwrap();
    assert_eq!(fx.used(&limits[0], t(3)).await, (10, 0));
    let late = fx.allowances.report(other(10)).await.unwrap();
    assert_eq!((late.late, late.reason.as_deref()), (true, Some("lease_lost")), "it is over");
}

/// Cost is computed at the price pinned at admission, rounded up once; a reported cost replaces it, and spent money
/// never comes back.
pub async fn cost_is_priced_or_reported(fx: &Fixture) {
    let limits = [spend("m", 1_000_000)];
    // A tenth of a micro-dollar a token in, a whole one a token out.
    let price = Some(Price::flat(n(100_000), n(1_000_000)));
    let asks = Admission { price, ..asking(admission(&nth(0), "w", t(0)), &limits, 0) };
    fx.allowances.admit(asks).await.unwrap();
    for (report, spent) in [
        (figures(1, 0), 1),
        (figures(9, 0), 1),
        (figures(10, 0), 1),
        (figures(11, 0), 2),
        (figures(11, 5), 7),
        (Figures { cost_micros: Some(n(5)), ..figures(20, 5) }, 7),
        (Figures { cost_micros: Some(n(50)), ..figures(20, 5) }, 50),
        (figures(1_000, 5), 50),
    ] {
        says(fx, &nth(0), report, 1).await;
        assert_eq!(fx.used(&limits[0], t(1)).await.0, spent, "{report:?}");
    }
}

/// Tokens of each category cost what the price says of it, in any order of the reports; a total is never below its
/// parts, and a job and its entries say where its cost comes from.
pub async fn categories_have_their_prices(fx: &Fixture) {
    let limits = [spend("m", 1_000_000), daily_tokens("w", 1_000_000)];
    let price = Price {
        cache_read: Some(n(100_000)),
        cache_write: Some(n(1_250_000)),
        reasoning: Some(n(9_000_000)),
        ..Price::flat(n(1_000_000), n(5_000_000))
    };
    let asks = Admission { price: Some(price), ..asking(admission(&nth(0), "w", t(0)), &limits, 0) };
    fx.allowances.admit(asks).await.unwrap();
    let parts = |tokens_in, read, write, tokens_out, reasoning| Figures {
        cache_read: n(read),
        cache_write: n(write),
        reasoning: n(reasoning),
        ..figures(tokens_in, tokens_out)
    };
    for (report, tokens, spent) in [
        // 20 plain, 70 read, 10 written; 6 said, 4 thought.
        (parts(100, 70, 10, 10, 4), 110, 20 + 7 + 13 + 30 + 36),
        (parts(50, 40, 5, 5, 2), 110, 106),
        (figures(90, 9), 110, 106),
        (parts(100, 70, 10, 10, 4), 110, 106),
        // Its parts and those of before are more than either total.
        (parts(110, 50, 60, 10, 4), 140, 148),
    ] {
        says(fx, &nth(0), report, 1).await;
        assert_eq!(fx.used(&limits[1], t(1)).await.0, tokens, "{report:?}");
        assert_eq!(fx.used(&limits[0], t(1)).await.0, spent, "{report:?}");
    }
    let job = fx.allowances.job(&nth(0)).await.unwrap().unwrap();
    assert_eq!((job.lines[0].price, job.lines[0].high.reasoning), (Some(price), n(4)));
    assert_eq!(job.lines[0].cost_source(), Some(CostBasis::Priced));
    says(fx, &nth(0), Figures { cost_micros: Some(n(500)), ..figures(0, 0) }, 1).await;
    let read = ReadEntries { agent_id: id("w"), cursor: None, limit: 10 };
    let entries = fx.allowances.entries(read).await.unwrap().entries;
    let sources: Vec<_> = entries.iter().map(|entry| entry.cost_source).collect();
    let (priced, reported) = (Some(CostBasis::Priced), Some(CostBasis::Reported));
    assert_eq!(sources, [reported, priced, priced], "newest first");
}

/// The requests of a job count above the one of its start, those of another model all; a job without the figure is one.
pub async fn requests_are_counted(fx: &Fixture) {
    let limits = [hourly_requests("m", 10), daily_tokens("w", 1_000)];
    running(fx, &nth(0), &limits, 0).await;
    let made = |requests: u32| Figures { requests: Some(n(requests)), ..figures(0, 0) };
    for (said, used) in
        [(figures(5, 0), 1), (made(0), 1), (made(1), 1), (made(4), 4), (made(2), 4), (made(8), 8)]
    {
        let answer = says(fx, &nth(0), said, 1).await;
        assert_eq!(fx.used(&limits[0], t(1)).await, (used, 0), "{said:?}");
        assert_eq!(answer.directive, Directive::Continue);
    }
    assert_eq!(fx.count(EventType::QuotaWarning).await, 1, "of 80 %");
    let others = vec![hourly_requests("m2", 10)];
    let other =
        Report { model: Some(id("m2")), limits: others.clone(), ..report(&nth(0), "w", made(3), t(1)) };
    for _ in 0..2 {
        fx.allowances.report(other.clone()).await.unwrap();
        assert_eq!((fx.used(&others[0], t(1)).await.0, fx.used(&limits[0], t(1)).await.0), (3, 8));
    }
    assert_eq!(says(fx, &nth(0), made(12), 2).await.directive, Directive::Continue, "they never stop a job");
    crate::expect::refused(fx.admit(&nth(1), &limits, 0, t(2)).await);
    fx.allowances.settle(settle(&nth(0), JobOutcome::Cancelled, t(3))).await.unwrap();
    assert!(says(fx, &nth(0), made(13), 4).await.late);
    assert_eq!(fx.used(&limits[0], t(4)).await, (13, 0), "nor are they given back");
}

/// Without a price nothing is spent until it is reported.
pub async fn without_a_price_cost_is_reported(fx: &Fixture) {
    let limits = [spend("m", 1_000)];
    running(fx, &nth(0), &limits, 0).await;
    says(fx, &nth(0), figures(1_000, 1_000), 1).await;
    assert_eq!(fx.used(&limits[0], t(1)).await, (0, 0));
    says(fx, &nth(0), cost(30), 1).await;
    assert_eq!(fx.used(&limits[0], t(1)).await, (30, 0));
}

/// Each answer and the settlement say what a job was charged and where that comes from: reported where the agent's figure
/// stands, priced where the price's does or a part of it.
pub async fn a_cost_says_where_it_comes_from(fx: &Fixture) {
    let (priced, reported) = (Some(CostBasis::Priced), Some(CostBasis::Reported));
    let price = Some(Price::flat(n(1_000_000), n(1_000_000)));
    let both = |figures: Figures, micros: u32| Figures { cost_micros: Some(n(micros)), ..figures };
    let of = |model: &str, figures: Figures| (Some(id(model)), figures);
    let own = |figures: Figures| (None, figures);
    for (number, (price, reports)) in [
        (None, vec![(own(figures(9, 9)), 0, None)]),
        (None, vec![(own(figures(9, 9)), 0, None), (own(cost(0)), 0, reported), (own(cost(7)), 7, reported)]),
        (price, vec![(own(figures(0, 0)), 0, priced), (own(figures(9, 1)), 10, priced)]),
        (
            price,
            vec![
                (own(figures(9, 1)), 10, priced),
                (own(both(figures(9, 1), 4)), 10, priced),
                (own(both(figures(9, 1), 30)), 30, reported),
                (own(figures(90, 10)), 30, reported),
            ],
        ),
        (
            price,
            vec![
                (own(cost(5)), 5, reported),
                (of("m2", cost(3)), 8, reported),
                (of("m3", figures(2, 0)), 10, priced),
                (of("m3", both(figures(2, 0), 6)), 14, reported),
            ],
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let job = nth(number);
        let asks = Admission { price, ..asking(admission(&job, "w", t(0)), &[], 0) };
        fx.allowances.admit(asks).await.unwrap();
        let mut last = (0, None);
        for ((model, figures), micros, source) in reports {
            let said = Report { model, price, ..report(&job, "w", figures, t(1)) };
            let answer = fx.allowances.report(said).await.unwrap();
            last = (micros, source);
            assert_eq!((answer.cost_micros.get(), answer.cost_source), last, "{job} {figures:?}");
        }
        fx.allowances.settle(settle(&job, JobOutcome::Failed, t(2))).await.unwrap();
        let told = fx.log().await.pop().unwrap().payload.unwrap();
        assert_eq!(told["cost_micros"], last.0, "{job}");
        assert_eq!(told.get("cost_source").and_then(|name| name.as_str()), last.1.map(CostBasis::as_str));
        let kept = fx.job(&job).await;
        assert_eq!((kept.cost().get(), kept.cost_source()), last, "{job}");
    }
}

/// A report proves that its job started, also when the reservation had run out.
pub async fn a_report_starts_its_job(fx: &Fixture) {
    let limits = [daily_jobs("w", 5), daily_tokens("w", 100)];
    fx.admit(&nth(0), &limits, 10, t(0)).await.unwrap();
    says(fx, &nth(0), figures(1, 0), 5).await;
    assert_eq!(fx.job(&nth(0)).await.started_at, Some(t(5)));
    fx.admit(&nth(1), &limits, 10, t(0)).await.unwrap();
    says(fx, &nth(1), figures(1, 0), 100).await;
    assert_eq!(fx.used(&limits[0], t(100)).await, (2, 0));
    assert_eq!(fx.load("w", t(100)).await, 0, "a report extends nothing");
}

/// Growth after the settlement is charged, flagged late, and answered with stop; the settlement stands.
pub async fn late_growth_is_charged_and_flagged(fx: &Fixture) {
    let limits = [daily_tokens("w", 100)];
    running(fx, &nth(0), &limits, 0).await;
    says(fx, &nth(0), figures(10, 0), 1).await;
    fx.allowances.settle(settle(&nth(0), JobOutcome::Cancelled, t(2))).await.unwrap();
    assert_eq!(fx.used(&limits[0], t(2)).await, (0, 0));
    let same = says(fx, &nth(0), figures(10, 0), 3).await;
    assert_eq!((same.late, same.directive), (false, Directive::Stop), "nothing grew");
    for _ in 0..2 {
        let grown = says(fx, &nth(0), figures(14, 0), 3).await;
        assert_eq!((grown.late, grown.directive), (true, Directive::Stop));
        assert_eq!(fx.used(&limits[0], t(3)).await, (4, 0));
    }
    let job = fx.allowances.settle(settle(&nth(0), JobOutcome::Cancelled, t(4))).await.unwrap();
    assert_eq!((job.late, job.outcome), (true, Some(JobOutcome::Cancelled)));
    assert_eq!(fx.used(&limits[0], t(4)).await, (4, 0), "unrefunded");
}

/// Tokens are charged to the day in which they are reported.
pub async fn a_charge_belongs_to_its_day(fx: &Fixture) {
    let limits = [daily_tokens("w", 100)];
    running(fx, &nth(0), &limits, 0).await;
    says(fx, &nth(0), figures(30, 0), MIDNIGHT - 1).await;
    let answer = says(fx, &nth(0), figures(50, 0), MIDNIGHT).await;
    assert_eq!(answer.remaining_tokens, Some(n(80)), "of the new day");
    assert_eq!(fx.used(&limits[0], t(MIDNIGHT - 1)).await.0, 30);
    assert_eq!(fx.used(&limits[0], t(MIDNIGHT)).await.0, 20);
}

/// A window that crosses 80 % is told once, whatever it counts.
pub async fn crossing_80_percent_is_told_once(fx: &Fixture) {
    let limits = [daily_tokens("w", 100), spend("m", 100), daily_jobs("w", 1)];
    running(fx, &nth(0), &limits, 0).await;
    assert_eq!(fx.count(EventType::QuotaWarning).await, 1, "the one job of the day");
    for (tokens, warnings) in [(79, 1), (80, 2), (81, 2), (100, 2), (120, 2)] {
        says(fx, &nth(0), figures(tokens, 0), 1).await;
        assert_eq!(fx.count(EventType::QuotaWarning).await, warnings, "{tokens}");
    }
    says(fx, &nth(0), Figures { cost_micros: Some(n(500)), ..figures(120, 0) }, 1).await;
    let warning = fx.log().await.into_iter().rfind(|event| event.kind == EventType::QuotaWarning).unwrap();
    assert_eq!((warning.agent_id, warning.task_id), (Some(id("w")), Some(id("t0"))));
    assert_eq!(fx.count(EventType::QuotaWarning).await, 3);
}

/// A job is told when it starts and when it is settled, with its figures; its reports are not.
pub async fn usage_is_told_at_start_and_settlement(fx: &Fixture) {
    running(fx, &nth(0), &[], 0).await;
    for tokens in [10, 20, 31] {
        says(fx, &nth(0), figures(tokens, 0), 1).await;
    }
    for _ in 0..2 {
        fx.allowances.settle(settle(&nth(0), JobOutcome::Failed, t(2))).await.unwrap();
    }
    let told: Vec<_> =
        fx.log().await.into_iter().filter(|event| event.kind == EventType::UsageRecorded).collect();
    assert_eq!(told.len(), 2);
    let payload = |i: usize| told[i].payload.clone().unwrap();
    assert_eq!((&payload(0)["event"], &payload(1)["event"]), (&"job_started".into(), &"job_failed".into()));
    assert_eq!((&payload(1)["tokens"], &payload(1)["refunded_tokens"]), (&31.into(), &15.into()));
    assert_eq!((told[1].agent_id.clone(), told[1].timestamp), (Some(id("w")), t(2)));
}

/// A reset sets an agent's day to zero and leaves everybody else's, other days, models and reservations.
pub async fn a_reset_zeroes_the_day(fx: &Fixture) {
    let limits =
        [daily_tokens("w", 100), daily_jobs("w", 5), model_tokens("m", 100), hourly_requests("m", 9)];
    running(fx, &nth(0), &limits, 50).await;
    says(fx, &nth(0), figures(30, 0), 1).await;
    let other = [daily_tokens("x", 100)];
    let asks = Admission { agent_id: id("x"), ..asking(admission(&nth(1), "x", t(0)), &other, 0) };
    fx.allowances.admit(asks).await.unwrap();
    fx.allowances.report(report(&nth(1), "x", figures(8, 0), t(1))).await.unwrap();
    for _ in 0..2 {
        fx.allowances.reset_usage(ResetUsage { agent_id: id("w"), now: t(2) }).await.unwrap();
        assert_eq!(fx.used(&limits[0], t(2)).await, (0, 20));
        assert_eq!(fx.used(&limits[1], t(2)).await, (0, 0));
    }
    assert_eq!((fx.used(&limits[2], t(2)).await, fx.used(&limits[3], t(2)).await), ((30, 20), (1, 0)));
    assert_eq!(fx.used(&other[0], t(2)).await, (8, 0));
    says(fx, &nth(0), figures(33, 0), 3).await;
    assert_eq!(fx.used(&limits[0], t(3)).await, (3, 17));
}

/// What was charged before its agent's day was reset is not given back to that day, whatever others used since; what was
/// charged after it is, in full, and so is all to the model's day, which no reset touched.
pub async fn a_refund_gives_an_agent_only_what_it_used_since_its_reset(fx: &Fixture) {
    let limits = [daily_tokens("w", 1_000), model_tokens("m", 1_000)];
    let used = async |secs| (fx.used(&limits[0], t(secs)).await.0, fx.used(&limits[1], t(secs)).await.0);
    let ends = async |number, outcome, secs| {
        fx.allowances.settle(settle(&nth(number), outcome, t(secs))).await.unwrap();
    };
    let reset = async |secs| {
        fx.allowances.reset_usage(ResetUsage { agent_id: id("w"), now: t(secs) }).await.unwrap();
    };
    for number in [0, 1, 2] {
        fx.spent(&nth(number), &limits, 80, t(1)).await;
    }
    reset(2).await;
    fx.spent(&nth(3), &limits, 90, t(3)).await;
    ends(0, JobOutcome::Cancelled, 4).await;
    assert_eq!(used(4).await, (90, 250), "what others used since stays");
    for tokens in [95, 100] {
        says(fx, &nth(1), figures(tokens, 0), 5).await;
    }
    assert_eq!(used(5).await, (110, 270));
    ends(1, JobOutcome::Cancelled, 6).await;
    assert_eq!(used(6).await, (90, 170), "20 since the reset");
    assert_eq!(fx.job(&nth(1)).await.charges.len(), 2, "one from before it, and one since");
    reset(7).await;
    says(fx, &nth(2), figures(96, 0), 8).await;
    fx.spent(&nth(4), &limits, 30, t(8)).await;
    ends(2, JobOutcome::Failed, 9).await;
    assert_eq!(used(9).await, (30, 168), "16 of its half were used since");
    ends(4, JobOutcome::Cancelled, 10).await;
    assert_eq!(used(10).await, (0, 138), "all since the reset");
}

/// A refund after a reset takes a meter to zero at most, and never makes more room than the cap.
pub async fn a_refund_after_a_reset_makes_no_room(fx: &Fixture) {
    let limits = [daily_tokens("w", 10)];
    running(fx, &nth(0), &limits, 0).await;
    says(fx, &nth(0), figures(9, 0), 1).await;
    fx.allowances.reset_usage(ResetUsage { agent_id: id("w"), now: t(2) }).await.unwrap();
    fx.allowances.settle(settle(&nth(0), JobOutcome::Cancelled, t(3))).await.unwrap();
    assert_eq!(fx.used(&limits[0], t(3)).await, (0, 0));
    crate::expect::refused(fx.admit(&nth(1), &limits, 11, t(3)).await);
    fx.spent(&nth(2), &limits, 10, t(3)).await;
    assert_eq!(fx.used(&limits[0], t(3)).await, (10, 0), "what was reset is not given back once more");
    crate::expect::refused(fx.admit(&nth(3), &limits, 0, t(3)).await);
    assert!(fx.allowances.verify().await.unwrap().is_empty());
}
